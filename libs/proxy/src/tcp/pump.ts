import type { Socket } from 'node:net';
import { type DirectReads, readDirectly } from '../system/direct-reads.ts';
import { isTlsSocket } from '../tls/upstream-tls.ts';

export interface PumpOwner {
  /** Bytes were read and are on their way. */
  onBytes(count: number): void;
  /** The reader is behind: nothing is read until it caught up. Told once each time. */
  onPaused(): void;
  onResumed(): void;
}

/** As much as one read takes of a connection that has not much to say. */
const SHARED_BYTES = 64 * 1024;
/** Of one that has: fewer, larger system calls. */
const BULK_BYTES = 256 * 1024;
/** So many reads of so much in a row are a connection that has much to say. */
const LARGE_READS_BEFORE_BULK = 4;
const LARGE_READ_BYTES = 16 * 1024;

// Reads happen one at a time, and what is read here is copied before the next.
const shared = Buffer.allocUnsafeSlow(SHARED_BYTES);

/**
 * Passes bytes one way, with back-pressure; the end of one side ends the other's direction only (half-close).
 *
 * A connection with much to say gets a buffer of its own, which is read into and written from in turn: no memory is allocated and no byte
 * copied outside of the kernel. All others read into one buffer that the process shares, and what they read is copied out of it.
 */
export class Pump {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #owner: PumpOwner;
  /** Whether a written buffer is free again as soon as nothing is left to write: not so for TLS, which takes it later. */
  readonly #canReuse: boolean;
  #reads: DirectReads | undefined;
  #bulk: Buffer | undefined;
  #largeReads = 0;
  #isWaiting = false;
  #isDiscarding = false;

  constructor(from: Socket, to: Socket, owner: PumpOwner) {
    this.#from = from;
    this.#to = to;
    this.#owner = owner;
    this.#canReuse = !isTlsSocket(from) && !isTlsSocket(to);
  }

  /** `from` is paused; the caller resumes it. What it has read already goes first. */
  start(): void {
    const from = this.#from;
    for (let chunk = from.read() as Buffer | null; chunk !== null; chunk = from.read() as Buffer | null) this.#pass(chunk);
    this.#to.on('drain', this.#onWritable);
    // The end may have been told while nobody listened yet: a paused socket tells it once its buffer is empty.
    if (from.readableEnded) {
      this.#to.end();
      return;
    }
    from.once('end', () => this.#to.end());
    this.#reads = readDirectly(from, shared, this.#onRead);
    if (this.#reads === undefined) from.on('data', this.#pass);
  }

  /** Reads what still comes and forgets it. */
  discard(): void {
    this.#isDiscarding = true;
    this.#bulk = undefined;
    this.#reads?.readInto(shared);
    this.#from.resume();
  }

  /** Nothing came for a while: its own buffer goes back. */
  relax(): void {
    if (this.#bulk === undefined || this.#isWaiting) return;
    this.#bulk = undefined;
    this.#largeReads = 0;
    this.#reads?.readInto(shared);
  }

  readonly #onRead = (buffer: Buffer, count: number): void => {
    if (this.#isDiscarding) return;
    const bytes = count === buffer.length ? buffer : buffer.subarray(0, count);
    if (buffer === this.#bulk) this.#passBulk(bytes);
    else {
      this.#countLargeReads(count);
      this.#pass(Buffer.from(bytes));
    }
  };

  readonly #pass = (chunk: Buffer): void => {
    if (this.#isDiscarding) return;
    this.#owner.onBytes(chunk.length);
    if (!this.#to.write(chunk) && !this.#isWaiting && this.#to.writableLength > 0) this.#wait();
  };

  /** The buffer is read into again only once all of it is written. */
  #passBulk(bytes: Buffer): void {
    this.#owner.onBytes(bytes.length);
    // Where something of before is under way still, this one cannot wait in place.
    this.#to.write(this.#to.writableLength > 0 ? Buffer.from(bytes) : bytes, this.#onFlushed);
    if (this.#to.writableLength > 0 && !this.#isWaiting) this.#wait();
  }

  #countLargeReads(count: number): void {
    if (!this.#canReuse) return;
    this.#largeReads = count >= LARGE_READ_BYTES ? this.#largeReads + 1 : 0;
    if (this.#largeReads < LARGE_READS_BEFORE_BULK) return;
    this.#bulk = Buffer.allocUnsafeSlow(BULK_BYTES);
    this.#reads?.readInto(this.#bulk);
  }

  #wait(): void {
    this.#isWaiting = true;
    this.#from.pause();
    this.#owner.onPaused();
  }

  readonly #onFlushed = (): void => {
    if (this.#isWaiting && this.#to.writableLength === 0) this.#goOn();
  };

  readonly #onWritable = (): void => {
    if (this.#isWaiting && (this.#bulk === undefined || this.#to.writableLength === 0)) this.#goOn();
  };

  #goOn(): void {
    this.#isWaiting = false;
    this.#owner.onResumed();
    this.#from.resume();
  }
}
