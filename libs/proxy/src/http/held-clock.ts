import type { Clock, Timer } from '@mizzen/core';

/**
 * A clock that stands still while one read is dealt with: what came together came at one time, and a request looks at the clock a dozen
 * times. Whoever holds it releases it before it returns to the event loop.
 */
export class HeldClock implements Clock {
  readonly #clock: Clock;
  #isHeld = false;
  /** Not a number: nobody has asked since it was held. */
  #nowMs = Number.NaN;
  #monotonicMs = Number.NaN;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    if (!this.#isHeld) return this.#clock.now();
    if (Number.isNaN(this.#nowMs)) this.#nowMs = this.#clock.now();
    return this.#nowMs;
  }

  monotonic(): number {
    if (!this.#isHeld) return this.#clock.monotonic();
    if (Number.isNaN(this.#monotonicMs)) this.#monotonicMs = this.#clock.monotonic();
    return this.#monotonicMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#clock.after(delayMs, callback);
  }

  /** False: somebody holds it already, and releases it. */
  hold(): boolean {
    if (this.#isHeld) return false;
    this.#isHeld = true;
    this.#nowMs = Number.NaN;
    this.#monotonicMs = Number.NaN;
    return true;
  }

  release(): void {
    this.#isHeld = false;
  }
}
