import { latin1 } from '../http/latin1.ts';
import { type FieldName, fieldName, type HeaderField, headerField, STATIC_FIELDS } from './header-field.ts';
import { decodeHuffman } from './huffman.ts';
import { ENTRY_OVERHEAD_BYTES, STATIC_TABLE } from './static-table.ts';

/** Is told the fields of a block, in order. */
export interface FieldSink {
  onField(field: HeaderField): void;
}

const DEFAULT_TABLE_BYTES = 4096;
const STATIC_COUNT = STATIC_TABLE.length;
const NEVER_INDEXED = 0x10;
const MAX_RECENT_LENGTH = 128;
/** What no index and no length can reach: five bytes of continuation say at most this much. */
const MAX_INTEGER = 2 ** 28;

// Strings are decoded here before they become strings; blocks are bounded, and so is this.
let scratch = Buffer.allocUnsafeSlow(16 * 1024);

/** Decodes header blocks of one direction of a connection. Source: RFC 7541. */
export class HpackDecoder {
  /** The dynamic table as a ring: the newest stands at `#newest`. Length is a power of two. */
  #ring: (HeaderField | undefined)[] = new Array(32).fill(undefined);
  #newest = -1;
  #count = 0;
  #bytes = 0;
  #maxBytes = DEFAULT_TABLE_BYTES;
  /** What the peer may set `#maxBytes` to. */
  #limitBytes = DEFAULT_TABLE_BYTES;
  /** Where reading stands, and -1 after an error. */
  #position = 0;
  /** Length of the name that was read last, for the size of its field. */
  #nameBytes = 0;

  /** What SETTINGS said to the peer: larger is allowed from now on, smaller from its acknowledgement on. */
  setLimit(bytes: number, isAcknowledged: boolean): void {
    this.#limitBytes = isAcknowledged ? bytes : Math.max(bytes, this.#limitBytes);
    if (this.#maxBytes > this.#limitBytes) this.#resize(this.#limitBytes);
  }

  get tableBytes(): number {
    return this.#bytes;
  }

  /** False: the block is not HPACK, and nothing that comes on the connection can be decoded any more. */
  decode(bytes: Buffer, [start, end]: readonly [number, number], sink: FieldSink): boolean {
    this.#position = start;
    let mayResize = true;
    while (this.#position < end) {
      const first = bytes[this.#position] as number;
      if ((first & 0x80) !== 0) {
        const field = this.#fieldAt(this.#integer(bytes, end, 0x7f));
        if (field === undefined) return false;
        sink.onField(field);
        mayResize = false;
      } else if ((first & 0xe0) === 0x20) {
        const size = this.#integer(bytes, end, 0x1f);
        if (!mayResize || size < 0 || size > this.#limitBytes) return false;
        this.#resize(size);
      } else {
        const isIndexed = (first & 0x40) !== 0;
        const field = this.#literal(bytes, end, first);
        if (field === undefined) return false;
        if (isIndexed) this.#insert(field);
        sink.onField(field);
        mayResize = false;
      }
    }
    return true;
  }

  #literal(bytes: Buffer, end: number, first: number): HeaderField | undefined {
    const index = this.#integer(bytes, end, (first & 0x40) !== 0 ? 0x3f : 0x0f);
    let name: FieldName | undefined;
    if (index === 0) name = this.#readName(bytes, end);
    else {
      const field = this.#fieldAt(index);
      if (field === undefined) return undefined;
      name = field.name;
      this.#nameBytes = field.tableBytes - field.value.length - 32;
    }
    if (name === undefined) return undefined;
    const nameBytes = this.#nameBytes;
    const length = this.#readString(bytes, end);
    if (length < 0) return undefined;
    const from = this.#isCoded ? 0 : this.#position - length;
    const text = this.#isCoded ? scratch : bytes;
    const { recent } = name;
    if (recent !== undefined && recent.tableBytes === nameBytes + length + ENTRY_OVERHEAD_BYTES && isSpelt(recent.value, text, from))
      return recent;
    const field = headerField(name, latin1(text, from, from + length), nameBytes);
    // What no table may hold is a secret (RFC 7541 §7.1.3), and not remembered here either.
    if (length <= MAX_RECENT_LENGTH && (first & 0xf0) !== NEVER_INDEXED && field.isValid) name.recent = field;
    return field;
  }

  #readName(bytes: Buffer, end: number): FieldName | undefined {
    const length = this.#readString(bytes, end);
    if (length < 0) return undefined;
    this.#nameBytes = length;
    return this.#isCoded ? fieldName(scratch, 0, length) : fieldName(bytes, this.#position - length, this.#position);
  }

  /** Whether the string that was read last stands decoded in `scratch`; otherwise it ends at `#position`. */
  #isCoded = false;

  /** Returns the string's length, or -1. */
  #readString(bytes: Buffer, end: number): number {
    if (this.#position >= end) return -1;
    this.#isCoded = ((bytes[this.#position] as number) & 0x80) !== 0;
    const length = this.#integer(bytes, end, 0x7f);
    const start = this.#position;
    if (length < 0 || length > end - start) return -1;
    this.#position = start + length;
    if (!this.#isCoded) return length;
    // No symbol is shorter than five bits.
    const needed = Math.ceil((length * 8) / 5);
    if (needed > scratch.length) scratch = Buffer.allocUnsafeSlow(needed * 2);
    return decodeHuffman(bytes, start, start + length, scratch);
  }

  /** RFC 7541 §5.1; -1 where it does not end, or is larger than anything that could be meant. */
  #integer(bytes: Buffer, end: number, mask: number): number {
    let value = (bytes[this.#position++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#position >= end) return -1;
      const byte = bytes[this.#position++] as number;
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value < MAX_INTEGER ? value : -1;
    }
    return -1;
  }

  #fieldAt(index: number): HeaderField | undefined {
    if (index <= STATIC_COUNT) return STATIC_FIELDS[index - 1];
    const age = index - STATIC_COUNT - 1;
    if (age >= this.#count) return undefined;
    return this.#ring[(this.#newest - age) & (this.#ring.length - 1)];
  }

  #insert(field: HeaderField): void {
    this.#evictTo(this.#maxBytes - field.tableBytes);
    if (field.tableBytes > this.#maxBytes) return;
    if (this.#count === this.#ring.length) this.#grow();
    this.#newest = (this.#newest + 1) & (this.#ring.length - 1);
    this.#ring[this.#newest] = field;
    this.#count++;
    this.#bytes += field.tableBytes;
  }

  #resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#evictTo(maxBytes);
  }

  #evictTo(bytes: number): void {
    const mask = this.#ring.length - 1;
    while (this.#count > 0 && this.#bytes > bytes) {
      const oldest = (this.#newest - this.#count + 1) & mask;
      this.#bytes -= (this.#ring[oldest] as HeaderField).tableBytes;
      this.#ring[oldest] = undefined;
      this.#count--;
    }
  }

  #grow(): void {
    const { length } = this.#ring;
    const grown: (HeaderField | undefined)[] = new Array(length * 2).fill(undefined);
    for (let age = 0; age < this.#count; age++) grown[this.#count - 1 - age] = this.#ring[(this.#newest - age) & (length - 1)];
    this.#ring = grown;
    this.#newest = this.#count - 1;
  }
}

/** From the end: what changes between two values that begin alike. */
function isSpelt(value: string, bytes: Buffer, start: number): boolean {
  for (let index = value.length - 1; index >= 0; index--) if (value.charCodeAt(index) !== bytes[start + index]) return false;
  return true;
}
