import type { Socket } from 'node:net';
import type { HeaderMap } from '../http/headers.ts';
import type { RequestHead, ResponseHead } from '../http/stream.ts';
import { withProperCase } from './header-case.ts';
import { MessageWriter } from './message-writer.ts';
import type { ServerCodecOptions } from './server-options.ts';
import { statusLine } from './status-text.ts';

/** Writes the answers on one connection, one after the other: how the body of each is framed, and whether it is the last one. */
export class ResponseWriter extends MessageWriter {
  readonly #options: ServerCodecOptions;
  #isHttp10 = false;
  /** The answer is to HEAD. */
  #isHead = false;
  #isChunked = false;
  #bytesBefore = 0;
  /** The connection ends with this answer, and the client is told so. */
  isLast = false;
  isStarted = false;
  /** What the fields of the head took. */
  headerBytes = 0;

  constructor(socket: Socket, options: ServerCodecOptions) {
    super(socket);
    this.#options = options;
  }

  /** The answer to this request comes next. */
  begin({ protocol, method }: RequestHead, isLast: boolean): void {
    this.#isHttp10 = protocol === 'HTTP/1.0';
    this.#isHead = method === 'HEAD';
    this.#isChunked = false;
    this.#bytesBefore = this.writtenBytes;
    this.isLast = isLast;
    this.isStarted = false;
  }

  /** The answer to what is no request comes next, and is the last one. */
  beginRefusal(isHttp10: boolean): void {
    this.#isHttp10 = isHttp10;
    this.#isHead = false;
    this.#bytesBefore = this.writtenBytes;
    this.isLast = true;
    this.isStarted = false;
  }

  /** Of the answer under way. */
  get messageBytes(): number {
    return this.writtenBytes - this.#bytesBefore;
  }

  head(head: ResponseHead): void {
    this.isStarted = true;
    const isTunnel = head.upgrade !== '';
    const line = statusLine(head.status);
    let text = line + head.headers.serialize();
    if (isTunnel) text += head.upgrade === 'connect' ? '' : `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
    else if (head.contentLength >= 0) text += `content-length: ${head.contentLength}\r\n`;
    else if (head.hasBody) {
      this.#isChunked = !this.#isHttp10;
      if (this.#isChunked) text += 'transfer-encoding: chunked\r\n';
      else this.isLast = true;
    } else if (!this.#isHead && head.status >= 200 && head.status !== 204 && head.status !== 304) {
      // Nothing follows, be it that HTTP/2 said so by END_STREAM: here only a length of 0 says it.
      text += 'content-length: 0\r\n';
    }
    if (!isTunnel) text += this.isLast ? 'connection: close\r\n' : this.#isHttp10 ? 'connection: keep-alive\r\n' : '';
    this.headerBytes = text.length - line.length;
    this.text(`${this.#options.sendsProperCase ? withProperCase(text) : text}\r\n`);
  }

  /** As {@link MessageWriter.body}. */
  data(chunk: Buffer): boolean {
    if (!this.#isChunked) return this.body(chunk);
    if (chunk.length === 0) return true;
    this.text(`${chunk.length.toString(16)}\r\n`);
    const isBelowMark = this.body(chunk);
    this.text('\r\n');
    return isBelowMark;
  }

  /** The body ends with them; they are left out where its framing, or the configuration, has no place for them. */
  trailers(trailers: HeaderMap): void {
    if (!this.#isChunked) return;
    this.text(this.#options.sendsTrailers ? `0\r\n${trailers.serialize()}\r\n` : '0\r\n\r\n');
    this.#isChunked = false;
  }

  endBody(): void {
    if (this.#isChunked) this.text('0\r\n\r\n');
    this.#isChunked = false;
    this.flush();
  }
}
