import type { UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import { countUpstreamResponse, recordUpstreamTime } from '../observe/cluster-stats.ts';
import type { ExchangeContext } from '../tcp/metadata-exchange.ts';
import type { HeaderMap } from './headers.ts';
import type { ResetReason, ResponseHead, ResponseReceiver, UpstreamStream } from './stream.ts';
import { connectTunnel } from './tcp-upstream.ts';
import { Deadline } from './timer-wheel.ts';
import { type PendingRequest, type PoolChoice, type PoolRuntime, poolOf } from './upstream-pool.ts';

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
  readonly #runtime: PoolRuntime;
  stream: UpstreamStream | undefined;
  hasResponse = false;
  #pending: PendingRequest | UpstreamConnecting | undefined;
  #perTry: Deadline<UpstreamAttempt> | undefined = undefined;
  #isOver = false;
  #isCounted = false;
  /** In monotonic milliseconds. */
  startedMs = 0;
  endedMs = 0;
  /** Of the answer; 0 without one. */
  status = 0;
  /** How it ended, where it did not by a whole answer. */
  ending: ResetReason | 'canceled' | undefined;
  /** Told at its end, whichever it is. */
  onFinished: ((attempt: UpstreamAttempt) => void) | undefined;
  /** Kept at its end, after which the connection counts for the next one. */
  sentWireBytes = 0;
  sentHeaderBytes = 0;
  receivedWireBytes = 0;
  receivedHeaderBytes = 0;

  constructor(endpoint: UpstreamEndpoint, owner: AttemptOwner, runtime: PoolRuntime) {
    this.endpoint = endpoint;
    this.#owner = owner;
    this.#runtime = runtime;
  }

  /** Asks for a stream; may call back at once. With `tunnel`, for the bytes of a CONNECT. */
  start(tunnel: ExchangeContext | undefined, choice: PoolChoice): void {
    const { endpoint } = this;
    const { cluster } = endpoint;
    endpoint.activeRequests++;
    cluster.active.requests++;
    cluster.stats.upstreamRqActive++;
    this.#isCounted = true;
    this.startedMs = this.#runtime.context.clock.monotonic();
    const pending =
      tunnel === undefined
        ? poolOf(endpoint, this.#runtime, choice).request(this)
        : connectTunnel(endpoint, this, { context: tunnel, needs: choice.needs });
    if (this.stream === undefined && !this.#isOver) this.#pending = pending;
  }

  /** In monotonic milliseconds. */
  get nowMs(): number {
    return this.#runtime.context.clock.monotonic();
  }

  /** Limits the time until the response begins. */
  armPerTryTimeout(timeoutMs: number): void {
    if (timeoutMs <= 0) return;
    this.#perTry ??= new Deadline<UpstreamAttempt>(this.#runtime.wheel, UpstreamAttempt.#perTryExpired, this);
    this.#perTry.arm(timeoutMs);
  }

  static #perTryExpired(attempt: UpstreamAttempt): void {
    attempt.#owner.onAttemptTimeout(attempt);
  }

  /** Gives the try up; nothing is told any more. */
  cancel(): void {
    if (this.#isOver) return;
    const { stream } = this;
    this.ending = 'canceled';
    this.#finish();
    this.#pending?.cancel();
    stream?.reset();
    if (stream !== undefined) this.endpoint.cluster.stats.upstreamRqTxReset++;
    else this.endpoint.cluster.stats.upstreamRqCancelled++;
  }

  #finish(): void {
    this.#isOver = true;
    this.#perTry?.cancel();
    const { stream } = this;
    if (stream !== undefined) {
      this.sentWireBytes = stream.sentWireBytes;
      this.sentHeaderBytes = stream.sentHeaderBytes;
      this.receivedWireBytes = stream.receivedWireBytes;
    }
    this.onFinished?.(this);
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
    // As Envoy, a request counts once it has a connection.
    this.endpoint.cluster.stats.upstreamRqTotal++;
    this.endpoint.stats.requestsTotal++;
    if (this.#isOver) stream.reset();
    else this.#owner.onAttemptReady(this);
  }

  onContinue(): void {
    if (!this.#isOver) this.#owner.onAttemptContinue();
  }

  onHead(head: ResponseHead): void {
    if (this.#isOver) return;
    this.hasResponse = true;
    this.status = head.status;
    this.receivedHeaderBytes = head.headerBytes ?? head.wireBytes;
    this.#perTry?.cancel();
    const { endpoint } = this;
    const { stats } = endpoint.cluster;
    const { status } = head;
    if (status >= 500) endpoint.stats.requestsError++;
    else endpoint.stats.requestsSuccess++;
    countUpstreamResponse(stats, status);
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
    this.endedMs = this.#runtime.context.clock.monotonic();
    recordUpstreamTime(this.endpoint.cluster.stats, this.endedMs - this.startedMs);
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
    this.ending = reason;
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
