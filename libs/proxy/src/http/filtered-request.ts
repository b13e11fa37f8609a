import { type BodyBuffering, BodyChain, type BodyChainOwner, type BodyTransform } from './body-chain.ts';
import { flushLater } from './filtered-response.ts';
import type { HeaderMap } from './headers.ts';
import type { HttpStream } from './http-stream.ts';

/** The way of a request's body to the router, through filters that change or hold it. Exists only where there is one of them. */
export class FilteredRequest implements BodyChainOwner {
  readonly #stream: HttpStream;
  readonly #chain: BodyChain;
  #trailers: HeaderMap | undefined;
  #isEnded = false;
  #isRouterBlocked = false;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.#chain = new BodyChain(this);
  }

  /** Waits for the whole body behind the filter that asks for it. */
  buffer(buffering: BodyBuffering): void {
    this.#chain.addHold(buffering);
  }

  transform(transform: BodyTransform): void {
    this.#chain.addTransform(transform);
  }

  /** The body, or what is to come of it, stays behind the filter that stopped. */
  hold(): void {
    if (!this.#chain.isHeldAtEnd) this.#chain.addHold();
    this.#chain.advance();
    this.end();
  }

  /** The filters have let the request pass. */
  flowToRouter(): void {
    this.#chain.flowTo({ write: (chunk) => this.#route(chunk), end: (trailers) => this.#routeEnd(trailers) });
    this.end();
  }

  // --- from downstream

  write(chunk: Buffer): void {
    const stream = this.#stream;
    // A filter that answers meanwhile is done with the client's bytes.
    if (!this.#chain.write(chunk) && !stream.isOver) stream.sender.pauseRequest();
  }

  /** They go with the end. */
  onTrailers(trailers: HeaderMap): void {
    this.#trailers = trailers;
  }

  /** Ends the body once the client has. */
  end(): void {
    if (!this.#stream.isRequestReceived || this.#isEnded || this.#stream.isOver) return;
    this.#isEnded = true;
    this.#chain.end(this.#trailers);
  }

  onDrained(): void {
    this.#stream.sender.resumeRequest();
  }

  onFailed(details: string): void {
    this.#stream.giveUp({ status: 400, details, flag: 'downstreamProtocolError', body: 'Bad Request' });
  }

  // --- to the router

  #route(chunk: Buffer): boolean {
    const stream = this.#stream;
    if (stream.isOver) return true;
    stream.router?.onRequestData(chunk);
    flushLater(stream);
    return !this.#isRouterBlocked;
  }

  #routeEnd(trailers: HeaderMap | undefined): void {
    const stream = this.#stream;
    if (stream.isOver) return;
    stream.isRequestDone = true;
    if (trailers !== undefined) stream.router?.onRequestTrailers(trailers);
    stream.router?.onRequestEnd();
  }

  /** The router takes no more for now. */
  pause(): void {
    this.#isRouterBlocked = true;
  }

  resume(): void {
    this.#isRouterBlocked = false;
    this.#chain.onExitDrained();
  }

  destroy(): void {
    this.#chain.destroy();
  }
}
