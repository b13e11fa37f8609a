import type { Clock, Timer } from '@mizzen/core';

export interface DebounceOptions {
  readonly clock: Clock;
  /** A burst is over when nothing came for so long. Default 100: Istio's PILOT_DEBOUNCE_AFTER. */
  readonly quietMs?: number;
  /** A burst that does not end is cut after this long. Default 10,000: Istio's PILOT_DEBOUNCE_MAX. */
  readonly maxMs?: number;
}

/**
 * Gathers what comes in bursts and hands each burst on in one piece. Source: istio pilot/pkg/xds/discovery.go, debounce (1.32).
 */
export class Debouncer<T> {
  readonly #clock: Clock;
  readonly #quietMs: number;
  readonly #maxMs: number;
  readonly #flush: (items: readonly T[], waitedMs: number) => void;
  #items: T[] = [];
  #startedAt = 0;
  #timer: Timer | undefined;

  constructor(options: DebounceOptions, flush: (items: readonly T[], waitedMs: number) => void) {
    this.#clock = options.clock;
    this.#quietMs = options.quietMs ?? 100;
    this.#maxMs = options.maxMs ?? 10_000;
    this.#flush = flush;
  }

  /** Whether a burst is being gathered. */
  get isPending(): boolean {
    return this.#items.length > 0;
  }

  add(item: T): void {
    const now = this.#clock.monotonic();
    if (this.#items.length === 0) this.#startedAt = now;
    this.#items.push(item);
    const untilMaxMs = this.#startedAt + this.#maxMs - now;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(Math.max(0, Math.min(this.#quietMs, untilMaxMs)), () => this.flush());
  }

  /** Hands on at once what has been gathered; nothing is nothing. */
  flush(): void {
    this.#timer?.cancel();
    if (this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    this.#flush(items, this.#clock.monotonic() - this.#startedAt);
  }

  /** Forgets what has been gathered. */
  cancel(): void {
    this.#timer?.cancel();
    this.#items = [];
  }
}
