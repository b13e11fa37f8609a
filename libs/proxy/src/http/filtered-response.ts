import { BodyChain, type BodyChainOwner, type BodyTransform } from './body-chain.ts';
import type { HeaderMap } from './headers.ts';
import type { HttpStream } from './http-stream.ts';

/** The way of a response's body to the client, through filters that change it. Exists only where there is one of them. */
export class FilteredResponse implements BodyChainOwner {
  readonly #stream: HttpStream;
  readonly #chain: BodyChain;
  #trailers: HeaderMap | undefined;
  #isEnded = false;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    this.#chain = new BodyChain(this);
  }

  transform(transform: BodyTransform): void {
    this.#chain.addTransform(transform);
  }

  /** The filters have seen the head. */
  flowToClient(): void {
    this.#chain.flowTo({ write: (chunk) => this.#send(chunk), end: (trailers) => this.#sendEnd(trailers) });
  }

  // --- from upstream

  /** False: wait for the router's `onDownstreamWritable`. */
  write(chunk: Buffer): boolean {
    return this.#chain.write(chunk);
  }

  /** They go with the end. */
  onTrailers(trailers: HeaderMap): void {
    this.#trailers = trailers;
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#chain.end(this.#trailers);
  }

  onDrained(): void {
    this.#stream.router?.onDownstreamWritable();
  }

  onFailed(details: string): void {
    const stream = this.#stream;
    stream.info.responseCodeDetails = details;
    stream.router?.cancel();
    stream.resetResponse();
  }

  // --- to downstream

  #send(chunk: Buffer): boolean {
    const stream = this.#stream;
    if (stream.isOver) return true;
    stream.info.bytesSent += chunk.length;
    flushLater(stream);
    return stream.sender.sendData(chunk);
  }

  #sendEnd(trailers: HeaderMap | undefined): void {
    const stream = this.#stream;
    if (stream.isOver) return;
    if (trailers !== undefined) {
      stream.info.responseTrailers = trailers;
      stream.sender.sendTrailers(trailers);
    }
    stream.endExchange();
  }

  /** The client takes more. */
  resume(): void {
    this.#chain.onExitDrained();
  }

  destroy(): void {
    this.#chain.destroy();
  }
}

/** What a filter pushes may come outside of a read, at whose end all is written. */
export function flushLater(stream: HttpStream): void {
  queueMicrotask(() => {
    if (stream.isOver) return;
    stream.router?.flush();
    stream.sender.flush();
  });
}
