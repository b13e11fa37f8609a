import { hash } from 'node:crypto';

// The layout, in words of 32 bits: a head, the chains of a hash table, then slots.
const HEAD_WORDS = 16;
const LOCK = 0;
/** First of the slots that were given back, as a number above 0; they are chained as those in use are. */
const FREE = 1;
/** How many slots were ever used. */
const USED = 2;
const CHAINS = 1 << 14;
const SLOT_WORDS = 16;
const KEY_WORDS = 4;
const REFERENCES = 4;
const NEXT = 5;
/** Ten numbers; two of them, from an even place on, can be one of 64 bits. */
const VALUES = 6;
/** A few names at most are not found in it: memory is the system's until a slot is used. */
const MAX_SLOTS = 1 << 17;

/**
 * Numbers under names, the same for all event loops of the process: what limits are measured by. Who asks for a name holds its slot until
 * `release`; the last one frees it. The table is locked only while names are looked up, which is when configuration is put in force.
 */
export class SharedMemory {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #pairs: BigInt64Array;

  /** Without a buffer a new one is made. */
  constructor(buffer = new SharedArrayBuffer(4 * (HEAD_WORDS + CHAINS + MAX_SLOTS * SLOT_WORDS))) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#pairs = new BigInt64Array(buffer);
  }

  /** The slot of a name, its numbers at 0 where nobody holds it yet; undefined where there are more names than slots. */
  acquire(name: string): SharedSlot | undefined {
    const digest = hash('sha1', name, 'buffer');
    const key = Int32Array.from({ length: KEY_WORDS }, (_, index) => digest.readInt32LE(4 * index));
    return this.#locked(() => {
      const chain = HEAD_WORDS + ((key[0] as number) & (CHAINS - 1));
      const at = this.#find(chain, key) ?? this.#insert(chain, key);
      if (at === undefined) return undefined;
      this.#words[at + REFERENCES] = this.#word(at + REFERENCES) + 1;
      return new SharedSlot(this, { words: this.#words, pairs: this.#pairs, at });
    });
  }

  /** For slots. */
  giveBack(at: number): void {
    this.#locked(() => {
      const references = this.#word(at + REFERENCES) - 1;
      this.#words[at + REFERENCES] = references;
      if (references > 0) return;
      this.#unlink(at);
      this.#words[at + NEXT] = this.#word(FREE);
      this.#words[FREE] = numberOf(at);
    });
  }

  /** How many names are held. */
  get size(): number {
    return this.#locked(() => {
      let free = 0;
      for (let number = this.#word(FREE); number !== 0; number = this.#word(placeOf(number) + NEXT)) free++;
      return this.#word(USED) - free;
    });
  }

  #word(at: number): number {
    return this.#words[at] as number;
  }

  #find(chain: number, key: Int32Array): number | undefined {
    for (let number = this.#word(chain); number !== 0; ) {
      const at = placeOf(number);
      if (key.every((word, index) => this.#word(at + index) === word)) return at;
      number = this.#word(at + NEXT);
    }
    return undefined;
  }

  #insert(chain: number, key: Int32Array): number | undefined {
    let number = this.#word(FREE);
    if (number !== 0) this.#words[FREE] = this.#word(placeOf(number) + NEXT);
    else {
      if (this.#word(USED) === MAX_SLOTS) return undefined;
      number = this.#word(USED) + 1;
      this.#words[USED] = number;
    }
    const at = placeOf(number);
    this.#words.fill(0, at, at + SLOT_WORDS);
    this.#words.set(key, at);
    this.#words[at + NEXT] = this.#word(chain);
    this.#words[chain] = number;
    return at;
  }

  #unlink(at: number): void {
    let before = HEAD_WORDS + (this.#word(at) & (CHAINS - 1));
    while (this.#word(before) !== numberOf(at)) before = placeOf(this.#word(before)) + NEXT;
    this.#words[before] = this.#word(at + NEXT);
  }

  #locked<T>(work: () => T): T {
    while (Atomics.compareExchange(this.#words, LOCK, 0, 1) !== 0) Atomics.wait(this.#words, LOCK, 1);
    try {
      return work();
    } finally {
      Atomics.store(this.#words, LOCK, 0);
      Atomics.notify(this.#words, LOCK, 1);
    }
  }
}

/** Slots have numbers from 1 on: 0 ends a chain. */
function placeOf(number: number): number {
  return HEAD_WORDS + CHAINS + (number - 1) * SLOT_WORDS;
}

function numberOf(at: number): number {
  return (at - HEAD_WORDS - CHAINS) / SLOT_WORDS + 1;
}

/** The numbers of one name, as this event loop holds them. */
export class SharedSlot implements SharedNumbers {
  readonly #memory: SharedMemory;
  readonly #words: Int32Array;
  readonly #pairs: BigInt64Array;
  readonly #at: number;
  isReleased = false;

  constructor(memory: SharedMemory, place: { readonly words: Int32Array; readonly pairs: BigInt64Array; readonly at: number }) {
    this.#memory = memory;
    this.#words = place.words;
    this.#pairs = place.pairs;
    this.#at = place.at;
  }

  get(index: number): number {
    return Atomics.load(this.#words, this.#at + VALUES + index);
  }

  set(index: number, value: number): void {
    Atomics.store(this.#words, this.#at + VALUES + index, value);
  }

  add(index: number, by: number): number {
    return Atomics.add(this.#words, this.#at + VALUES + index, by) + by;
  }

  /** A number of 64 bits, of the values at `index` (even) and after it. */
  getPair(index: number): bigint {
    return Atomics.load(this.#pairs, (this.#at + VALUES + index) / 2);
  }

  /** False where it was another number than `expected`, and stays what it was. */
  replacePair(index: number, expected: bigint, value: bigint): boolean {
    return Atomics.compareExchange(this.#pairs, (this.#at + VALUES + index) / 2, expected, value) === expected;
  }

  /** Nothing else may be asked of it afterwards. */
  release(): void {
    if (this.isReleased) return;
    this.isReleased = true;
    this.#memory.giveBack(this.#at);
  }
}

/** A few numbers that are counted together: those of this event loop, or of all. */
export interface SharedNumbers {
  get(index: number): number;
  set(index: number, value: number): void;
  /** Answers what it is then. */
  add(index: number, by: number): number;
  release(): void;
}

/** Where there is one event loop. */
export class OwnNumbers implements SharedNumbers {
  readonly #values: number[];

  constructor(count: number) {
    this.#values = Array.from({ length: count }, () => 0);
  }

  get(index: number): number {
    return this.#values[index] as number;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }

  add(index: number, by: number): number {
    const value = (this.#values[index] as number) + by;
    this.#values[index] = value;
    return value;
  }

  release(): void {}
}
