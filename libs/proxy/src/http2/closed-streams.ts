const REMEMBERED = 32;
const MAX_RESET = 2048;

/**
 * What a connection remembers of streams that are gone: frames of those that we reset may still be on their way and are dropped, frames of
 * those that the peer itself ended are its error (RFC 9113 §5.1).
 */
export class ClosedStreams {
  readonly #ended: number[] = [];
  #next = 0;
  #reset: Set<number> | undefined;

  addEnded(streamId: number): void {
    this.#ended[this.#next] = streamId;
    this.#next = (this.#next + 1) % REMEMBERED;
  }

  addReset(streamId: number): void {
    this.#reset ??= new Set();
    this.#reset.add(streamId);
    if (this.#reset.size <= MAX_RESET) return;
    const [oldest] = this.#reset;
    if (oldest !== undefined) this.#reset.delete(oldest);
  }

  /** Only of the last ones is it known. */
  wasEnded(streamId: number): boolean {
    return this.#ended.includes(streamId);
  }

  wasReset(streamId: number): boolean {
    return this.#reset?.has(streamId) ?? false;
  }
}
