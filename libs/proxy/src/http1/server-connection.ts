import type { Socket } from 'node:net';
import { shareReads } from '../cluster/shared-reads.ts';
import type { ServerCodec, ServerCodecEvents } from '../http/codec.ts';
import type { HeaderMap } from '../http/headers.ts';
import type { RequestHead, RequestReceiver, ResponseHead, ResponseSender } from '../http/stream.ts';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import { withProperCase } from './header-case.ts';
import { MessageWriter } from './message-writer.ts';
import { removeNominated } from './nominated-headers.ts';
import { type BodyFraming, Http1Parser, type ParseFailure, type ParserHandler, type ParserLimits } from './parser.ts';
import { readRequestTarget } from './request-target.ts';
import { statusLine } from './status-text.ts';

export interface ServerCodecOptions {
  readonly limits: ParserLimits;
  readonly acceptsHttp10: boolean;
  readonly defaultHostForHttp10: string;
  readonly sendsTrailers: boolean;
  /** 0: none. How long a connection may be without a request. */
  readonly idleTimeoutMs: number;
  /** From the first byte of a head to its last. 0: as long as `idleTimeoutMs`. */
  readonly headersTimeoutMs: number;
  /** 0: any number. */
  readonly maxRequestsPerConnection: number;
  /** After the last answer the client gets this long to read it before the socket goes, so that no reset destroys it on its way; 0: no time. */
  readonly lingerMs: number;
  /** Names of response headers are sent as `Content-Type`; else in small letters. */
  readonly sendsProperCase: boolean;
}

/** What a client begins with that knows beforehand that HTTP/2 is spoken here (RFC 9113 §3.4), as far as Envoy looks at it. */
const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2');

export interface ServerConnectionOptions {
  readonly codec: ServerCodecOptions;
  readonly events: ServerCodecEvents;
  readonly wheel: TimerWheel;
  /**
   * The client speaks HTTP/2 without having said so before: the paused socket is the callee's now, and what was read of it. undefined: such a
   * client is refused.
   */
  readonly onHttp2?: ((initialData: Buffer) => void) | undefined;
}

/** How much is read ahead of requests that wait for the answer to the one before. */
const READ_AHEAD_BYTES = 64 * 1024;
/** How long a connection that is drained must have been idle. */
const DRAIN_IDLE_MS = 1000;
/** How long a client may take to accept the last bytes of an answer that closes the connection. */
const FLUSH_MS = 60_000;

/** The server's side of one HTTP/1 connection: one exchange at a time, requests that wait are read ahead up to a bound. */
export class ServerConnection implements ServerCodec, ParserHandler, ResponseSender {
  readonly #socket: Socket;
  readonly #events: ServerCodecEvents;
  readonly #options: ServerCodecOptions;
  readonly #parser: Http1Parser;
  readonly #writer: MessageWriter;
  readonly #idle: Deadline;
  readonly #headersDeadline: Deadline | undefined;
  readonly #linger: Deadline;
  readonly #listeners: readonly (readonly [event: string, listener: (chunk: Buffer) => void])[] = [
    ['data', (chunk) => this.#onData(chunk)],
    ['end', () => this.#onEnd()],
    ['error', () => this.#socket.destroy()],
    ['close', () => this.#onClose()],
    ['drain', () => this.#onDrain()],
  ];
  #receiver: RequestReceiver | undefined;
  #isRequestDone = false;
  #isExchangeOver = false;
  #isResponseStarted = false;
  #closesAfterResponse = false;
  #isChunkedResponse = false;
  #isHttp10 = false;
  /** Bytes go both ways as they are: after 101, or 200 to CONNECT. */
  #isRaw = false;
  /** The request asked for an upgrade: what follows its head waits for the answer. */
  #awaitsUpgrade = false;
  /** Called in place of all else when the first bytes are HTTP/2's; undefined once they were not. */
  #onHttp2: ServerConnectionOptions['onHttp2'];
  #isHead = false;
  #readAhead: Buffer[] = [];
  #readAheadBytes = 0;
  #isProcessing = false;
  #isPausedByReceiver = false;
  #isDraining = false;
  #isClosed = false;
  #isClosing = false;
  #requests = 0;
  #bytesBefore = 0;

  constructor(socket: Socket, options: ServerConnectionOptions) {
    this.#socket = socket;
    this.#events = options.events;
    this.#options = options.codec;
    this.#onHttp2 = options.onHttp2;
    this.#parser = new Http1Parser(this, { limits: options.codec.limits, isRequest: true });
    this.#writer = new MessageWriter(socket);
    this.#idle = new Deadline(options.wheel, () => this.#endSocket());
    this.#linger = new Deadline(options.wheel, () => socket.destroy());
    this.#headersDeadline = headTimeoutMs(options.codec) > 0 ? new Deadline(options.wheel, () => this.#onHeadersTimeout()) : undefined;
  }

  /** Begins to read; `initialData` came before. */
  start(initialData: Buffer | undefined): void {
    const socket = this.#socket;
    for (const [event, listener] of this.#listeners) socket.on(event, listener);
    this.#idle.arm(this.#options.idleTimeoutMs);
    // Before anybody can be given the socket, who may read it in a way of its own.
    shareReads(socket);
    if (initialData !== undefined && initialData.length > 0) this.#onData(initialData);
    socket.resume();
  }

  /** Idle: closed once it was so for a while. Otherwise the exchange under way, or the next one, is the last. */
  drain(): void {
    this.#isDraining = true;
    if (this.#receiver !== undefined || this.#parser.isInMessage) return;
    // Whoever has just connected, or was just answered, may have its next request on the way, and would take a close for the answer to it.
    const idleMs = this.#idle.isArmed ? this.#options.idleTimeoutMs - this.#idle.remainingMs() : 0;
    if (idleMs < DRAIN_IDLE_MS) this.#idle.arm(DRAIN_IDLE_MS - idleMs);
    else this.#endSocket();
  }

  get sentWireBytes(): number {
    return this.#writer.writtenBytes - this.#bytesBefore;
  }

  handOver(): { readonly socket: Socket; readonly initialData: Buffer | undefined } {
    const initialData = this.#takeReadAhead();
    this.#letGo();
    this.#events.onClose();
    return { socket: this.#socket, initialData };
  }

  #letGo(): void {
    this.#writer.flush();
    this.#socket.pause();
    for (const [event, listener] of this.#listeners) this.#socket.off(event, listener);
    this.#receiver = undefined;
    this.#isClosed = true;
    this.#cancelDeadlines();
  }

  // --- reading

  #onData(chunk: Buffer): void {
    if (this.#isClosing) return;
    if (this.#onHttp2 !== undefined && this.#isHttp2(chunk)) return;
    if (this.#isProcessing || this.#isWaiting()) {
      this.#keepForLater(chunk);
      return;
    }
    this.#process(chunk);
  }

  /** Whether the first bytes are HTTP/2's preface, or may become it; then they are kept, or the connection was given away with them. */
  #isHttp2(chunk: Buffer): boolean {
    const bytes = this.#readAheadBytes === 0 ? chunk : Buffer.concat([...this.#readAhead, chunk]);
    const compared = Math.min(bytes.length, HTTP2_PREFACE.length);
    const onHttp2 = this.#onHttp2;
    if (HTTP2_PREFACE.compare(bytes, 0, compared, 0, compared) !== 0) {
      this.#onHttp2 = undefined;
      if (this.#readAheadBytes === 0) return false;
      this.#takeReadAhead();
      this.#process(bytes);
      return true;
    }
    if (compared < HTTP2_PREFACE.length) {
      this.#keepForLater(chunk);
      return true;
    }
    this.#letGo();
    onHttp2?.(bytes);
    return true;
  }

  /** Whether the next bytes belong to a request that has to wait: for its turn, or for the client to take the answers it has caused. */
  #isWaiting(): boolean {
    if (this.#receiver === undefined) return this.#awaitsUpgrade || this.#socket.writableNeedDrain;
    return this.#awaitsUpgrade || (this.#isRequestDone && !this.#isRaw);
  }

  #onDrain(): void {
    if (this.#receiver === undefined) this.#continueLater();
    else this.#receiver.onWritable();
  }

  #keepForLater(chunk: Buffer): void {
    this.#readAhead.push(chunk);
    this.#readAheadBytes += chunk.length;
    if (this.#readAheadBytes > READ_AHEAD_BYTES) this.#socket.pause();
  }

  #takeReadAhead(): Buffer | undefined {
    const chunks = this.#readAhead;
    if (chunks.length === 0) return undefined;
    this.#readAhead = [];
    this.#readAheadBytes = 0;
    return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  }

  #process(first: Buffer): void {
    this.#isProcessing = true;
    let bytes: Buffer | undefined = first;
    while (bytes !== undefined && !this.#isClosed && !this.#isClosing) {
      if (this.#isWaiting()) {
        this.#readAhead.unshift(bytes);
        this.#readAheadBytes += bytes.length;
        break;
      }
      if (this.#receiver === undefined) this.#idle.cancel();
      const used = this.#parser.execute(bytes);
      if (this.#parser.failure !== undefined) {
        this.#onParseFailure(this.#parser.failure);
        break;
      }
      bytes = used < bytes.length ? bytes.subarray(used) : this.#takeReadAhead();
    }
    this.#isProcessing = false;
    this.#receiver?.onReadEnd();
    if (this.#receiver === undefined && !this.#isClosing && !this.#isClosed) this.#limitWaiting();
  }

  /** For a request, or for the rest of a head: from its first byte on, however slowly the others drip in. */
  #limitWaiting(): void {
    if (!this.#parser.isInMessage) {
      if (!this.#idle.isArmed) this.#idle.arm(this.#options.idleTimeoutMs);
    } else if (this.#headersDeadline?.isArmed === false) this.#headersDeadline.arm(headTimeoutMs(this.#options));
  }

  onHead(): BodyFraming {
    const parser = this.#parser;
    this.#headersDeadline?.cancel();
    const [method, target, version] = parser.startLine;
    this.#isHttp10 = version === 'HTTP/1.0';
    if (!this.#isHttp10 && version !== 'HTTP/1.1') return this.#refuse(400, 'http1.codec_error');
    if (this.#isHttp10 && !this.#options.acceptsHttp10) return this.#refuse(426, 'low_version');
    if (this.#isHttp10 && parser.isChunked) return this.#refuse(400, 'http1.codec_error');
    const host =
      parser.host ?? (this.#isHttp10 && this.#options.defaultHostForHttp10 !== '' ? this.#options.defaultHostForHttp10 : undefined);
    const read = readRequestTarget(method, target, host);
    if (typeof read === 'string') return this.#refuse(400, read);
    const connection = parser.connection === '' ? '' : parser.connection.toLowerCase();
    if (!removeNominated(parser.headers, connection)) return this.#refuse(400, 'http1.connection_header_rejected');
    // Some clients offer HTTP/2 this way with every first request; a server may go on in HTTP/1.1, as Envoy does (RFC 9110 §7.8).
    const isHttp2Offer = parser.upgrade.toLowerCase() === 'h2c';
    if (isHttp2Offer) parser.headers.remove('http2-settings');
    const wantsUpgrade = parser.upgrade !== '' && !isHttp2Offer && hasToken(connection, 'upgrade');
    const isConnect = read.method === 'CONNECT';
    if (isConnect && (parser.isChunked || parser.contentLength > 0)) return this.#refuse(400, 'http1.body_disallowed');
    this.#requests++;
    const { maxRequestsPerConnection } = this.#options;
    this.#closesAfterResponse =
      hasToken(connection, 'close') ||
      (this.#isHttp10 && !hasToken(connection, 'keep-alive')) ||
      (maxRequestsPerConnection > 0 && this.#requests >= maxRequestsPerConnection);
    const hasBody = parser.isChunked || parser.contentLength >= 0;
    // Behind an upgrade's head without a body stands the new protocol, or a request that pretends to be it: it waits for the answer.
    this.#awaitsUpgrade = isConnect || (wantsUpgrade && !hasBody);
    this.#isRequestDone = false;
    this.#isResponseStarted = false;
    this.#isChunkedResponse = false;
    this.#isHead = read.method === 'HEAD';
    this.#bytesBefore = this.#writer.writtenBytes;
    const head: RequestHead = {
      protocol: this.#isHttp10 ? 'HTTP/1.0' : 'HTTP/1.1',
      method: read.method,
      path: read.path,
      authority: read.authority,
      scheme: '',
      headers: parser.headers,
      hasBody: hasBody || this.#awaitsUpgrade,
      contentLength: parser.contentLength,
      upgrade: wantsUpgrade && !isConnect && !hasBody ? parser.upgrade.toLowerCase() : '',
      expectsContinue: parser.expect === '100-continue',
      wireBytes: parser.headBytes,
    };
    this.#isRequestDone = !head.hasBody;
    this.#isExchangeOver = false;
    const receiver = this.#events.onRequest(head, this);
    // A local reply may have ended the exchange before there was anybody to receive the request.
    if (!this.#isExchangeOver) this.#receiver = receiver;
    if (this.#isRaw) return 'until-close';
    if (this.#awaitsUpgrade) {
      parser.stop();
      return 'until-close';
    }
    return parser.isChunked ? 'chunked' : parser.contentLength > 0 ? 'length' : 'none';
  }

  #refuse(status: number, details: string): BodyFraming {
    this.#parser.refuse(status, details);
    return 'none';
  }

  onBody(chunk: Buffer): void {
    this.#receiver?.onData(chunk);
  }

  onTrailers(trailers: HeaderMap): void {
    this.#receiver?.onTrailers(trailers);
  }

  onMessageEnd(): void {
    const isTold = this.#isRequestDone;
    this.#isRequestDone = true;
    if (!isTold) this.#receiver?.onEnd();
  }

  #onParseFailure(failure: ParseFailure): void {
    const receiver = this.#receiver;
    this.#closesAfterResponse = true;
    this.#headersDeadline?.cancel();
    if (receiver === undefined) {
      this.#isRequestDone = true;
      this.#isResponseStarted = false;
      this.#bytesBefore = this.#writer.writtenBytes;
      this.#events.onInvalidRequest(failure, this);
      return;
    }
    receiver.onDownstreamReset(failure.details);
  }

  #onHeadersTimeout(): void {
    if (this.#receiver !== undefined) return;
    this.#onParseFailure({ status: 408, details: 'request_header_timeout' });
  }

  #onEnd(): void {
    if (this.#isRaw && !this.#isRequestDone) {
      this.#isRequestDone = true;
      this.#receiver?.onEnd();
      this.#receiver?.onReadEnd();
      return;
    }
    // As Envoy does for HTTP/1: who stops sending is gone, and the exchange with it.
    const receiver = this.#receiver;
    this.#isClosing = true;
    receiver?.onDownstreamReset('downstream_remote_disconnect');
    this.#endSocket();
  }

  #onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelDeadlines();
    const receiver = this.#receiver;
    this.#receiver = undefined;
    receiver?.onDownstreamReset('downstream_remote_disconnect');
    this.#events.onClose();
  }

  #cancelDeadlines(): void {
    this.#idle.cancel();
    this.#linger.cancel();
    this.#headersDeadline?.cancel();
  }

  // --- writing

  sendContinue(): void {
    this.#writer.text('HTTP/1.1 100 Continue\r\n\r\n');
    this.#writer.flush();
  }

  sendHead(head: ResponseHead, options: { readonly closesConnection: boolean }): void {
    this.#isResponseStarted = true;
    const isTunnel = head.upgrade !== '';
    // A request that is not read to its end, and bytes that wait for an upgrade which is not coming, cannot be followed by another request.
    if (options.closesConnection || this.#isDraining || (!isTunnel && (!this.#isRequestDone || this.#awaitsUpgrade)))
      this.#closesAfterResponse = true;
    let text = statusLine(head.status) + head.headers.serialize();
    if (isTunnel) text += head.upgrade === 'connect' ? '' : `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
    else if (head.contentLength >= 0) text += `content-length: ${head.contentLength}\r\n`;
    else if (head.hasBody) {
      this.#isChunkedResponse = !this.#isHttp10;
      if (this.#isChunkedResponse) text += 'transfer-encoding: chunked\r\n';
      else this.#closesAfterResponse = true;
    } else if (!this.#isHead && head.status >= 200 && head.status !== 204 && head.status !== 304) {
      // Nothing follows, be it that HTTP/2 said so by END_STREAM: here only a length of 0 says it.
      text += 'content-length: 0\r\n';
    }
    if (!isTunnel) text += this.#closesAfterResponse ? 'connection: close\r\n' : this.#isHttp10 ? 'connection: keep-alive\r\n' : '';
    this.#writer.text(`${this.#options.sendsProperCase ? withProperCase(text) : text}\r\n`);
    if (isTunnel) this.#enterRaw();
  }

  #enterRaw(): void {
    this.#isRaw = true;
    this.#awaitsUpgrade = false;
    this.#closesAfterResponse = true;
    this.#parser.enterRaw();
    this.#continueLater();
  }

  sendData(chunk: Buffer): boolean {
    if (!this.#isChunkedResponse) return this.#writer.body(chunk);
    if (chunk.length === 0) return true;
    this.#writer.text(`${chunk.length.toString(16)}\r\n`);
    const isBelowMark = this.#writer.body(chunk);
    this.#writer.text('\r\n');
    return isBelowMark;
  }

  sendTrailers(trailers: HeaderMap): void {
    if (!this.#isChunkedResponse) return;
    this.#writer.text(this.#options.sendsTrailers ? `0\r\n${trailers.serialize()}\r\n` : '0\r\n\r\n');
    this.#isChunkedResponse = false;
  }

  end(): void {
    if (this.#isChunkedResponse) this.#writer.text('0\r\n\r\n');
    this.#isChunkedResponse = false;
    this.#writer.flush();
    if (this.#isRaw && !this.#isRequestDone) {
      this.#socket.end();
      return;
    }
    this.#isExchangeOver = true;
    this.#receiver = undefined;
    if (this.#isPausedByReceiver) this.resumeRequest();
    if (this.#closesAfterResponse) {
      this.#endSocket();
      return;
    }
    if (!this.#isProcessing && this.#readAheadBytes === 0) {
      this.#idle.arm(this.#options.idleTimeoutMs);
      return;
    }
    this.#continueLater();
  }

  /** Goes on with what was read ahead; not from inside the present call, so that a pile of small requests is no pile of frames. */
  #continueLater(): void {
    if (this.#isProcessing || this.#readAheadBytes === 0) return;
    queueMicrotask(() => {
      if (this.#isClosed || this.#isProcessing || this.#isWaiting()) return;
      const bytes = this.#takeReadAhead();
      if (!this.#isPausedByReceiver) this.#socket.resume();
      if (bytes !== undefined) this.#process(bytes);
    });
  }

  flush(): void {
    this.#writer.flush();
  }

  reset(): void {
    this.#isExchangeOver = true;
    this.#receiver = undefined;
    this.#isClosing = true;
    this.#socket.destroy();
  }

  pauseRequest(): void {
    this.#isPausedByReceiver = true;
    this.#socket.pause();
  }

  resumeRequest(): void {
    this.#isPausedByReceiver = false;
    if (this.#readAheadBytes <= READ_AHEAD_BYTES) this.#socket.resume();
  }

  /** Writes what is left, then closes; what the client still sends is thrown away meanwhile. */
  #endSocket(): void {
    this.#isClosing = true;
    this.#writer.flush();
    this.#idle.cancel();
    if (this.#socket.destroyed) return;
    this.#socket.resume();
    this.#linger.arm(FLUSH_MS);
    // To end a socket a second time makes an error, with its stack.
    if (this.#socket.writableFinished) this.#onSocketEnded();
    else this.#socket.end(() => this.#onSocketEnded());
    if (this.#socket.readableEnded) this.#socket.destroySoon();
  }

  #onSocketEnded(): void {
    if (this.#isClosed) return;
    if (this.#options.lingerMs > 0) this.#linger.arm(this.#options.lingerMs);
    else this.#socket.destroy();
  }

  get isResponseStarted(): boolean {
    return this.#isResponseStarted;
  }
}

/** Where nothing limits a head, half of one must still not keep a connection longer than none at all does. */
function headTimeoutMs(options: ServerCodecOptions): number {
  return options.headersTimeoutMs > 0 ? options.headersTimeoutMs : options.idleTimeoutMs;
}

/** `list` is lower-cased. */
function hasToken(list: string, token: string): boolean {
  return list !== '' && (list === token || list.split(',').some((part) => part.trim() === token));
}
