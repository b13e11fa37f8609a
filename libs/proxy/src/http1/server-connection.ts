import type { Socket } from 'node:net';
import { kept, shareReads } from '../cluster/shared-reads.ts';
import type { ServerCodec, ServerCodecEvents } from '../http/codec.ts';
import type { HeaderMap } from '../http/headers.ts';
import type { RequestReceiver, ResponseHead, ResponseSender } from '../http/stream.ts';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';
import type { ParseFailure } from './message-head.ts';
import { type BodyFraming, Http1Parser, type ParserHandler } from './parser.ts';
import { ReadAhead } from './read-ahead.ts';
import { isLastRequest, readRequestHead } from './request-head.ts';
import { ResponseWriter } from './response-writer.ts';
import { headTimeoutMs, type ServerCodecOptions, type ServerConnectionOptions } from './server-options.ts';
import { SocketEnding } from './socket-ending.ts';

/** What a client begins with that knows beforehand that HTTP/2 is spoken here (RFC 9113 §3.4), as far as Envoy looks at it. */
const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2');

/** How long a connection that is drained must have been idle. */
const DRAIN_IDLE_MS = 1000;

/** The server's side of one HTTP/1 connection: one exchange at a time, requests that wait are read ahead up to a bound. */
export class ServerConnection implements ServerCodec, ParserHandler, ResponseSender {
  readonly #socket: Socket;
  readonly #events: ServerCodecEvents;
  readonly #options: ServerCodecOptions;
  readonly #parser: Http1Parser;
  readonly #writer: ResponseWriter;
  readonly #wheel: TimerWheel;
  readonly #idle: Deadline;
  readonly #headersDeadline: Deadline | undefined;
  #ending: SocketEnding | undefined;
  readonly #listeners: readonly (readonly [event: string, listener: (chunk: Buffer) => void])[] = [
    ['data', (chunk) => this.#takeRead(chunk)],
    ['end', () => this.#onEnd()],
    ['error', () => this.#socket.destroy()],
    ['close', () => this.#onClose()],
    ['drain', () => this.#onDrain()],
  ];
  #receiver: RequestReceiver | undefined;
  #isRequestDone = false;
  #isExchangeOver = false;
  /** Bytes go both ways as they are: after 101, or 200 to CONNECT. */
  #isRaw = false;
  /** The request asked for an upgrade: what follows its head waits for the answer. */
  #awaitsUpgrade = false;
  /** Called in place of all else when the first bytes are HTTP/2's; undefined once they were not. */
  #onHttp2: ServerConnectionOptions['onHttp2'];
  readonly #readAhead = new ReadAhead();
  #isProcessing = false;
  #isPausedByReceiver = false;
  #isDraining = false;
  #isClosed = false;
  #isClosing = false;
  #requests = 0;

  constructor(socket: Socket, options: ServerConnectionOptions) {
    this.#socket = socket;
    this.#events = options.events;
    this.#options = options.codec;
    this.#onHttp2 = options.onHttp2;
    this.#parser = new Http1Parser(this, { limits: options.codec.limits, isRequest: true });
    this.#writer = new ResponseWriter(socket, options.codec);
    this.#wheel = options.wheel;
    this.#idle = new Deadline(options.wheel, () => this.#endSocket());
    this.#headersDeadline = headTimeoutMs(options.codec) > 0 ? new Deadline(options.wheel, () => this.#onHeadersTimeout()) : undefined;
  }

  /** Begins to read; `initialData` came before. */
  start(initialData: Buffer | undefined): void {
    const socket = this.#socket;
    for (const [event, listener] of this.#listeners) socket.on(event, listener);
    this.#idle.arm(this.#options.idleTimeoutMs);
    // Before anybody can be given the socket, who may read it in a way of its own.
    shareReads(socket, this.#takeRead);
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
    return this.#writer.messageBytes;
  }

  get sentHeaderBytes(): number {
    return this.#writer.headerBytes;
  }

  handOver(): { readonly socket: Socket; readonly initialData: Buffer | undefined } {
    const initialData = this.#readAhead.take();
    this.#letGo();
    this.#events.onClose();
    return { socket: this.#socket, initialData };
  }

  #letGo(): void {
    this.#writer.flush();
    this.#socket.pause();
    for (const [event, listener] of this.#listeners) this.#socket.off(event, listener);
    shareReads(this.#socket);
    this.#receiver = undefined;
    this.#isClosed = true;
    this.#cancelDeadlines();
  }

  // --- reading

  /** One read, or what was read of the socket before; {@link kept} says what of it stays. */
  readonly #takeRead = (bytes: Buffer): void => {
    const held = this.#wheel.hold();
    try {
      this.#onData(bytes);
    } finally {
      held?.release();
    }
  };

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
    const bytes = this.#readAhead.joinedWith(chunk);
    const compared = Math.min(bytes.length, HTTP2_PREFACE.length);
    const onHttp2 = this.#onHttp2;
    if (HTTP2_PREFACE.compare(bytes, 0, compared, 0, compared) !== 0) {
      this.#onHttp2 = undefined;
      if (bytes === chunk) return false;
      this.#readAhead.take();
      this.#process(bytes);
      return true;
    }
    if (compared < HTTP2_PREFACE.length) {
      this.#keepForLater(chunk);
      return true;
    }
    this.#letGo();
    onHttp2?.(kept(bytes));
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
    this.#readAhead.add(chunk);
    if (this.#readAhead.isFull) this.#socket.pause();
  }

  #process(first: Buffer): void {
    this.#isProcessing = true;
    let bytes: Buffer | undefined = first;
    while (bytes !== undefined && !this.#isClosed && !this.#isClosing) {
      if (this.#isWaiting()) {
        this.#readAhead.putBack(bytes);
        break;
      }
      if (this.#receiver === undefined) this.#idle.cancel();
      const used = this.#parser.execute(bytes);
      if (this.#parser.failure !== undefined) {
        this.#onParseFailure(this.#parser.failure);
        break;
      }
      bytes = used < bytes.length ? bytes.subarray(used) : this.#readAhead.take();
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
    const head = readRequestHead(parser, this.#options);
    if (head === undefined) return 'none';
    this.#requests++;
    const { maxRequestsPerConnection } = this.#options;
    const isLast =
      isLastRequest(parser, head.protocol === 'HTTP/1.0') || (maxRequestsPerConnection > 0 && this.#requests >= maxRequestsPerConnection);
    this.#writer.begin(head, isLast);
    // Behind an upgrade's head without a body stands the new protocol, or a request that pretends to be it: it waits for the answer.
    this.#awaitsUpgrade = head.upgrade !== '' || head.method === 'CONNECT';
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

  onBody(chunk: Buffer): void {
    this.#receiver?.onData(kept(chunk));
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
    this.#headersDeadline?.cancel();
    if (receiver === undefined) {
      this.#isRequestDone = true;
      this.#writer.beginRefusal(this.#parser.startLine[2] === 'HTTP/1.0');
      this.#events.onInvalidRequest(failure, this);
      return;
    }
    this.#writer.isLast = true;
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
    this.#ending?.cancel();
    this.#headersDeadline?.cancel();
  }

  // --- writing

  sendContinue(): void {
    this.#writer.text('HTTP/1.1 100 Continue\r\n\r\n');
    this.#writer.flush();
  }

  sendHead(head: ResponseHead, options: { readonly closesConnection: boolean }): void {
    const isTunnel = head.upgrade !== '';
    // A request that is not read to its end, and bytes that wait for an upgrade which is not coming, cannot be followed by another request.
    if (options.closesConnection || this.#isDraining || (!isTunnel && (!this.#isRequestDone || this.#awaitsUpgrade)))
      this.#writer.isLast = true;
    this.#writer.head(head);
    if (isTunnel) this.#enterRaw();
  }

  #enterRaw(): void {
    this.#isRaw = true;
    this.#awaitsUpgrade = false;
    this.#writer.isLast = true;
    this.#parser.enterRaw();
    this.#continueLater();
  }

  sendData(chunk: Buffer): boolean {
    return this.#writer.data(chunk);
  }

  sendTrailers(trailers: HeaderMap): void {
    this.#writer.trailers(trailers);
  }

  end(): void {
    this.#writer.endBody();
    if (this.#isRaw && !this.#isRequestDone) {
      this.#socket.end();
      return;
    }
    this.#isExchangeOver = true;
    this.#receiver = undefined;
    if (this.#isPausedByReceiver) this.resumeRequest();
    if (this.#writer.isLast) {
      this.#endSocket();
      return;
    }
    if (!this.#isProcessing && this.#readAhead.isEmpty) {
      this.#idle.arm(this.#options.idleTimeoutMs);
      return;
    }
    this.#continueLater();
  }

  /** Goes on with what was read ahead; not from inside the present call, so that a pile of small requests is no pile of frames. */
  #continueLater(): void {
    if (this.#isProcessing || this.#readAhead.isEmpty) return;
    queueMicrotask(() => {
      if (this.#isClosed || this.#isProcessing || this.#isWaiting()) return;
      const bytes = this.#readAhead.take();
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
    if (!this.#readAhead.isFull) this.#socket.resume();
  }

  /** Writes what is left, then closes; what the client still sends is thrown away meanwhile. */
  #endSocket(): void {
    this.#isClosing = true;
    this.#writer.flush();
    this.#idle.cancel();
    if (this.#socket.destroyed) return;
    this.#ending ??= new SocketEnding(this.#socket, { wheel: this.#wheel, lingerMs: this.#options.lingerMs });
    this.#ending.end();
  }

  get isResponseStarted(): boolean {
    return this.#writer.isStarted;
  }
}
