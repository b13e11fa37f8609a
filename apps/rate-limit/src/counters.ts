import type { Clock } from '@mizzen/core';
import { type Limit, UNITS, type Unit } from './limit.ts';
import { SlidingWindow } from './sliding-window.ts';

/** How one limit stands after a decision. */
export interface Standing {
  readonly limit: Limit;
  readonly isOver: boolean;
  readonly remaining: number;
  readonly untilFreeMs: number;
}

interface Counter {
  readonly window: SlidingWindow;
  touchedMs: number;
}

/** A counter is given up once nothing of it can be in its window. */
const KEPT_WINDOWS = 1.1;
/** Counters looked at for being given up whenever a new one is made: more than one, so that they become fewer. */
const SWEPT_AT_ONCE = 4;
/** Over the bound counters of short windows go first: they would have gone soonest. */
const BY_WINDOW: readonly Unit[] = ['SECOND', 'MINUTE', 'HOUR', 'DAY'];

/** The counters of the mesh, in memory. Over `maxCounters` the one that was asked longest ago is forgotten, and counts from 0 again. */
export class Counters {
  readonly #clock: Clock;
  readonly #maxCounters: number;
  /** Longest untouched first, as a map keeps what was put in last at its end. */
  readonly #byUnit: Readonly<Record<Unit, Map<string, Counter>>> = {
    SECOND: new Map(),
    MINUTE: new Map(),
    HOUR: new Map(),
    DAY: new Map(),
  };
  #forgotten = 0;

  constructor(options: { readonly clock: Clock; readonly maxCounters: number }) {
    this.#clock = options.clock;
    this.#maxCounters = options.maxCounters;
  }

  get size(): number {
    return BY_WINDOW.reduce((sum, unit) => sum + this.#byUnit[unit].size, 0);
  }

  /** Counters that were given up while they counted, for want of room. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Whether requests may pass under all limits together. Only then they are counted: what is refused takes nothing from anybody. */
  decide(limits: readonly { readonly limit: Limit; readonly hits: number }[]): Standing[] {
    const nowMs = this.#clock.monotonic();
    const found = limits.map(({ limit, hits }) => ({ limit, hits, window: this.#windowOf(limit, nowMs) }));
    const isOver = found.map(({ limit, hits, window }) => window.room(limit.requests, nowMs) < hits);
    if (!isOver.includes(true)) for (const { hits, window } of found) window.take(hits, nowMs);
    return found.map(({ limit, window }, index) => ({
      limit,
      isOver: isOver[index] === true,
      remaining: Math.max(0, window.room(limit.requests, nowMs)),
      untilFreeMs: window.untilFreeMs(nowMs),
    }));
  }

  #windowOf({ key, unit }: Limit, nowMs: number): SlidingWindow {
    const counters = this.#byUnit[unit];
    const known = counters.get(key);
    if (known !== undefined) {
      known.touchedMs = nowMs;
      counters.delete(key);
      counters.set(key, known);
      return known.window;
    }
    this.#sweep(nowMs);
    if (this.size >= this.#maxCounters) this.#forgetOne();
    const window = new SlidingWindow(UNITS[unit].windowMs);
    counters.set(key, { window, touchedMs: nowMs });
    return window;
  }

  #sweep(nowMs: number): void {
    for (const unit of BY_WINDOW) {
      const counters = this.#byUnit[unit];
      let looked = 0;
      for (const [key, { touchedMs }] of counters) {
        if (looked++ === SWEPT_AT_ONCE || touchedMs + UNITS[unit].windowMs * KEPT_WINDOWS > nowMs) break;
        counters.delete(key);
      }
    }
  }

  #forgetOne(): void {
    const counters = BY_WINDOW.map((unit) => this.#byUnit[unit]).find(({ size }) => size > 0);
    const oldest = counters?.keys().next().value;
    if (oldest === undefined) return;
    counters?.delete(oldest);
    this.#forgotten++;
  }
}
