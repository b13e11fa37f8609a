import type { CompiledRoute } from '@mizzen/matching';
import type { HeaderMap } from './headers.ts';
import type { UpstreamStream } from './stream.ts';

/** Kept for retries; Envoy's default per_connection_buffer_limit_bytes. */
const KEPT_BODY_BYTES = 1024 * 1024;
/** A request body that waits for a connection holds the client back beyond this. */
const WAITING_BODY_BYTES = 64 * 1024;

const NONE: readonly Buffer[] = [];

/** The part of a request's body that another try, an internal redirect or a connection to come may need. */
export class KeptBody {
  readonly #limitBytes: number;
  #chunks: Buffer[] | undefined;
  #bytes = 0;
  trailers: HeaderMap | undefined;
  /** False: it grew beyond the limit, or nobody will need it again. */
  isComplete = true;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  static of(route: CompiledRoute | undefined): KeptBody {
    return new KeptBody(Math.min(route?.requestBufferLimitBytes ?? KEPT_BODY_BYTES, KEPT_BODY_BYTES));
  }

  /** Whether the client should be held back until somebody takes the body. */
  get isFull(): boolean {
    return this.#bytes > WAITING_BODY_BYTES;
  }

  get chunks(): readonly Buffer[] {
    return this.#chunks ?? NONE;
  }

  /** `isSent`: what was kept is on its way already and may be forgotten beyond the limit. */
  keep(chunk: Buffer, isSent: boolean): void {
    this.#chunks ??= [];
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes <= this.#limitBytes) return;
    this.isComplete = false;
    if (isSent) this.drop();
  }

  /** Sends what is there so far; false where the stream asks to wait. */
  sendTo(upstream: UpstreamStream): boolean {
    let isWritable = true;
    if (this.#chunks !== undefined) for (const chunk of this.#chunks) isWritable = upstream.sendData(chunk) && isWritable;
    if (this.trailers !== undefined) upstream.sendTrailers(this.trailers);
    return isWritable;
  }

  drop(): void {
    this.#chunks = undefined;
    this.#bytes = 0;
  }

  /** From here on nothing is kept. */
  give(): void {
    this.isComplete = false;
    this.drop();
  }
}
