import type { Clock, Timer } from '@mizzen/core';

export interface BatchOptions<T> {
  readonly clock: Clock;
  /** How long the first item of a batch waits at most. */
  readonly flushMs: number;
  /** A batch of this size is sent at once. */
  readonly maxBatchBytes: number;
  /** Items over this are dropped and counted: what is sent is away or slow. */
  readonly maxQueuedBytes: number;
  /** Sends one batch; `done` must be called once, with how many of it were lost. */
  readonly send: (items: readonly T[], done: (lost: number) => void) => void;
}

/** Gathers what goes to a collector; one batch is under way at a time. Whoever adds never waits. */
export class Batch<T> {
  readonly #options: BatchOptions<T>;
  #items: T[] = [];
  #bytes = 0;
  #isSending = false;
  #timer: Timer | undefined;
  #idle: (() => void)[] = [];
  /** Items that nobody will see. */
  dropped = 0;

  constructor(options: BatchOptions<T>) {
    this.#options = options;
  }

  /** `bytes`: about how large the item is. */
  add(item: T, bytes: number): void {
    const { maxQueuedBytes, maxBatchBytes, clock, flushMs } = this.#options;
    if (this.#bytes + bytes > maxQueuedBytes) {
      this.dropped++;
      return;
    }
    this.#items.push(item);
    this.#bytes += bytes;
    if (this.#bytes >= maxBatchBytes) this.flush();
    else this.#timer ??= clock.after(flushMs, () => this.flush());
  }

  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#isSending || this.#items.length === 0) return;
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    this.#isSending = true;
    try {
      this.#options.send(items, (lost) => this.#onSent(lost));
    } catch {
      // What cannot be encoded is lost; nothing that is told to a collector may break the process.
      this.#onSent(items.length);
    }
  }

  #onSent(lost: number): void {
    this.#isSending = false;
    this.dropped += lost;
    if (this.#bytes >= this.#options.maxBatchBytes || this.#idle.length > 0) this.flush();
    else if (this.#items.length > 0) this.#timer ??= this.#options.clock.after(this.#options.flushMs, () => this.flush());
    if (!this.#isSending) for (const idle of this.#idle.splice(0)) idle();
  }

  /** Sends what is there; resolves when it was taken or given up. */
  close(): Promise<void> {
    this.flush();
    if (!this.#isSending) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }
}
