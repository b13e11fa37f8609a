export interface ClientHello {
  /** Lower-cased, '' without SNI. */
  readonly serverName: string;
  readonly applicationProtocols: readonly string[];
}

export type Inspection<T> = { readonly kind: 'incomplete' } | { readonly kind: 'other' } | { readonly kind: 'found'; readonly value: T };

const INCOMPLETE = { kind: 'incomplete' } as const;
const OTHER = { kind: 'other' } as const;

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ALPN = 16;
// The largest ClientHello that is waited for; Envoy's TLS inspector has the same bound.
const MAX_CLIENT_HELLO_BYTES = 64 * 1024;

/**
 * Reads SNI and ALPN of the ClientHello that `bytes` begins with, without consuming anything. Asked again with more bytes after
 * 'incomplete'. Source: RFC 8446 §4.1.2, §5.1; RFC 6066 §3; RFC 7301 §3.1.
 */
export function inspectClientHello(bytes: Buffer): Inspection<ClientHello> {
  const first = bytes[0];
  if (first === undefined) return INCOMPLETE;
  if (first !== HANDSHAKE_RECORD) return OTHER;
  if (bytes.length > 1 && bytes[1] !== 3) return OTHER;
  const message = joinRecords(bytes);
  if (message === undefined) return OTHER;
  if (message.length > 0 && message[0] !== CLIENT_HELLO) return OTHER;
  if (message.length < 4) return overLimit(bytes);
  const length = message.readUIntBE(1, 3);
  if (length > MAX_CLIENT_HELLO_BYTES) return OTHER;
  if (message.length < 4 + length) return overLimit(bytes);
  const value = parseBody(message.subarray(4, 4 + length));
  return value === undefined ? OTHER : { kind: 'found', value };
}

function overLimit(bytes: Buffer): Inspection<ClientHello> {
  return bytes.length > MAX_CLIENT_HELLO_BYTES + 1024 ? OTHER : INCOMPLETE;
}

/** The handshake bytes of the records that are there, the last one perhaps cut. undefined where a record is of another kind. */
function joinRecords(bytes: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let position = 0;
  while (position + 5 <= bytes.length) {
    if (bytes[position] !== HANDSHAKE_RECORD) return position === 0 ? undefined : Buffer.concat(parts);
    const length = bytes.readUInt16BE(position + 3);
    if (length === 0 || length > 16_384 + 256) return undefined;
    parts.push(bytes.subarray(position + 5, position + 5 + length));
    position += 5 + length;
  }
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

function parseBody(body: Buffer): ClientHello | undefined {
  try {
    let position = 2 + 32;
    position += 1 + body.readUInt8(position);
    position += 2 + body.readUInt16BE(position);
    position += 1 + body.readUInt8(position);
    if (position === body.length) return { serverName: '', applicationProtocols: [] };
    const end = position + 2 + body.readUInt16BE(position);
    if (end > body.length) return undefined;
    return parseExtensions(body.subarray(position + 2, end));
  } catch {
    // Reading past the end throws: a length inside lies.
    return undefined;
  }
}

function parseExtensions(extensions: Buffer): ClientHello | undefined {
  let serverName = '';
  let applicationProtocols: readonly string[] = [];
  let position = 0;
  while (position < extensions.length) {
    const type = extensions.readUInt16BE(position);
    const end = position + 4 + extensions.readUInt16BE(position + 2);
    if (end > extensions.length) return undefined;
    const data = extensions.subarray(position + 4, end);
    if (type === EXTENSION_SERVER_NAME) serverName = parseServerName(data);
    else if (type === EXTENSION_ALPN) applicationProtocols = parseProtocols(data);
    position = end;
  }
  return { serverName, applicationProtocols };
}

function parseServerName(data: Buffer): string {
  if (data.length < 5 || data.readUInt8(2) !== 0) return '';
  const length = data.readUInt16BE(3);
  return 5 + length > data.length ? '' : data.toString('latin1', 5, 5 + length).toLowerCase();
}

function parseProtocols(data: Buffer): readonly string[] {
  const protocols: string[] = [];
  let position = 2;
  while (position < data.length) {
    const length = data.readUInt8(position);
    protocols.push(data.toString('latin1', position + 1, position + 1 + length));
    position += 1 + length;
  }
  return protocols;
}

const MAX_REQUEST_LINE_BYTES = 8192;
const HTTP2_PREFACE = 'PRI * HTTP/2.0\r\n';

// What Envoy's parser knows; a protocol whose first bytes only look like a word must not be waited for. Source: quiche, http_method.
const METHODS =
  'ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE M-SEARCH NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE'.split(
    ' ',
  );
const LONGEST_METHOD = Math.max(...METHODS.map((method) => method.length));

function beginsLikeRequest(start: string): boolean {
  const space = start.indexOf(' ');
  return space < 0 ? METHODS.some((method) => method.startsWith(start)) : METHODS.includes(start.slice(0, space));
}

/** Whether `bytes` begins with an HTTP request line, and of which version: what Envoy's HTTP inspector finds out. */
export function inspectHttp(bytes: Buffer): Inspection<'http/1.0' | 'http/1.1' | 'h2c'> {
  const start = bytes.toString('latin1', 0, HTTP2_PREFACE.length);
  if (HTTP2_PREFACE.startsWith(start)) return start.length === HTTP2_PREFACE.length ? { kind: 'found', value: 'h2c' } : INCOMPLETE;
  const lineEnd = bytes.indexOf(10);
  if (lineEnd < 0) {
    const isPossible = bytes.length <= MAX_REQUEST_LINE_BYTES && beginsLikeRequest(bytes.toString('latin1', 0, LONGEST_METHOD + 1));
    return isPossible ? INCOMPLETE : OTHER;
  }
  const match = /^[A-Z-]{1,32} \S+ HTTP\/1\.([01])\r?$/.exec(bytes.toString('latin1', 0, lineEnd));
  if (match === null) return OTHER;
  return { kind: 'found', value: match[1] === '1' ? 'http/1.1' : 'http/1.0' };
}
