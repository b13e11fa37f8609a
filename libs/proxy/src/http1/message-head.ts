import { HASH_SEED, HEADER_ROLE, HeaderMap, headerName, nextHash } from '../http/headers.ts';
import { latin1 } from '../http/latin1.ts';

/** Why a message is not HTTP/1 as this proxy accepts it. `status` is what the client is answered. */
export interface ParseFailure {
  readonly status: number;
  /** As %RESPONSE_CODE_DETAILS% prints it. */
  readonly details: string;
}

export interface ParserLimits {
  readonly maxHeadBytes: number;
  readonly maxHeaders: number;
}

export interface MessageHeadOptions {
  readonly limits: ParserLimits;
  readonly isRequest: boolean;
}

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/** Lower-cased byte of a token character, 0 for what may not stand in a name. Source: RFC 9110 §5.6.2. */
export const TOKEN = new Uint8Array(256);
/** 1 for what may stand in a value: printable, tab, and bytes above 127. */
export const VALUE = new Uint8Array(256);
for (const letter of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  TOKEN[letter.charCodeAt(0)] = letter.toLowerCase().charCodeAt(0);
}
for (let byte = 0; byte < 256; byte++) VALUE[byte] = (byte >= SPACE && byte !== 0x7f) || byte === TAB ? 1 : 0;

/**
 * The start line and the fields of a message, from bytes that are all there. Strict: whatever two parsers could read in two ways is refused
 * (bare line feeds, folded lines, space before a colon, two lengths, lengths beside chunks). Source: RFC 9112.
 */
export abstract class MessageHead {
  protected readonly limits: ParserLimits;
  protected readonly isRequest: boolean;

  /** What is wrong with the message; undefined while nothing is. */
  failure: ParseFailure | undefined;

  // The head that was parsed last.
  startLine: readonly [string, string, string] = ['', '', ''];
  headers = new HeaderMap();
  host: string | undefined;
  contentLength = -1;
  isChunked = false;
  connection = '';
  upgrade = '';
  expect = '';
  headBytes = 0;
  /** What its fields take: their lines without the space before the value. Source: envoy ConnectionImpl::completeCurrentHeader (1.40). */
  headerBytes = 0;

  constructor(options: MessageHeadOptions) {
    this.limits = options.limits;
    this.isRequest = options.isRequest;
  }

  /** `end` is behind the line end of the last line. False: `failure` is set. */
  protected readHead(bytes: Buffer, start: number, end: number): boolean {
    this.headers = new HeaderMap();
    this.host = undefined;
    this.contentLength = -1;
    this.isChunked = false;
    this.connection = '';
    this.upgrade = '';
    this.expect = '';
    this.headBytes = end + 2 - start;
    const text = latin1(bytes, start, end);
    const lineEnd = text.indexOf('\r\n');
    if (!this.#parseStartLine(text, lineEnd)) {
      this.failure = { status: 400, details: 'http1.codec_error' };
      return false;
    }
    const from = start + lineEnd + 2;
    const fields = this.#parseFields({ bytes, text, begin: start, from, end }, this.headers);
    if (fields < 0) return false;
    this.headerBytes = end - from - fields;
    if (this.isChunked && this.contentLength >= 0) {
      this.failure = { status: 400, details: 'http1.content_length_and_chunked_not_allowed' };
      return false;
    }
    return true;
  }

  /** `end` is behind the empty line. undefined: `failure` is set. */
  protected readTrailers(bytes: Buffer, end: number): HeaderMap | undefined {
    const trailers = new HeaderMap();
    const { host, contentLength, isChunked, connection, upgrade, expect } = this;
    this.contentLength = -1;
    this.host = undefined;
    const fields = this.#parseFields({ bytes, text: latin1(bytes, 0, end - 2), begin: 0, from: 0, end: end - 2 }, trailers);
    if (fields < 0) return undefined;
    // Fields that frame or route a message have no meaning behind it (RFC 9110 §6.5.1): they are not among `trailers`.
    Object.assign(this, { host, contentLength, isChunked, connection, upgrade, expect });
    return trailers;
  }

  #parseStartLine(text: string, lineEnd: number): boolean {
    const first = text.indexOf(' ');
    if (first <= 0 || first > lineEnd) return false;
    if (this.isRequest) {
      const second = text.indexOf(' ', first + 1);
      if (second <= first + 1 || second > lineEnd) return false;
      for (let index = 0; index < first; index++) if (TOKEN[text.charCodeAt(index)] === 0) return false;
      for (let index = first + 1; index < second; index++) {
        const code = text.charCodeAt(index);
        if (code <= SPACE || code >= 0x7f) return false;
      }
      if (lineEnd - second !== 9 || !text.startsWith('HTTP/1.', second + 1)) return false;
      this.startLine = [text.slice(0, first), text.slice(first + 1, second), versionAt(text, second + 1, lineEnd)];
      return true;
    }
    // HTTP/1.1 200 Reason; the reason may be missing, with its space or without.
    if (!isStatus(text, first + 1) || (first + 4 < lineEnd && text.charCodeAt(first + 4) !== SPACE)) return false;
    for (let index = first + 4; index < lineEnd; index++) if (VALUE[text.charCodeAt(index)] === 0) return false;
    const reason = first + 5 < lineEnd ? text.slice(first + 5, lineEnd) : '';
    this.startLine = [versionAt(text, 0, first), text.slice(first + 1, first + 4), reason];
    return true;
  }

  /** How many lines there were; -1 after a failure. */
  #parseFields(section: { bytes: Buffer; text: string; begin: number; from: number; end: number }, headers: HeaderMap): number {
    const { bytes, text, begin, end } = section;
    let position = section.from;
    let transferEncodings = 0;
    let count = 0;
    while (position < end) {
      const nameStart = position;
      let hash = HASH_SEED;
      let byte = bytes[position] as number;
      while (byte !== COLON) {
        const lower = TOKEN[byte] as number;
        if (lower === 0) return this.#failed(400, 'http1.codec_error');
        hash = nextHash(hash, lower);
        byte = bytes[++position] as number;
      }
      if (position === nameStart) return this.#failed(400, 'http1.codec_error');
      const name = headerName(bytes, nameStart, position, hash);
      position++;
      while (bytes[position] === SPACE || bytes[position] === TAB) position++;
      const valueStart = position;
      while (VALUE[bytes[position] as number] === 1) position++;
      if (bytes[position] !== CR || bytes[position + 1] !== LF || position + 2 > end) return this.#failed(400, 'http1.codec_error');
      let valueEnd = position;
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SPACE || bytes[valueEnd - 1] === TAB)) valueEnd--;
      position += 2;
      if (++count > this.limits.maxHeaders) return this.#failed(431, 'http1.too_many_headers');
      const value = text.slice(valueStart - begin, valueEnd - begin);
      headers.seen |= name.seen;
      switch (name.role) {
        case HEADER_ROLE.none:
          headers.names.push(name.text);
          headers.values.push(value);
          break;
        case HEADER_ROLE.host:
          if (this.host !== undefined) return this.#failed(400, 'http1.codec_error');
          this.host = value;
          break;
        case HEADER_ROLE.contentLength:
          if (this.contentLength >= 0 || !/^\d{1,15}$/.test(value)) return this.#failed(400, 'http1.codec_error');
          this.contentLength = Number(value);
          break;
        case HEADER_ROLE.transferEncoding:
          // Envoy answers what it does not know with 501; twice is no way to say it.
          if (++transferEncodings > 1 || value.toLowerCase() !== 'chunked') return this.#failed(501, 'http1.invalid_transfer_encoding');
          this.isChunked = true;
          break;
        case HEADER_ROLE.connection:
          this.connection = this.connection === '' ? value : `${this.connection},${value}`;
          break;
        case HEADER_ROLE.upgrade:
          this.upgrade = this.upgrade === '' ? value : `${this.upgrade},${value}`;
          break;
        case HEADER_ROLE.expect:
          this.expect = value.toLowerCase();
          break;
        case HEADER_ROLE.te:
          if (/(?:^|,)[ \t]*trailers[ \t]*(?:,|;|$)/i.test(value)) headers.push('te', 'trailers');
          break;
      }
    }
    return count;
  }

  #failed(status: number, details: string): -1 {
    this.failure = { status, details };
    return -1;
  }
}

const HTTP_1_1 = 'HTTP/1.1';

/** Nearly always the same text, which then is no new one. */
function versionAt(text: string, start: number, end: number): string {
  return end - start === HTTP_1_1.length && text.startsWith(HTTP_1_1, start) ? HTTP_1_1 : text.slice(start, end);
}

/** Three digits, the first of them not 0. */
function isStatus(text: string, start: number): boolean {
  return text.charCodeAt(start) !== 0x30 && isDigit(text, start) && isDigit(text, start + 1) && isDigit(text, start + 2);
}

function isDigit(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  return code >= 0x30 && code <= 0x39;
}
