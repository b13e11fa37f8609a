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

/** What a parser tells. It may be asked to stop by {@link Http1Parser.stop} from inside. */
export interface ParserHandler {
  /** The head is complete; its parts stand in the parser. Says how the body is framed. */
  onHead(): BodyFraming;
  onBody(chunk: Buffer): void;
  onTrailers(trailers: HeaderMap): void;
  onMessageEnd(): void;
}

/** `until-close` and `raw` hand on everything that comes. */
export type BodyFraming = 'none' | 'length' | 'chunked' | 'until-close';

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

const STATE = { head: 0, length: 1, chunkSize: 2, chunkData: 3, chunkEnd: 4, trailers: 5, untilClose: 6, failed: 7 } as const;

/** Lower-cased byte of a token character, 0 for what may not stand in a name. Source: RFC 9110 §5.6.2. */
const TOKEN = new Uint8Array(256);
/** 1 for what may stand in a value: printable, tab, and bytes above 127. */
const VALUE = new Uint8Array(256);
for (const letter of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  TOKEN[letter.charCodeAt(0)] = letter.toLowerCase().charCodeAt(0);
}
for (let byte = 0; byte < 256; byte++) VALUE[byte] = (byte >= SPACE && byte !== 0x7f) || byte === TAB ? 1 : 0;

const MAX_CHUNK_LINE_BYTES = 1024;
const MAX_CHUNK_DIGITS = 13;
// Where in a chunk's line the parser is, once it is behind the digits.
const IN_EXTENSION = -1;
const BEHIND_CARRIAGE_RETURN = -2;

/**
 * An incremental HTTP/1 parser over what reads bring, for one direction of one connection. Strict: whatever two parsers could read in
 * two ways is refused (bare line feeds, folded lines, space before a colon, two lengths, lengths beside chunks).
 * Source: RFC 9112; docs/reference of the cases: `codec.spec.ts`.
 */
export class Http1Parser {
  readonly #handler: ParserHandler;
  readonly #limits: ParserLimits;
  readonly #isRequest: boolean;
  #state: number = STATE.head;
  #remaining = 0;
  #chunkDigits = 0;
  #lineBytes = 0;
  /** Bytes of a head, chunk line or trailer section that is not complete yet. */
  #partial: Buffer | undefined;
  #partialBytes = 0;
  #isStopped = false;

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

  constructor(handler: ParserHandler, options: { readonly limits: ParserLimits; readonly isRequest: boolean }) {
    this.#handler = handler;
    this.#limits = options.limits;
    this.#isRequest = options.isRequest;
  }

  /** Whether a message has begun and is not over. */
  get isInMessage(): boolean {
    return this.#state !== STATE.head || this.#partialBytes > 0;
  }

  /** Makes `execute` return once the handler does. */
  stop(): void {
    this.#isStopped = true;
  }

  /**
   * Takes bytes until they are used up, a message is over, the handler calls `stop`, or something is wrong (then `failure` is set).
   * Returns how many were used.
   */
  execute(bytes: Buffer): number {
    let position = 0;
    this.#isStopped = false;
    while (position < bytes.length && !this.#isStopped) {
      switch (this.#state) {
        case STATE.head:
          position = this.#readHead(bytes, position);
          break;
        case STATE.length:
        case STATE.chunkData:
          position = this.#readBody(bytes, position);
          break;
        case STATE.chunkSize:
          position = this.#readChunkSize(bytes, position);
          break;
        case STATE.chunkEnd:
          position = this.#readChunkEnd(bytes, position);
          break;
        case STATE.trailers:
          position = this.#readTrailers(bytes, position);
          break;
        case STATE.untilClose:
          this.#handler.onBody(position === 0 ? bytes : bytes.subarray(position));
          position = bytes.length;
          break;
        default:
          return bytes.length;
      }
    }
    return position;
  }

  /** The peer ended its side. True where that is a proper end of the message (or between messages). */
  finish(): boolean {
    if (this.#state === STATE.untilClose) {
      this.#endMessage();
      return true;
    }
    return !this.isInMessage;
  }

  #fail(status: number, details: string): number {
    this.failure = { status, details };
    this.#state = STATE.failed;
    this.#isStopped = true;
    return Number.MAX_SAFE_INTEGER;
  }

  #endMessage(): void {
    this.#state = STATE.head;
    this.#isStopped = true;
    this.#handler.onMessageEnd();
  }

  #readHead(bytes: Buffer, from: number): number {
    let position = from;
    if (this.#partialBytes === 0) {
      while (this.#isRequest && bytes[position] === CR && bytes[position + 1] === LF) position += 2;
      if (position >= bytes.length) return bytes.length;
      const end = bytes.indexOf('\r\n\r\n', position, 'latin1');
      if (end >= 0) {
        if (end + 4 - position > this.#limits.maxHeadBytes) return this.#fail(431, 'http1.headers_too_large');
        return this.#parseHead(bytes, position, end + 2) ? end + 4 : bytes.length;
      }
    }
    return this.#gather(bytes, position, (whole, end) => this.#parseHead(whole, 0, end - 2));
  }

  /** Collects bytes up to an empty line that reads cut in pieces; `use` is given them and where they end. */
  #gather(bytes: Buffer, from: number, use: (whole: Buffer, end: number) => boolean): number {
    const before = this.#partialBytes;
    const taken = Math.min(bytes.length - from, this.#limits.maxHeadBytes + 8 - before);
    this.#append(bytes, from, taken);
    const skipped = this.#state === STATE.head && this.#isRequest ? this.#skipEmptyLines() : 0;
    const partial = this.#partial as Buffer;
    const length = this.#partialBytes;
    const known = Math.max(0, before - skipped);
    const end = partial.subarray(0, length).indexOf('\r\n\r\n', Math.max(0, known - 3), 'latin1');
    const checked = end >= 0 ? end : length;
    // Told at once: a head that is wrong may never become complete.
    for (let index = known; index < checked; index++) {
      if (partial[index] === LF && partial[index - 1] !== CR) return this.#fail(400, 'http1.codec_error');
    }
    if (known === 0 && length > 0 && TOKEN[partial[0] as number] === 0 && partial[0] !== CR) return this.#fail(400, 'http1.codec_error');
    if (end + 4 > this.#limits.maxHeadBytes || (end < 0 && length > this.#limits.maxHeadBytes))
      return this.#fail(431, 'http1.headers_too_large');
    if (end < 0) return from + taken;
    this.#partialBytes = 0;
    this.#partial = undefined;
    return use(partial, end + 4) ? from + (skipped + end + 4 - before) : bytes.length;
  }

  // RFC 9112 §2.2: empty lines before a request line are skipped.
  #skipEmptyLines(): number {
    const partial = this.#partial as Buffer;
    let skipped = 0;
    while (this.#partialBytes - skipped >= 2 && partial[skipped] === CR && partial[skipped + 1] === LF) skipped += 2;
    if (skipped > 0) partial.copyWithin(0, skipped, this.#partialBytes);
    this.#partialBytes -= skipped;
    return skipped;
  }

  // Grows by doubling, so that a head that comes byte by byte costs no more than twice its size.
  #append(bytes: Buffer, from: number, count: number): void {
    const needed = this.#partialBytes + count;
    if (this.#partial === undefined || this.#partial.length < needed) {
      const grown = Buffer.allocUnsafe(Math.max(1024, 2 ** Math.ceil(Math.log2(needed))));
      this.#partial?.copy(grown, 0, 0, this.#partialBytes);
      this.#partial = grown;
    }
    bytes.copy(this.#partial, this.#partialBytes, from, from + count);
    this.#partialBytes = needed;
  }

  /** `end` is behind the line end of the last line. False after a failure. */
  #parseHead(bytes: Buffer, start: number, end: number): boolean {
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
      this.#fail(400, 'http1.codec_error');
      return false;
    }
    if (!this.#parseFields({ bytes, text, begin: start, from: start + lineEnd + 2, end }, this.headers)) return false;
    if (this.isChunked && this.contentLength >= 0) {
      this.#fail(400, 'http1.content_length_and_chunked_not_allowed');
      return false;
    }
    const framing = this.#handler.onHead();
    this.#enterBody(framing);
    return true;
  }

  #enterBody(framing: BodyFraming): void {
    if (this.#state !== STATE.head) return;
    if (framing === 'none' || (framing === 'length' && this.contentLength === 0)) {
      this.#endMessage();
      return;
    }
    this.#remaining = framing === 'length' ? this.contentLength : 0;
    this.#chunkDigits = 0;
    this.#lineBytes = 0;
    this.#state = framing === 'length' ? STATE.length : framing === 'chunked' ? STATE.chunkSize : STATE.untilClose;
  }

  /** From now on whatever comes is handed on as it is, until the peer ends: tunnels. */
  enterRaw(): void {
    this.#state = STATE.untilClose;
  }

  /** The handler refuses what it was told. */
  refuse(status: number, details: string): void {
    this.#fail(status, details);
  }

  #parseStartLine(text: string, lineEnd: number): boolean {
    const first = text.indexOf(' ');
    if (first <= 0 || first > lineEnd) return false;
    if (this.#isRequest) {
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

  #parseFields(section: { bytes: Buffer; text: string; begin: number; from: number; end: number }, headers: HeaderMap): boolean {
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
      if (++count > this.#limits.maxHeaders) return this.#failed(431, 'http1.too_many_headers');
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
    return true;
  }

  #failed(status: number, details: string): false {
    this.#fail(status, details);
    return false;
  }

  #readBody(bytes: Buffer, position: number): number {
    const available = bytes.length - position;
    const taken = available < this.#remaining ? available : this.#remaining;
    this.#remaining -= taken;
    const isWhole = position === 0 && taken === bytes.length;
    if (taken > 0) this.#handler.onBody(isWhole ? bytes : bytes.subarray(position, position + taken));
    if (this.#remaining === 0 && this.#state === STATE.length) this.#endMessage();
    else if (this.#remaining === 0 && this.#state === STATE.chunkData) {
      this.#state = STATE.chunkEnd;
      this.#lineBytes = 0;
    }
    return position + taken;
  }

  /** `1a;extension CR LF`. Extensions are read over: they are of no use to the next hop, and are a place to hide in. */
  #readChunkSize(bytes: Buffer, from: number): number {
    for (let position = from; position < bytes.length; position++) {
      const byte = bytes[position] as number;
      if (++this.#lineBytes > MAX_CHUNK_LINE_BYTES) return this.#fail(400, 'http1.codec_error');
      if (this.#chunkDigits < 0) {
        if (this.#chunkDigits === BEHIND_CARRIAGE_RETURN) {
          if (byte !== LF) return this.#fail(400, 'http1.codec_error');
          return this.#beginChunk(position + 1);
        }
        if (byte === CR) this.#chunkDigits = BEHIND_CARRIAGE_RETURN;
        else if (VALUE[byte] === 0) return this.#fail(400, 'http1.codec_error');
        continue;
      }
      const digit = hexDigit(byte);
      if (digit >= 0) {
        if (++this.#chunkDigits > MAX_CHUNK_DIGITS) return this.#fail(400, 'http1.codec_error');
        this.#remaining = this.#remaining * 16 + digit;
      } else if (this.#chunkDigits === 0) return this.#fail(400, 'http1.codec_error');
      else if (byte === CR) this.#chunkDigits = BEHIND_CARRIAGE_RETURN;
      else if (byte === 0x3b) this.#chunkDigits = IN_EXTENSION;
      else return this.#fail(400, 'http1.codec_error');
    }
    return bytes.length;
  }

  #beginChunk(position: number): number {
    this.#chunkDigits = 0;
    this.#lineBytes = 0;
    this.#state = this.#remaining === 0 ? STATE.trailers : STATE.chunkData;
    return position;
  }

  #readChunkEnd(bytes: Buffer, position: number): number {
    const wanted = this.#lineBytes === 0 ? CR : LF;
    if (bytes[position] !== wanted) return this.#fail(400, 'http1.codec_error');
    this.#lineBytes++;
    if (wanted === LF) {
      this.#state = STATE.chunkSize;
      this.#lineBytes = 0;
      this.#chunkDigits = 0;
      this.#remaining = 0;
    }
    return position + 1;
  }

  #readTrailers(bytes: Buffer, from: number): number {
    if (this.#partialBytes === 0 && bytes[from] === CR && bytes[from + 1] === LF) {
      this.#endMessage();
      return from + 2;
    }
    // An empty trailer section may be cut in two; a section with fields ends with an empty line.
    if (this.#partialBytes === 1 && this.#partial?.[0] === CR) {
      if (bytes[from] !== LF) return this.#fail(400, 'http1.codec_error');
      this.#partialBytes = 0;
      this.#partial = undefined;
      this.#endMessage();
      return from + 1;
    }
    return this.#gather(bytes, from, (whole, end) => {
      const trailers = new HeaderMap();
      const { host, contentLength, isChunked, connection, upgrade, expect } = this;
      this.contentLength = -1;
      this.host = undefined;
      const isValid = this.#parseFields({ bytes: whole, text: latin1(whole, 0, end - 2), begin: 0, from: 0, end: end - 2 }, trailers);
      if (!isValid) return false;
      // Fields that frame or route a message have no meaning behind it (RFC 9110 §6.5.1): they are not among `trailers`.
      Object.assign(this, { host, contentLength, isChunked, connection, upgrade, expect });
      this.#handler.onTrailers(trailers);
      this.#endMessage();
      return true;
    });
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
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
