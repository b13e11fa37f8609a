/** A window is counted in so many parts; what was let through leaves it part by part. */
const PARTS = 20;

/**
 * What was let through in the last window of time. In no stretch of `windowMs` is it ever more than the limit: the part that time has
 * partly left still counts whole, so that a full counter is free again after at most 1/20 more than the window.
 * Times are in milliseconds of one clock that never goes back.
 */
export class SlidingWindow {
  readonly #partMs: number;
  /** The part under way and the 20 before it, by the number of the part modulo their count. */
  readonly #counts = new Uint32Array(PARTS + 1);
  #part = Number.NEGATIVE_INFINITY;
  #sum = 0;

  constructor(windowMs: number) {
    this.#partMs = windowMs / PARTS;
  }

  /** How many more may pass now under this limit; below 0 where the limit was lowered. */
  room(limit: number, nowMs: number): number {
    this.#advance(nowMs);
    return limit - this.#sum;
  }

  /** Counts requests that were let through. Callers ask `room` first. */
  take(hits: number, nowMs: number): void {
    this.#advance(nowMs);
    const slot = this.#slotOf(this.#part);
    this.#counts[slot] = (this.#counts[slot] as number) + hits;
    this.#sum += hits;
  }

  /** Until something that was counted leaves the window; 0 where nothing is counted. */
  untilFreeMs(nowMs: number): number {
    this.#advance(nowMs);
    for (let part = this.#part - PARTS; part <= this.#part; part++) {
      if ((this.#counts[this.#slotOf(part)] as number) > 0) return (part + PARTS + 1) * this.#partMs - nowMs;
    }
    return 0;
  }

  #advance(nowMs: number): void {
    const part = Math.floor(nowMs / this.#partMs);
    if (part <= this.#part) return;
    if (part - this.#part > PARTS) {
      this.#counts.fill(0);
      this.#sum = 0;
    } else {
      for (let gone = this.#part + 1; gone <= part; gone++) {
        const slot = this.#slotOf(gone);
        this.#sum -= this.#counts[slot] as number;
        this.#counts[slot] = 0;
      }
    }
    this.#part = part;
  }

  #slotOf(part: number): number {
    const remainder = part % (PARTS + 1);
    return remainder < 0 ? remainder + PARTS + 1 : remainder;
  }
}
