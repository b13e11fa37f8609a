import type { UpstreamCluster } from '../contract.ts';
import { connectionNeeds } from './connection-needs.ts';
import type { HeaderMap } from './headers.ts';
import type { HcmRuntime } from './runtime.ts';
import type { RequestHead, ResponseHead } from './stream.ts';
import type { HttpStreamInfo } from './stream-info.ts';
import { Deadline } from './timer-wheel.ts';
import { type AttemptOwner, UpstreamAttempt } from './upstream-attempt.ts';

/** A body that the mirror is too slow for is not kept beyond this: the mirror is given up. */
const MAX_BODY_BYTES = 1024 * 1024;

/** A copy of a request whose answer nobody waits for. It can neither slow nor fail the request. */
export class Mirror implements AttemptOwner {
  readonly #runtime: HcmRuntime;
  readonly #cluster: UpstreamCluster;
  readonly #head: RequestHead;
  readonly #deadline: Deadline;
  readonly #timeoutMs: number;
  #attempt: UpstreamAttempt | undefined;
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #trailers: HeaderMap | undefined;
  #isRequestDone = false;
  #isOver = false;

  constructor(
    runtime: HcmRuntime,
    options: {
      readonly cluster: UpstreamCluster;
      readonly info: HttpStreamInfo;
      readonly appendsShadowSuffix: boolean;
      readonly timeoutMs: number;
    },
  ) {
    const { head } = options.info;
    this.#runtime = runtime;
    this.#cluster = options.cluster;
    this.#timeoutMs = options.timeoutMs;
    this.#deadline = new Deadline(runtime.wheel, () => this.cancel());
    this.#head = {
      ...head,
      headers: head.headers.clone(),
      authority: options.appendsShadowSuffix ? withShadowSuffix(head.authority) : head.authority,
    };
  }

  start(isRequestDone: boolean): void {
    const endpoint = this.#cluster.chooseEndpoint({
      hash: undefined,
      isExcluded: undefined,
      originalDestination: undefined,
      header: undefined,
    });
    if (endpoint === undefined || this.#cluster.active.requests >= this.#cluster.limits.maxRequests) {
      this.#isOver = true;
      return;
    }
    this.#isRequestDone = isRequestDone;
    this.#deadline.arm(this.#timeoutMs);
    this.#attempt = new UpstreamAttempt(endpoint, this, this.#runtime);
    const { authority, headers, protocol } = this.#head;
    const needs = connectionNeeds(this.#cluster, { authority, header: (name) => headers.get(name) });
    this.#attempt.start(undefined, { downstreamProtocol: protocol, needs });
  }

  onData(chunk: Buffer): void {
    if (this.#isOver) return;
    const stream = this.#attempt?.stream;
    if (stream !== undefined) {
      if (!stream.sendData(chunk)) this.#bodyBytes += chunk.length;
    } else {
      this.#body.push(chunk);
      this.#bodyBytes += chunk.length;
    }
    if (this.#bodyBytes > MAX_BODY_BYTES) this.cancel();
  }

  onTrailers(trailers: HeaderMap): void {
    this.#trailers = trailers;
    if (!this.#isOver) this.#attempt?.stream?.sendTrailers(trailers);
  }

  onEnd(): void {
    this.#isRequestDone = true;
    if (!this.#isOver) this.#attempt?.stream?.end();
  }

  cancel(): void {
    this.#end();
    this.#attempt?.cancel();
  }

  #end(): void {
    this.#isOver = true;
    this.#deadline.cancel();
    this.#body = [];
  }

  onAttemptReady(attempt: UpstreamAttempt): void {
    const { stream } = attempt;
    if (stream === undefined) return;
    const { peerMetadata } = this.#runtime.config;
    stream.sendHead(this.#head, stream.tls?.peer !== undefined && peerMetadata?.tellsUpstream === true ? peerMetadata.headerLines : '');
    for (const chunk of this.#body.splice(0)) stream.sendData(chunk);
    this.#bodyBytes = 0;
    if (this.#trailers !== undefined) stream.sendTrailers(this.#trailers);
    if (this.#isRequestDone) stream.end();
    else stream.flush();
  }

  onAttemptContinue(): void {}
  onAttemptHead(_attempt: UpstreamAttempt, _head: ResponseHead): void {}
  onAttemptData(): void {}
  onAttemptTrailers(): void {}
  onAttemptReadEnd(): void {}

  onAttemptEnd(attempt: UpstreamAttempt): void {
    this.#end();
    if (!this.#isRequestDone) attempt.stream?.reset();
  }

  onAttemptWritable(): void {
    this.#bodyBytes = 0;
  }

  onAttemptReset(): void {
    this.#end();
  }

  onAttemptTimeout(): void {
    this.cancel();
  }
}

function withShadowSuffix(authority: string): string {
  const colon = authority.lastIndexOf(':');
  return colon < 0 || authority.endsWith(']') ? `${authority}-shadow` : `${authority.slice(0, colon)}-shadow${authority.slice(colon)}`;
}
