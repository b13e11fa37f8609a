import type { UpstreamEndpoint } from '../contract.ts';
import type { ResponseReceiver } from './stream.ts';
import type { PendingRequest } from './upstream-pool.ts';

interface Waiting extends PendingRequest {
  readonly receiver: ResponseReceiver;
}

/** Requests that wait for a connection to one endpoint, first come, first served. They count against the cluster's limit of pending requests. */
export class WaitingRequests {
  readonly #endpoint: UpstreamEndpoint;
  readonly #waiting: Waiting[] = [];

  constructor(endpoint: UpstreamEndpoint) {
    this.#endpoint = endpoint;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** undefined: the cluster has as many as it may, and the receiver was told. */
  add(receiver: ResponseReceiver): PendingRequest | undefined {
    const { active, limits, stats } = this.#endpoint.cluster;
    if (active.pendingRequests >= limits.maxPendingRequests) {
      stats.upstreamRqPendingOverflow++;
      receiver.onUpstreamReset('overflow', '');
      return undefined;
    }
    const waiting: Waiting = { receiver, cancel: () => this.#forget(waiting) };
    this.#waiting.push(waiting);
    active.pendingRequests++;
    stats.upstreamRqPendingActive++;
    stats.upstreamRqPendingTotal++;
    return waiting;
  }

  /** The one that came first. */
  take(): ResponseReceiver | undefined {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) this.#countLeft(1);
    return waiting?.receiver;
  }

  takeAll(): readonly ResponseReceiver[] {
    const all = this.#waiting.splice(0);
    this.#countLeft(all.length);
    return all.map(({ receiver }) => receiver);
  }

  #forget(waiting: Waiting): void {
    const index = this.#waiting.indexOf(waiting);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    this.#countLeft(1);
  }

  #countLeft(count: number): void {
    const { active, stats } = this.#endpoint.cluster;
    active.pendingRequests -= count;
    stats.upstreamRqPendingActive -= count;
  }
}
