import { HASH_SEED, type HeaderName, headerName, nextHash } from '../http/headers.ts';
import { ENTRY_OVERHEAD_BYTES, STATIC_TABLE } from './static-table.ts';

/** What a field is to a message; worked out once, when the field enters a table. */
export const FIELD_KIND = {
  regular: 0,
  method: 1,
  scheme: 2,
  path: 3,
  authority: 4,
  status: 5,
  protocol: 6,
  unknownPseudo: 7,
  cookie: 8,
  contentLength: 9,
  te: 10,
  expect: 11,
  host: 12,
  /** What belongs to one connection, and so has no place in HTTP/2 (RFC 9113 §8.2.2). */
  connectionSpecific: 13,
} as const;

const KINDS: ReadonlyMap<string, number> = new Map<string, number>([
  [':method', FIELD_KIND.method],
  [':scheme', FIELD_KIND.scheme],
  [':path', FIELD_KIND.path],
  [':authority', FIELD_KIND.authority],
  [':status', FIELD_KIND.status],
  [':protocol', FIELD_KIND.protocol],
  ['cookie', FIELD_KIND.cookie],
  ['content-length', FIELD_KIND.contentLength],
  ['te', FIELD_KIND.te],
  ['expect', FIELD_KIND.expect],
  ['host', FIELD_KIND.host],
  ['connection', FIELD_KIND.connectionSpecific],
  ['keep-alive', FIELD_KIND.connectionSpecific],
  ['proxy-connection', FIELD_KIND.connectionSpecific],
  ['transfer-encoding', FIELD_KIND.connectionSpecific],
  ['upgrade', FIELD_KIND.connectionSpecific],
]);

/** 1 for what may stand in a name: a token without upper-case letters (RFC 9113 §8.2.1). */
const NAME_BYTE = new Uint8Array(256);
for (const letter of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME_BYTE[letter.charCodeAt(0)] = 1;

/** A name of a field with what is known of it. */
export interface FieldName {
  readonly name: HeaderName;
  readonly kind: number;
  readonly isValid: boolean;
  /** The literal that came last with this name, on whatever connection: many come again and again as they were. */
  recent: HeaderField | undefined;
}

/** A field as it stands in a table; shared by all messages that refer to it. */
export interface HeaderField {
  readonly name: FieldName;
  readonly value: string;
  /** No control characters in the value, and a name that may be. */
  readonly isValid: boolean;
  /** As tables count it. */
  readonly tableBytes: number;
}

const byName = new WeakMap<HeaderName, FieldName>();

/** The name that stands in `bytes` from `start` to `end`. */
export function fieldName(bytes: Buffer, start: number, end: number): FieldName {
  let hash = HASH_SEED;
  let isValid = end > start;
  // A pseudo header's colon is no character of a name, and only ever the first one.
  const isPseudo = isValid && bytes[start] === 0x3a;
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    hash = nextHash(hash, byte);
    if (NAME_BYTE[byte] === 0 && !(isPseudo && index === start)) isValid = false;
  }
  if (!isValid) return INVALID_NAME;
  const name = headerName(bytes, start, end, hash);
  const known = byName.get(name);
  if (known !== undefined) return known;
  const made: FieldName = {
    name,
    kind: KINDS.get(name.text) ?? (isPseudo ? FIELD_KIND.unknownPseudo : FIELD_KIND.regular),
    isValid,
    recent: undefined,
  };
  byName.set(name, made);
  return made;
}

const INVALID_NAME: FieldName = {
  name: { text: 'invalid', seen: 0, role: 0 },
  kind: FIELD_KIND.regular,
  isValid: false,
  recent: undefined,
};

/** `nameBytes`: the length of the name as it came, which an invalid name does not remember. */
export function headerField(name: FieldName, value: string, nameBytes: number): HeaderField {
  return {
    name,
    value,
    isValid: name.isValid && isCleanValue(value),
    tableBytes: nameBytes + value.length + ENTRY_OVERHEAD_BYTES,
  };
}

// As nghttp2 has it: tab, what is printable, and bytes above 127.
function isCleanValue(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) return false;
  }
  return true;
}

/** The static table, index 1 first. */
export const STATIC_FIELDS: readonly HeaderField[] = STATIC_TABLE.map(([name, value]) => {
  const bytes = Buffer.from(name);
  return headerField(fieldName(bytes, 0, bytes.length), value, bytes.length);
});
