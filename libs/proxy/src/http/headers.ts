import type { MutableHeaders } from '@mizzen/matching';
import { latin1 } from './latin1.ts';

/** Bits of {@link HeaderMap.seen}: headers that the proxy itself looks at for every message, so that their absence costs nothing. */
export const SEEN = {
  requestId: 1 << 0,
  forwardedFor: 1 << 1,
  forwardedProto: 1 << 2,
  forwardedClientCert: 1 << 3,
  /** x-envoy-* that only the mesh may say. */
  envoyInternal: 1 << 4,
  peerMetadata: 1 << 5,
  server: 1 << 6,
  date: 1 << 7,
  grpcTimeout: 1 << 8,
  origin: 1 << 9,
  expect: 1 << 10,
  upgrade: 1 << 11,
  te: 1 << 12,
  forwardedHost: 1 << 13,
  externalAddress: 1 << 14,
  upstreamServiceTime: 1 << 15,
} as const;

/** How the codec treats a header of its own. */
export const HEADER_ROLE = {
  none: 0,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  hopByHop: 5,
  upgrade: 6,
  expect: 7,
  te: 8,
} as const;

/** A header name, lower-cased, that is compared by identity and classified once. */
export interface HeaderName {
  readonly text: string;
  readonly seen: number;
  readonly role: number;
}

// Only the mesh itself may say these. Source: envoy ConnectionManagerUtility::cleanInternalHeaders (1.40).
const INTERNAL_ONLY = [
  'x-envoy-retriable-status-codes',
  'x-envoy-retriable-header-names',
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-max-retries',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-force-trace',
  'x-envoy-ip-tags',
  'x-envoy-original-url',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-internal',
] as const;

// What a proxy of the mesh may have said before this one; only at the edge is there none.
const INSIDE_ONLY = [
  'x-envoy-original-path',
  'x-envoy-original-host',
  'x-envoy-decorator-operation',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
] as const;

const CLASSES: readonly (readonly [text: string, seen: number, role?: number])[] = [
  ['host', 0, HEADER_ROLE.host],
  ['content-length', 0, HEADER_ROLE.contentLength],
  ['transfer-encoding', 0, HEADER_ROLE.transferEncoding],
  ['connection', 0, HEADER_ROLE.connection],
  ['keep-alive', 0, HEADER_ROLE.hopByHop],
  ['proxy-connection', 0, HEADER_ROLE.hopByHop],
  ['upgrade', SEEN.upgrade, HEADER_ROLE.upgrade],
  ['expect', SEEN.expect, HEADER_ROLE.expect],
  ['te', SEEN.te, HEADER_ROLE.te],
  ['x-request-id', SEEN.requestId],
  ['x-forwarded-for', SEEN.forwardedFor],
  ['x-forwarded-proto', SEEN.forwardedProto],
  ['x-forwarded-host', SEEN.forwardedHost],
  ['x-forwarded-client-cert', SEEN.forwardedClientCert],
  ['x-envoy-external-address', SEEN.externalAddress],
  ['x-envoy-peer-metadata', SEEN.peerMetadata],
  ['x-envoy-peer-metadata-id', SEEN.peerMetadata],
  ['x-envoy-upstream-service-time', SEEN.upstreamServiceTime],
  ['server', SEEN.server],
  ['date', SEEN.date],
  ['grpc-timeout', SEEN.grpcTimeout],
  ['origin', SEEN.origin],
  ...[...INTERNAL_ONLY, ...INSIDE_ONLY].map((text) => [text, SEEN.envoyInternal] as const),
  ...[
    'accept',
    'accept-encoding',
    'accept-language',
    'authorization',
    'cache-control',
    'content-type',
    'cookie',
    'set-cookie',
    'etag',
    'last-modified',
    'location',
    'user-agent',
    'vary',
    'traceparent',
    'tracestate',
  ].map((text) => [text, 0] as const),
];

// What names repeat in an application fits; a flood of made-up names costs no more memory than this.
const MAX_NAMES = 2048;
const MAX_NAME_LENGTH = 64;

/** Starts a hash of a header name; continued by {@link nextHash} with each lower-cased byte. */
export const HASH_SEED = 0;

export function nextHash(hash: number, lowerByte: number): number {
  return (Math.imul(hash, 31) + lowerByte) | 0;
}

function hashOf(text: string): number {
  let hash = HASH_SEED;
  for (let index = 0; index < text.length; index++) hash = nextHash(hash, text.charCodeAt(index));
  return hash;
}

const byHash = new Map<number, HeaderName>();
for (const [text, seen, role = HEADER_ROLE.none] of CLASSES) byHash.set(hashOf(text), { text, seen, role });

/** The name that stands in `bytes` from `start` to `end` in any case; `hash` is that of its lower-cased bytes. */
export function headerName(bytes: Buffer, start: number, end: number, hash: number): HeaderName {
  const entry = byHash.get(hash);
  if (entry !== undefined && isSpelt(entry.text, bytes, start, end)) return entry;
  const made: HeaderName = { text: latin1(bytes, start, end).toLowerCase(), seen: 0, role: HEADER_ROLE.none };
  if (entry === undefined && byHash.size < MAX_NAMES && end - start <= MAX_NAME_LENGTH) byHash.set(hash, made);
  return made;
}

function isSpelt(text: string, bytes: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let index = 0; index < text.length; index++) {
    const byte = bytes[start + index] as number;
    if (text.charCodeAt(index) !== (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte)) return false;
  }
  return true;
}

/**
 * The headers of one message in their order, names lower-cased, values as Latin-1 (one character is one byte on the wire).
 * Host, content-length, transfer-encoding, connection and upgrade are not here: they are fields of the message's head.
 */
export class HeaderMap implements MutableHeaders {
  readonly names: string[] = [];
  readonly values: string[] = [];
  /** Which of {@link SEEN} were received or set; a bit may stay when the header is removed. */
  seen = 0;

  /** Adds a header whose name and value are known to be clean: received ones, and constants of the proxy. */
  push(name: string, value: string): void {
    this.names.push(name);
    this.values.push(value);
  }

  /** Several values are joined by a comma. */
  get(name: string): string | undefined {
    const { names } = this;
    let found: string | undefined;
    for (let index = 0; index < names.length; index++) {
      if (names[index] !== name) continue;
      const value = this.values[index] as string;
      found = found === undefined ? value : `${found},${value}`;
    }
    return found;
  }

  has(name: string): boolean {
    return this.names.includes(name);
  }

  set(name: string, value: string): void {
    this.setClean(name, cleanValue(value));
  }

  /** As {@link set}, for a value that is known to be clean: one that configuration made sure of, or a constant. */
  setClean(name: string, value: string): void {
    const index = this.names.indexOf(name);
    if (index < 0) {
      this.push(name, value);
      return;
    }
    this.values[index] = value;
    for (let other = this.names.lastIndexOf(name); other > index; other = this.names.lastIndexOf(name)) this.#removeAt(other);
  }

  append(name: string, value: string): void {
    this.push(name, cleanValue(value));
  }

  remove(name: string): void {
    for (let index = this.names.indexOf(name); index >= 0; index = this.names.indexOf(name, index)) this.#removeAt(index);
  }

  /** Removes every header that `isUnwanted` says. */
  removeWhere(isUnwanted: (name: string) => boolean): void {
    for (let index = this.names.length - 1; index >= 0; index--) if (isUnwanted(this.names[index] as string)) this.#removeAt(index);
  }

  #removeAt(index: number): void {
    this.names.splice(index, 1);
    this.values.splice(index, 1);
  }

  /** `name: value` lines, each with its line end. */
  serialize(): string {
    const { names, values } = this;
    let text = '';
    for (let index = 0; index < names.length; index++) text += `${names[index] as string}: ${values[index] as string}\r\n`;
    return text;
  }

  clone(): HeaderMap {
    const copy = new HeaderMap();
    for (let index = 0; index < this.names.length; index++) copy.push(this.names[index] as string, this.values[index] as string);
    copy.seen = this.seen;
    return copy;
  }
}

const INTERNAL_ONLY_NAMES: ReadonlySet<string> = new Set(INTERNAL_ONLY);
const INSIDE_ONLY_NAMES: ReadonlySet<string> = new Set(INSIDE_ONLY);

/** Whether nobody outside may say this header. Source: envoy ConnectionManagerUtility::cleanInternalHeaders (1.40). */
export function isInternalOnly(name: string): boolean {
  return INTERNAL_ONLY_NAMES.has(name);
}

/** Whether nobody may say it to a proxy at the edge. */
export function isUnwantedAtEdge(name: string): boolean {
  return INTERNAL_ONLY_NAMES.has(name) || INSIDE_ONLY_NAMES.has(name);
}

/**
 * A text as it may stand on the wire: UTF-8 bytes, no control characters. A code unit above 255 would lose its upper half in a Latin-1
 * write, and what is left may be a line end.
 */
export function cleanValue(text: string): string {
  if (!/[^\t\x20-\x7e\x80-\xff]/.test(text)) return text;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
  return latin1(Buffer.from(text)).replace(/[\0-\x08\x0a-\x1f\x7f]/g, '');
}
