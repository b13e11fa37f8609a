/**
 * Bounds how many responses are being written at once over all streams, first come first served: each of them is a buffer of
 * up to megabytes until the client has read it. Slots are handed out one per turn of the event loop, so that a push to many
 * proxies does not keep the others' requests waiting.
 */
export class PushSlots {
  #free: number;
  #isScheduled = false;
  readonly #waiting = new Set<(release: () => void) => void>();

  constructor(limit: number) {
    this.#free = limit;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Calls `use` once there is a free slot, never at once. The slot is free again when `release` is called. Returns what gives the place in the queue up. */
  acquire(use: (release: () => void) => void): () => void {
    this.#waiting.add(use);
    this.#schedule();
    return () => this.#waiting.delete(use);
  }

  #schedule(): void {
    if (this.#isScheduled || this.#free === 0 || this.#waiting.size === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#grant();
      this.#schedule();
    });
  }

  #grant(): void {
    const [use] = this.#waiting;
    if (!use || this.#free === 0) return;
    this.#waiting.delete(use);
    this.#free--;
    let isReleased = false;
    use(() => {
      if (isReleased) return;
      isReleased = true;
      this.#free++;
      this.#schedule();
    });
  }
}
