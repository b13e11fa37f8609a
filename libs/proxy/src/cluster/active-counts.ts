import type { UpstreamCluster } from '../contract.ts';
import type { SharedSlot } from '../workers/shared-memory.ts';

export type ActiveCounts = UpstreamCluster['active'];

export function createActiveCounts(slot?: SharedSlot): ActiveCounts {
  return slot === undefined ? { connections: 0, pendingRequests: 0, requests: 0, retries: 0 } : new SharedActiveCounts(slot);
}

const CONNECTIONS = 0;
const PENDING_REQUESTS = 1;
const REQUESTS = 2;
const RETRIES = 3;
const HAD_CONNECTIONS = 4;

/**
 * What is under way in a cluster in all event loops of the process. Fields are read for what all have, and only ever changed by `++`, `--`,
 * `+=` and `-=`: such a change reads first, and what it adds to what it read is what is added.
 */
export class SharedActiveCounts implements ActiveCounts {
  readonly #slot: SharedSlot;
  readonly #seen = [0, 0, 0, 0];
  /** What this event loop has added: the slot is not given back before that is taken off again. */
  #own = 0;
  #hasReserved = false;
  #isReleased = false;

  constructor(slot: SharedSlot) {
    this.#slot = slot;
  }

  get connections(): number {
    return this.#read(CONNECTIONS);
  }

  set connections(value: number) {
    const isReserved = this.#hasReserved && value > (this.#seen[CONNECTIONS] as number);
    if (isReserved) this.#hasReserved = false;
    else this.#write(CONNECTIONS, value);
    if (!this.#slot.isReleased) this.#slot.set(HAD_CONNECTIONS, 1);
  }

  get pendingRequests(): number {
    return this.#read(PENDING_REQUESTS);
  }

  set pendingRequests(value: number) {
    this.#write(PENDING_REQUESTS, value);
  }

  get requests(): number {
    return this.#read(REQUESTS);
  }

  set requests(value: number) {
    this.#write(REQUESTS, value);
  }

  get retries(): number {
    return this.#read(RETRIES);
  }

  set retries(value: number) {
    this.#write(RETRIES, value);
  }

  /** Any event loop has ever connected. */
  get hadConnections(): boolean {
    return this.#slot.get(HAD_CONNECTIONS) !== 0;
  }

  /**
   * Counts the next connection before it is made: between looking and counting another event loop could take the last place. False where
   * there are `limit` already. What is not used then stands for the connection after it.
   */
  reserveConnection(limit: number): boolean {
    // Of a cluster that is gone nothing is counted.
    if (this.#hasReserved || this.#slot.isReleased) return true;
    if (this.#slot.add(CONNECTIONS, 1) > limit) {
      this.#slot.add(CONNECTIONS, -1);
      return false;
    }
    this.#own++;
    this.#hasReserved = true;
    return true;
  }

  /** The cluster is gone; what is under way in it still counts. */
  release(): void {
    this.#isReleased = true;
    if (this.#hasReserved) {
      this.#hasReserved = false;
      this.#add(CONNECTIONS, -1);
    }
    if (this.#own === 0) this.#slot.release();
  }

  #read(index: number): number {
    const value = this.#slot.isReleased ? 0 : this.#slot.get(index);
    this.#seen[index] = value;
    return value;
  }

  #write(index: number, value: number): void {
    this.#add(index, value - (this.#seen[index] as number));
  }

  #add(index: number, by: number): void {
    if (this.#slot.isReleased) return;
    this.#own += by;
    this.#slot.add(index, by);
    if (this.#isReleased && this.#own === 0) this.#slot.release();
  }
}

/** Whether one more connection is below the limit; where event loops share it, its place is taken at once. */
export function reserveConnection({ active, limits }: Pick<UpstreamCluster, 'active' | 'limits'>): boolean {
  return active instanceof SharedActiveCounts
    ? active.reserveConnection(limits.maxConnections)
    : active.connections < limits.maxConnections;
}
