import type { BodyOutput, BodyTransform } from '../http/body-chain.ts';
import type { HeaderMap } from '../http/headers.ts';
import type { HcmRuntime } from '../http/runtime.ts';
import { Deadline } from '../http/timer-wheel.ts';

/** So often a second something is let through, as Envoy does. Source: envoy StreamRateLimiter (1.40). */
const FILLS_PER_SECOND = 16;
/** Who sends waits while more than this is kept. */
const WAITING_BYTES = 64 * 1024;

/** Lets a body through at a rate; begins with one sixteenth of what a second may bring. */
export class RateLimitedBody implements BodyTransform {
  readonly #bytesPerMs: number;
  readonly #burstBytes: number;
  readonly #clock: HcmRuntime['context']['clock'];
  readonly #timer: Deadline;
  #output: BodyOutput | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #credit: number;
  #creditMs: number;
  #isFull = false;
  #isPaused = false;
  #isEnded = false;
  #isDone = false;
  #trailers: HeaderMap | undefined;

  constructor(kibPerSecond: number, runtime: Pick<HcmRuntime, 'context' | 'wheel'>) {
    this.#bytesPerMs = (kibPerSecond * 1024) / 1000;
    this.#burstBytes = kibPerSecond * 1024;
    this.#clock = runtime.context.clock;
    this.#credit = (kibPerSecond * 1024) / FILLS_PER_SECOND;
    this.#creditMs = this.#clock.monotonic();
    this.#timer = new Deadline(runtime.wheel, () => this.#release());
  }

  write(chunk: Buffer, output: BodyOutput): boolean {
    this.#output = output;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (!this.#timer.isArmed) this.#release();
    this.#isFull = this.#bytes > WAITING_BYTES;
    return !this.#isFull;
  }

  end(trailers: HeaderMap | undefined, output: BodyOutput): void {
    this.#output = output;
    this.#isEnded = true;
    this.#trailers = trailers;
    if (this.#bytes === 0) this.#finish();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    if (!this.#timer.isArmed) this.#release();
  }

  destroy(): void {
    this.#timer.cancel();
    this.#chunks = [];
  }

  #release(): void {
    const now = this.#clock.monotonic();
    this.#credit = Math.min(this.#burstBytes, this.#credit + (now - this.#creditMs) * this.#bytesPerMs);
    this.#creditMs = now;
    while (!this.#isPaused && this.#chunks.length > 0 && this.#credit >= 1) this.#pushNext();
    if (this.#bytes > 0) {
      if (!this.#isPaused) this.#timer.arm(1000 / FILLS_PER_SECOND);
    } else if (this.#isEnded) this.#finish();
    if (this.#isFull && this.#bytes <= WAITING_BYTES) {
      this.#isFull = false;
      this.#output?.drained();
    }
  }

  #pushNext(): void {
    const chunk = this.#chunks[0] as Buffer;
    const length = Math.min(chunk.length, Math.floor(this.#credit));
    if (length === chunk.length) this.#chunks.shift();
    else this.#chunks[0] = chunk.subarray(length);
    this.#bytes -= length;
    this.#credit -= length;
    this.#output?.push(chunk.subarray(0, length));
  }

  #finish(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#output?.finish(this.#trailers);
  }
}
