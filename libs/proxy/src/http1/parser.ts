import type { HeaderMap } from '../http/headers.ts';
import { MessageHead, type MessageHeadOptions, TOKEN, VALUE } from './message-head.ts';

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
const SEMICOLON = 0x3b;

const STATE = { head: 0, length: 1, chunkSize: 2, chunkData: 3, chunkEnd: 4, trailers: 5, untilClose: 6, failed: 7 } as const;

const MAX_CHUNK_LINE_BYTES = 1024;
const MAX_CHUNK_DIGITS = 13;
// Where in a chunk's line the parser is, once it is behind the digits.
const IN_EXTENSION = -1;
const BEHIND_CARRIAGE_RETURN = -2;

/** An incremental HTTP/1 parser over what reads bring, for one direction of one connection: where messages begin and end. Source: RFC 9112. */
export class Http1Parser extends MessageHead {
  readonly #handler: ParserHandler;
  #state: number = STATE.head;
  #remaining = 0;
  #chunkDigits = 0;
  #lineBytes = 0;
  /** Bytes of a head, chunk line or trailer section that is not complete yet. */
  #partial: Buffer | undefined;
  #partialBytes = 0;
  #isStopped = false;

  constructor(handler: ParserHandler, options: MessageHeadOptions) {
    super(options);
    this.#handler = handler;
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
    this.#stopFailed();
    return Number.MAX_SAFE_INTEGER;
  }

  #stopFailed(): false {
    this.#state = STATE.failed;
    this.#isStopped = true;
    return false;
  }

  #endMessage(): void {
    this.#state = STATE.head;
    this.#isStopped = true;
    this.#handler.onMessageEnd();
  }

  #readHead(bytes: Buffer, from: number): number {
    let position = from;
    if (this.#partialBytes === 0) {
      while (this.isRequest && bytes[position] === CR && bytes[position + 1] === LF) position += 2;
      if (position >= bytes.length) return bytes.length;
      const end = headEnd(bytes, position);
      if (end >= 0) {
        if (end + 4 - position > this.limits.maxHeadBytes) return this.#fail(431, 'http1.headers_too_large');
        return this.#parseHead(bytes, position, end + 2) ? end + 4 : bytes.length;
      }
    }
    return this.#gather(bytes, position, (whole, end) => this.#parseHead(whole, 0, end - 2));
  }

  /** Collects bytes up to an empty line that reads cut in pieces; `use` is given them and where they end. */
  #gather(bytes: Buffer, from: number, use: (whole: Buffer, end: number) => boolean): number {
    const before = this.#partialBytes;
    const taken = Math.min(bytes.length - from, this.limits.maxHeadBytes + 8 - before);
    this.#append(bytes, from, taken);
    const skipped = this.#state === STATE.head && this.isRequest ? this.#skipEmptyLines() : 0;
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
    if (end + 4 > this.limits.maxHeadBytes || (end < 0 && length > this.limits.maxHeadBytes))
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

  #parseHead(bytes: Buffer, start: number, end: number): boolean {
    if (!this.readHead(bytes, start, end)) return this.#stopFailed();
    this.#enterBody(this.#handler.onHead());
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
      else if (byte === SEMICOLON) this.#chunkDigits = IN_EXTENSION;
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
      const trailers = this.readTrailers(whole, end);
      if (trailers === undefined) return this.#stopFailed();
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

/** Where the empty line begins whose end is the head's: `bytes.indexOf('\r\n\r\n', from)`, without the way to a function of C++. */
function headEnd(bytes: Buffer, from: number): number {
  let index = from + 3;
  while (index < bytes.length) {
    const byte = bytes[index] as number;
    // No byte of the end is larger: it cannot begin before the next one.
    if (byte > CR) index += 4;
    else if (byte !== LF || bytes[index - 2] !== LF) index++;
    else if (bytes[index - 1] === CR && bytes[index - 3] === CR) return index - 3;
    else index++;
  }
  return -1;
}
