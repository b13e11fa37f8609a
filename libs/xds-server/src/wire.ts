/** The few pieces of protobuf's wire format that responses are put together from by hand. Source: protobuf.dev, "Encoding". */

const encoder = new TextEncoder();

/** The key of a length-delimited field. Field numbers up to 15, which is all that a response has. */
export function lengthDelimitedKey(fieldNumber: number): number {
  return (fieldNumber << 3) | 2;
}

export function varintSizeBytes(value: number): number {
  let size = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Writes `value` at `offset` and returns the offset after it. */
export function writeVarint(target: Uint8Array, value: number, offset: number): number {
  let at = offset;
  let rest = value;
  while (rest > 0x7f) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 128);
  }
  target[at++] = rest;
  return at;
}

/** Key, length and bytes of a field. An empty text is left out, as proto3 leaves out a default. */
export function stringField(fieldNumber: number, text: string): Uint8Array {
  if (text === '') return new Uint8Array(0);
  const value = encoder.encode(text);
  const field = new Uint8Array(1 + varintSizeBytes(value.length) + value.length);
  field[0] = lengthDelimitedKey(fieldNumber);
  field.set(value, writeVarint(field, value.length, 1));
  return field;
}

/** Writes key and length of a field whose bytes follow, and returns the offset after them. */
export function writeFieldHeader(target: Uint8Array, field: { number: number; sizeBytes: number }, offset: number): number {
  target[offset] = lengthDelimitedKey(field.number);
  return writeVarint(target, field.sizeBytes, offset + 1);
}

export function fieldSizeBytes(valueSizeBytes: number): number {
  return 1 + varintSizeBytes(valueSizeBytes) + valueSizeBytes;
}
