import { kept } from '../cluster/shared-reads.ts';

const FULL_BYTES = 64 * 1024;

/** What was read of a connection, and waits until the answer to the request before it is under way to its end. */
export class ReadAhead {
  #chunks: Buffer[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  /** No more should be read. */
  get isFull(): boolean {
    return this.#bytes > FULL_BYTES;
  }

  add(chunk: Buffer): void {
    this.#chunks.push(kept(chunk));
    this.#bytes += chunk.length;
  }

  /** The rest of what was taken. */
  putBack(rest: Buffer): void {
    this.#chunks.unshift(kept(rest));
    this.#bytes += rest.length;
  }

  /** All of it; undefined where nothing waits. */
  take(): Buffer | undefined {
    const chunks = this.#chunks;
    if (chunks.length === 0) return undefined;
    this.#chunks = [];
    this.#bytes = 0;
    return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  }

  /** What waits and what came now; the very `chunk` where nothing waits. */
  joinedWith(chunk: Buffer): Buffer {
    return this.#bytes === 0 ? chunk : Buffer.concat([...this.#chunks, chunk]);
  }
}
