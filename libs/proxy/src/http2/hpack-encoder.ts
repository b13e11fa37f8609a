import { encodeHuffman, huffmanLength } from './huffman.ts';
import { ENTRY_OVERHEAD_BYTES, STATIC_TABLE } from './static-table.ts';

/** What the encoder knows of a name. */
interface KnownName {
  readonly text: string;
  /** 0: not in the static table. */
  readonly staticIndex: number;
  /** Static indexes by value. */
  readonly staticValues: ReadonlyMap<string, number> | undefined;
  /** Secrets that a table must not hold, and no proxy after us may put into one (RFC 7541 §7.1.3). */
  readonly isSensitive: boolean;
  /** What has no place in HTTP/2. */
  readonly isForbidden: boolean;
  /** In the dynamic table: running numbers of insertion by value; undefined while it never was there. */
  numbers: Map<string, number> | undefined;
  /** Number of the insertion that had this name last; 0: none. */
  lastNumber: number;
  /** Seen once and not put into the table: the same value again goes there. */
  candidate: string;
}

interface Entry {
  readonly name: KnownName;
  readonly value: string;
  readonly bytes: number;
}

const STATIC_COUNT = STATIC_TABLE.length;
const DEFAULT_TABLE_BYTES = 4096;
/** What names repeat fits; made-up names are not remembered beyond it. */
const MAX_NAMES = 512;
const MAX_CANDIDATE_LENGTH = 512;

const SENSITIVE: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization']);
/** A shorter cookie could be guessed piece by piece from the sizes of blocks. Source: nghttp2 hd_deflate_decide_indexing. */
const MIN_INDEXED_COOKIE_LENGTH = 20;
const FORBIDDEN: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

const staticIndexes = new Map<string, number>();
const staticValuesByName = new Map<string, Map<string, number>>();
STATIC_TABLE.forEach(([name, value], index) => {
  if (!staticIndexes.has(name)) staticIndexes.set(name, index + 1);
  if (value === '') return;
  const values = staticValuesByName.get(name) ?? new Map<string, number>();
  values.set(value, index + 1);
  staticValuesByName.set(name, values);
});

// One for all connections: a block is encoded and written in one go, and an idle connection should not keep a kilobyte for it.
let block: Buffer = Buffer.allocUnsafeSlow(4096);

/**
 * Encodes header blocks of one direction of a connection. A field goes into the dynamic table when it comes the second time in a row with
 * the same value: what changes with every message (ids, times) would only push out what does not.
 */
export class HpackEncoder {
  length = 0;
  readonly #names = new Map<string, KnownName>();
  /** The dynamic table: entry number n stands at `n - #evicted - 1`. */
  #entries: Entry[] = [];
  #inserted = 0;
  #evicted = 0;
  #bytes = 0;
  #maxBytes: number;
  readonly #ownMaxBytes: number;
  /** The smallest and the last size since the last block, to be told to the peer (RFC 7541 §4.2). */
  #smallestUpdate = -1;
  #update = -1;

  constructor(tableBytes: number) {
    this.#ownMaxBytes = tableBytes;
    this.#maxBytes = Math.min(tableBytes, DEFAULT_TABLE_BYTES);
    if (this.#maxBytes < DEFAULT_TABLE_BYTES) this.#announce(this.#maxBytes);
  }

  /** What the peer's SETTINGS allow. */
  setLimit(bytes: number): void {
    const size = Math.min(bytes, this.#ownMaxBytes);
    if (size === this.#maxBytes) return;
    this.#maxBytes = size;
    this.#evictTo(size);
    this.#announce(size);
  }

  #announce(size: number): void {
    this.#smallestUpdate = this.#smallestUpdate < 0 ? size : Math.min(size, this.#smallestUpdate);
    this.#update = size;
  }

  /** The block under way stands here from 0 to `length`; it must be used before anything else is encoded. */
  get block(): Buffer {
    return block;
  }

  begin(): void {
    this.length = 0;
    if (this.#update < 0) return;
    if (this.#smallestUpdate < this.#update) this.#integer(0x20, 0x1f, this.#smallestUpdate);
    this.#integer(0x20, 0x1f, this.#update);
    this.#smallestUpdate = -1;
    this.#update = -1;
  }

  /** `name` is lower-cased; what may not be in HTTP/2 is left out. */
  field(name: string, value: string): void {
    const known = this.#names.get(name) ?? this.#learn(name);
    const number = known.numbers?.get(value);
    if (number !== undefined) {
      this.#index(STATIC_COUNT + 1 + this.#inserted - number);
      return;
    }
    const staticIndex = known.staticValues?.get(value);
    if (staticIndex !== undefined) {
      this.#index(staticIndex);
      return;
    }
    if (!known.isForbidden) this.#literal(known, value);
  }

  #index(index: number): void {
    if (index >= 0x7f || this.length === block.length) this.#integer(0x80, 0x7f, index);
    else block[this.length++] = 0x80 | index;
  }

  #literal(known: KnownName, value: string): void {
    if (known.isSensitive || (known.text === 'cookie' && value.length < MIN_INDEXED_COOKIE_LENGTH)) {
      this.#name(known, 0x10, 0x0f);
      this.#string(value);
      return;
    }
    const bytes = known.text.length + value.length + ENTRY_OVERHEAD_BYTES;
    if (known.candidate === value && bytes <= this.#maxBytes >> 1) {
      this.#name(known, 0x40, 0x3f);
      this.#codedString(value);
      this.#insert({ name: known, value, bytes });
      known.candidate = '';
      return;
    }
    this.#name(known, 0, 0x0f);
    this.#string(value);
    known.candidate = value.length <= MAX_CANDIDATE_LENGTH ? value : '';
  }

  #name(known: KnownName, flags: number, mask: number): void {
    const index =
      known.staticIndex > 0
        ? known.staticIndex
        : known.lastNumber > this.#evicted
          ? STATIC_COUNT + 1 + this.#inserted - known.lastNumber
          : 0;
    this.#integer(flags, mask, index);
    if (index === 0) this.#string(known.text);
  }

  /** As it is: it is sent with every message, and coding would cost both sides more than the bytes. */
  #string(text: string): void {
    const { length } = text;
    this.#integer(0, 0x7f, length);
    this.#reserve(length);
    if (length > 48) block.write(text, this.length, length, 'latin1');
    else for (let index = 0, at = this.length; index < length; index++, at++) block[at] = text.charCodeAt(index);
    this.length += length;
  }

  /** What goes into the table is sent once. */
  #codedString(text: string): void {
    const length = huffmanLength(text);
    if (length >= text.length) {
      this.#string(text);
      return;
    }
    this.#integer(0x80, 0x7f, length);
    this.#reserve(length);
    this.length = encodeHuffman(text, block, this.length);
  }

  #integer(flags: number, mask: number, value: number): void {
    this.#reserve(6);
    if (value < mask) {
      block[this.length++] = flags | value;
      return;
    }
    block[this.length++] = flags | mask;
    let rest = value - mask;
    while (rest >= 0x80) {
      block[this.length++] = (rest & 0x7f) | 0x80;
      rest = Math.floor(rest / 128);
    }
    block[this.length++] = rest;
  }

  #reserve(bytes: number): void {
    if (this.length + bytes <= block.length) return;
    const grown = Buffer.allocUnsafe(Math.max(block.length * 2, this.length + bytes));
    block.copy(grown, 0, 0, this.length);
    block = grown;
  }

  #learn(text: string): KnownName {
    const known: KnownName = {
      text,
      staticIndex: staticIndexes.get(text) ?? 0,
      staticValues: staticValuesByName.get(text),
      isSensitive: SENSITIVE.has(text),
      isForbidden: FORBIDDEN.has(text),
      numbers: undefined,
      lastNumber: 0,
      candidate: '',
    };
    if (this.#names.size < MAX_NAMES) this.#names.set(text, known);
    return known;
  }

  #insert(entry: Entry): void {
    this.#evictTo(this.#maxBytes - entry.bytes);
    this.#entries.push(entry);
    this.#bytes += entry.bytes;
    this.#inserted++;
    entry.name.numbers ??= new Map();
    entry.name.numbers.set(entry.value, this.#inserted);
    entry.name.lastNumber = this.#inserted;
  }

  #evictTo(bytes: number): void {
    let count = 0;
    while (this.#bytes > bytes) {
      const { name, value, bytes: size } = this.#entries[count++] as Entry;
      this.#bytes -= size;
      this.#evicted++;
      if (name.numbers?.get(value) === this.#evicted) name.numbers.delete(value);
    }
    if (count > 0) this.#entries = this.#entries.slice(count);
  }
}
