import type { UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import type { PendingRequest } from '../http1/pool.ts';
import { Http1Pool } from '../http1/pool.ts';
import type { HeaderMap } from './headers.ts';
import type { HcmRuntime } from './runtime.ts';
import type { ResetReason, ResponseHead, ResponseReceiver, UpstreamStream } from './stream.ts';
import { connectTunnel } from './tcp-upstream.ts';
import { Deadline } from './timer-wheel.ts';

/** What a try tells its router. After `onAttemptReset` or the end of the response nothing follows. */
export interface AttemptOwner {
  onAttemptReady(attempt: UpstreamAttempt): void;
  onAttemptContinue(): void;
  onAttemptHead(attempt: UpstreamAttempt, head: ResponseHead): void;
  onAttemptData(chunk: Buffer): void;
  onAttemptTrailers(trailers: HeaderMap): void;
  onAttemptEnd(attempt: UpstreamAttempt): void;
  onAttemptReadEnd(): void;
  onAttemptWritable(): void;
  onAttemptReset(attempt: UpstreamAttempt, reason: ResetReason, transportFailure: string): void;
  onAttemptTimeout(attempt: UpstreamAttempt): void;
}

/** One try of a request at one endpoint: keeps the counts, and passes on what its stream tells while it is wanted. */
export class UpstreamAttempt implements ResponseReceiver {
  readonly endpoint: UpstreamEndpoint;
  readonly #owner: AttemptOwner;
  readonly #runtime: HcmRuntime;
  stream: UpstreamStream | undefined;
  hasResponse = false;
  #pending: PendingRequest | UpstreamConnecting | undefined;
  #perTry: Deadline | undefined;
  #isOver = false;
  #isCounted = false;

  constructor(endpoint: UpstreamEndpoint, owner: AttemptOwner, runtime: HcmRuntime) {
    this.endpoint = endpoint;
    this.#owner = owner;
    this.#runtime = runtime;
  }

  /** Asks for a stream; may call back at once. */
  start(isTunnel: boolean): void {
    const { endpoint } = this;
    const { cluster } = endpoint;
    endpoint.activeRequests++;
    cluster.active.requests++;
    cluster.stats.upstreamRqTotal++;
    cluster.stats.upstreamRqActive++;
    endpoint.stats.requestsTotal++;
    this.#isCounted = true;
    const pending = isTunnel ? connectTunnel(endpoint, this) : this.#pool().request(this);
    if (this.stream === undefined && !this.#isOver) this.#pending = pending;
  }

  #pool(): Http1Pool {
    const { endpoint } = this;
    if (endpoint.pool instanceof Http1Pool) return endpoint.pool;
    const pool = new Http1Pool(endpoint, { clock: this.#runtime.context.clock, wheel: this.#runtime.wheel });
    endpoint.pool = pool;
    return pool;
  }

  /** Limits the time until the response begins. */
  armPerTryTimeout(timeoutMs: number): void {
    if (timeoutMs <= 0) return;
    this.#perTry ??= new Deadline(this.#runtime.wheel, () => this.#owner.onAttemptTimeout(this));
    this.#perTry.arm(timeoutMs);
  }

  /** Gives the try up; nothing is told any more. */
  cancel(): void {
    if (this.#isOver) return;
    const { stream } = this;
    this.#finish();
    this.#pending?.cancel();
    stream?.reset();
    if (stream !== undefined) this.endpoint.cluster.stats.upstreamRqTxReset++;
  }

  #finish(): void {
    this.#isOver = true;
    this.#perTry?.cancel();
    if (!this.#isCounted) return;
    this.#isCounted = false;
    const { endpoint } = this;
    endpoint.activeRequests--;
    endpoint.cluster.active.requests--;
    endpoint.cluster.stats.upstreamRqActive--;
  }

  onReady(stream: UpstreamStream): void {
    this.stream = stream;
    this.#pending = undefined;
    if (this.#isOver) stream.reset();
    else this.#owner.onAttemptReady(this);
  }

  onContinue(): void {
    if (!this.#isOver) this.#owner.onAttemptContinue();
  }

  onHead(head: ResponseHead): void {
    if (this.#isOver) return;
    this.hasResponse = true;
    this.#perTry?.cancel();
    const { endpoint } = this;
    const { stats } = endpoint.cluster;
    const { status } = head;
    if (status >= 500) {
      endpoint.stats.requestsError++;
      stats.upstreamRq5xx++;
    } else {
      endpoint.stats.requestsSuccess++;
      if (status >= 400) stats.upstreamRq4xx++;
      else if (status >= 300) stats.upstreamRq3xx++;
      else stats.upstreamRq2xx++;
    }
    endpoint.onResponse(status);
    this.#owner.onAttemptHead(this, head);
  }

  onData(chunk: Buffer): void {
    if (!this.#isOver) this.#owner.onAttemptData(chunk);
  }

  onTrailers(trailers: HeaderMap): void {
    if (!this.#isOver) this.#owner.onAttemptTrailers(trailers);
  }

  onEnd(): void {
    if (this.#isOver) return;
    this.#finish();
    this.#owner.onAttemptEnd(this);
  }

  onReadEnd(): void {
    this.#owner.onAttemptReadEnd();
  }

  onWritable(): void {
    if (!this.#isOver) this.#owner.onAttemptWritable();
  }

  onUpstreamReset(reason: ResetReason, transportFailure: string): void {
    if (this.#isOver) return;
    this.#finish();
    const { endpoint } = this;
    if (reason !== 'overflow') {
      endpoint.stats.requestsError++;
      endpoint.onFailure();
      if (this.stream !== undefined) endpoint.cluster.stats.upstreamRqRxReset++;
    }
    this.#owner.onAttemptReset(this, reason, transportFailure);
  }
}
