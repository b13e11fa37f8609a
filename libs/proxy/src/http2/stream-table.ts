import type { Http2Stream } from './stream.ts';

const FIRST_SLOTS = 16;

/**
 * The open streams of one connection by their numbers. A `Map` would do, but for the garbage collector: each table that it outgrows, and it
 * outgrows one every few streams, keeps a pointer to the next one; once the first of them has grown old all that follow, with every stream
 * that was ever in them, survive until the whole heap is collected. Here a slot is cleared when its stream goes.
 *
 * Open addressing over the number's upper bits, which count up by one: neighbours seldom collide.
 */
export class StreamTable {
  #slots: (Http2Stream | undefined)[] = newSlots(FIRST_SLOTS);
  #mask = FIRST_SLOTS - 1;
  size = 0;

  get(id: number): Http2Stream | undefined {
    const slots = this.#slots;
    const mask = this.#mask;
    for (let index = (id >> 1) & mask; ; index = (index + 1) & mask) {
      const stream = slots[index];
      if (stream === undefined || stream.id === id) return stream;
    }
  }

  /** A stream whose number is not here yet. */
  add(stream: Http2Stream): void {
    if (++this.size * 2 > this.#mask) this.#grow();
    this.#put(stream);
  }

  delete(stream: Http2Stream): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = (stream.id >> 1) & mask;
    while (slots[hole] !== stream) {
      if (slots[hole] === undefined) return;
      hole = (hole + 1) & mask;
    }
    this.size--;
    // What was put behind for want of room moves up, so that no search ends before it.
    for (let index = (hole + 1) & mask; ; index = (index + 1) & mask) {
      const other = slots[index];
      if (other === undefined) break;
      const distance = (index - (other.id >> 1)) & mask;
      if (distance < ((index - hole) & mask)) continue;
      slots[hole] = other;
      hole = index;
    }
    slots[hole] = undefined;
  }

  /** Those that are here now; what is added or deleted meanwhile changes nothing. */
  list(): Http2Stream[] {
    const streams: Http2Stream[] = [];
    for (const stream of this.#slots) if (stream !== undefined) streams.push(stream);
    return streams.sort((a, b) => a.id - b.id);
  }

  #put(stream: Http2Stream): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let index = (stream.id >> 1) & mask;
    while (slots[index] !== undefined) index = (index + 1) & mask;
    slots[index] = stream;
  }

  #grow(): void {
    const before = this.#slots;
    const count = before.length * 2;
    this.#slots = newSlots(count);
    this.#mask = count - 1;
    for (let index = 0; index < before.length; index++) {
      const stream = before[index];
      if (stream === undefined) continue;
      this.#put(stream);
      before[index] = undefined;
    }
  }
}

function newSlots(count: number): (Http2Stream | undefined)[] {
  return new Array<Http2Stream | undefined>(count).fill(undefined);
}
