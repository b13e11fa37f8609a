import type { Socket } from 'node:net';
import { kept, shareReads } from '../cluster/shared-reads.ts';
import type { TlsInfo } from '../contract.ts';
import type { HeaderMap } from '../http/headers.ts';
import type { RequestHead, ResetReason, ResponseReceiver, UpstreamStream } from '../http/stream.ts';
import type { TimerWheel } from '../http/timer-wheel.ts';
import type { ParserLimits } from './message-head.ts';
import { MessageWriter } from './message-writer.ts';
import { type BodyFraming, Http1Parser, type ParserHandler } from './parser.ts';

// Of any other method a body may be expected: that there is none is said. Source: RFC 9110 §8.6, envoy requestShouldHaveNoBody (1.40).
const WITHOUT_BODY: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'TRACE', 'CONNECT']);

/** What the pool wants to know of a connection. */
export interface ClientConnectionOwner {
  /** The exchange is over and the connection can carry another one. */
  onIdle(connection: ClientConnection): void;
  /** The connection is gone: with a request under way, ended by us (`local`) or by the peer (`remote`), or without one. */
  onClosed(connection: ClientConnection, how: 'local' | 'remote' | 'idle'): void;
}

export interface ClientConnectionOptions {
  readonly tls: TlsInfo | undefined;
  readonly owner: ClientConnectionOwner;
  readonly wheel: TimerWheel;
}

const LIMITS: ParserLimits = { maxHeadBytes: 60 * 1024, maxHeaders: 100 };

/** The client's side of one HTTP/1.1 connection to an endpoint: one exchange at a time. */
export class ClientConnection implements ParserHandler, UpstreamStream {
  readonly tls: TlsInfo | undefined;
  readonly localAddress: string;
  readonly socket: Socket;
  readonly protocol = 'HTTP/1.1';
  readonly #owner: ClientConnectionOwner;
  readonly #writer: MessageWriter;
  readonly #wheel: TimerWheel;
  readonly #parser: Http1Parser;
  #receiver: ResponseReceiver | undefined;
  #method = '';
  #upgrade = '';
  #isRequestDone = false;
  #isResponseDone = true;
  #isChunkedRequest = false;
  #isInformational = false;
  #isRaw = false;
  #isReusable = true;
  #isClosed = false;
  #isResetByUs = false;
  #isPaused = false;
  #hasTrailers = false;
  #receivedBytes = 0;
  #bytesBefore = 0;
  sentHeaderBytes = 0;
  /** Exchanges begun. */
  requests = 0;
  /** When it became idle, in monotonic milliseconds; kept by the pool. */
  idleSinceMs = 0;
  /** When it was made, in monotonic milliseconds; kept by the pool. */
  openedAtMs = 0;

  constructor(socket: Socket, options: ClientConnectionOptions) {
    this.socket = socket;
    this.tls = options.tls;
    this.#owner = options.owner;
    this.#wheel = options.wheel;
    this.localAddress = localAddressOf(socket);
    this.#writer = new MessageWriter(socket);
    this.#parser = new Http1Parser(this, { limits: LIMITS, isRequest: false });
    socket.on('data', this.#takeRead);
    socket.on('end', () => this.#onEnd());
    socket.on('error', () => this.#onGone('connection-termination'));
    socket.on('close', () => this.#onGone('connection-termination'));
    socket.on('drain', () => this.#receiver?.onWritable());
    shareReads(socket, this.#takeRead);
    socket.resume();
  }

  /** Whether an exchange can begin. */
  get hasCapacity(): boolean {
    return this.#receiver === undefined && this.#isReusable && !this.#isClosed;
  }

  /** One request at a time, and no need to ask. */
  get hasPeerSettings(): boolean {
    return true;
  }

  get activeStreams(): number {
    return this.#receiver === undefined ? 0 : 1;
  }

  get isReused(): boolean {
    return this.requests > 1;
  }

  get receivedWireBytes(): number {
    return this.#receivedBytes;
  }

  get sentWireBytes(): number {
    return this.#writer.writtenBytes - this.#bytesBefore;
  }

  /** Begins an exchange; only when idle. */
  attach(receiver: ResponseReceiver): void {
    this.#receiver = receiver;
    this.requests++;
    this.#isRequestDone = false;
    this.#isResponseDone = false;
    this.#isChunkedRequest = false;
    this.#receivedBytes = 0;
    this.#bytesBefore = this.#writer.writtenBytes;
    receiver.onReady(this);
  }

  /** The exchange under way is the last one; without one the connection is closed. */
  drain(): void {
    this.#isReusable = false;
    if (this.#receiver === undefined) this.close();
  }

  /** Closes an idle connection. */
  close(): void {
    this.socket.destroy();
  }

  // --- sending

  sendHead(head: RequestHead, extraHeaders: string): void {
    this.#method = head.method;
    this.#upgrade = head.upgrade;
    const target = head.path === '' ? head.authority : head.path;
    let text = `${head.method} ${target} HTTP/1.1\r\nhost: ${head.authority}\r\n${head.headers.serialize()}${extraHeaders}`;
    if (head.upgrade !== '') text += `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
    else if (head.contentLength >= 0) text += `content-length: ${head.contentLength}\r\n`;
    else if (head.hasBody && head.method !== 'CONNECT') {
      this.#isChunkedRequest = true;
      text += 'transfer-encoding: chunked\r\n';
    } else if (!head.hasBody && !WITHOUT_BODY.has(head.method)) text += 'content-length: 0\r\n';
    this.sentHeaderBytes = text.length - head.method.length - target.length - ' '.length - ' HTTP/1.1\r\n'.length;
    this.#writer.text(`${text}\r\n`);
  }

  sendData(chunk: Buffer): boolean {
    if (!this.#isChunkedRequest) return this.#writer.body(chunk);
    if (chunk.length === 0) return true;
    this.#writer.text(`${chunk.length.toString(16)}\r\n`);
    const isBelowMark = this.#writer.body(chunk);
    this.#writer.text('\r\n');
    return isBelowMark;
  }

  sendTrailers(trailers: HeaderMap): void {
    if (!this.#isChunkedRequest) return;
    this.#writer.text(`0\r\n${trailers.serialize()}\r\n`);
    this.#hasTrailers = true;
  }

  end(): void {
    this.#isRequestDone = true;
    if (this.#isChunkedRequest && !this.#hasTrailers) this.#writer.text('0\r\n\r\n');
    this.#hasTrailers = false;
    this.#isChunkedRequest = false;
    this.#writer.flush();
    if (this.#isRaw) this.socket.end();
    if (this.#isResponseDone) this.#finishExchange();
  }

  flush(): void {
    this.#writer.flush();
  }

  reset(): void {
    this.#isResetByUs = this.#receiver !== undefined && !this.#isResponseDone;
    this.#receiver = undefined;
    this.#isReusable = false;
    this.socket.destroy();
  }

  pauseResponse(): void {
    this.#isPaused = true;
    this.socket.pause();
  }

  resumeResponse(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.socket.resume();
  }

  // --- receiving

  /** One read; {@link kept} says what of it stays. */
  readonly #takeRead = (bytes: Buffer): void => {
    const held = this.#wheel.hold();
    try {
      this.#onData(bytes);
    } finally {
      held?.release();
    }
  };

  #onData(chunk: Buffer): void {
    let bytes = chunk;
    while (true) {
      const receiver = this.#receiver;
      if (receiver === undefined) {
        // An answer to nothing: whatever it is, it must not become the answer to the next request.
        if (bytes.length > 0) this.#onGone('protocol-error');
        return;
      }
      this.#receivedBytes += bytes.length;
      const used = this.#parser.execute(bytes);
      if (this.#parser.failure !== undefined) {
        this.#onGone('protocol-error');
        return;
      }
      receiver.onReadEnd();
      const rest = bytes.length - used;
      if (rest > 0) this.#receivedBytes -= rest;
      // Bytes behind the answer came before the next request was sent: they cannot be its answer.
      if (this.#isResponseDone) this.#isReusable = this.#isReusable && rest === 0 && this.#isRequestDone;
      if (this.#isResponseDone) this.#finishExchange();
      if (rest <= 0 || this.#isResponseDone) return;
      bytes = bytes.subarray(used);
    }
  }

  onHead(): BodyFraming {
    const parser = this.#parser;
    const status = Number(parser.startLine[1]);
    this.#isInformational = false;
    if (!parser.startLine[0].startsWith('HTTP/1.')) return this.#refuse();
    if (status === 101) return this.#upgrade === '' ? this.#refuse() : this.#switchProtocols(status);
    if (status < 200) {
      this.#isInformational = true;
      if (status === 100) this.#receiver?.onContinue();
      return 'none';
    }
    if (this.#method === 'CONNECT' && status < 300) return this.#switchProtocols(status);
    const connection = parser.connection.toLowerCase();
    const isHttp10 = parser.startLine[0] === 'HTTP/1.0';
    if (connection.includes('close') || (isHttp10 && !connection.includes('keep-alive'))) this.#isReusable = false;
    const hasBody = this.#method !== 'HEAD' && status !== 204 && status !== 304;
    const framing = !hasBody ? 'none' : parser.isChunked ? 'chunked' : parser.contentLength >= 0 ? 'length' : 'until-close';
    if (framing === 'until-close') this.#isReusable = false;
    const contentLength = status === 204 ? -1 : parser.contentLength;
    const { headers, headBytes: wireBytes, headerBytes } = parser;
    this.#receiver?.onHead({ status, headers, hasBody, contentLength, upgrade: '', wireBytes, headerBytes });
    return framing;
  }

  #switchProtocols(status: number): BodyFraming {
    this.#isRaw = true;
    this.#isReusable = false;
    const upgrade = this.#method === 'CONNECT' ? 'connect' : this.#upgrade;
    this.#receiver?.onHead({
      status,
      headers: this.#parser.headers,
      hasBody: true,
      contentLength: -1,
      upgrade,
      wireBytes: this.#parser.headBytes,
      headerBytes: this.#parser.headerBytes,
    });
    return 'until-close';
  }

  #refuse(): BodyFraming {
    this.#parser.refuse(502, 'http1.codec_error');
    return 'none';
  }

  onBody(chunk: Buffer): void {
    this.#receiver?.onData(kept(chunk));
  }

  onTrailers(trailers: HeaderMap): void {
    this.#receiver?.onTrailers(trailers);
  }

  onMessageEnd(): void {
    if (this.#isInformational) return;
    this.#isResponseDone = true;
    this.#receiver?.onEnd();
  }

  #finishExchange(): void {
    if (this.#receiver === undefined) return;
    this.#receiver = undefined;
    // An idle connection must be read, or its end would go unseen.
    this.resumeResponse();
    if (this.#isReusable && this.#isRequestDone) this.#owner.onIdle(this);
    else this.socket.destroySoon();
  }

  #onEnd(): void {
    const receiver = this.#receiver;
    if (receiver === undefined || this.#isResponseDone || !this.#parser.isInMessage || !this.#parser.finish()) {
      this.#onGone('connection-termination');
      return;
    }
    receiver.onReadEnd();
    if (this.#isRaw && !this.#isRequestDone) return;
    this.#isReusable = false;
    this.#finishExchange();
  }

  #onGone(reason: ResetReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.socket.destroy();
    const receiver = this.#receiver;
    this.#receiver = undefined;
    const isCutOff = receiver !== undefined && !this.#isResponseDone;
    this.#owner.onClosed(this, this.#isResetByUs ? 'local' : isCutOff ? 'remote' : 'idle');
    if (isCutOff) receiver.onUpstreamReset(reason, '');
  }
}

function localAddressOf(socket: Socket): string {
  const { localAddress, localPort } = socket;
  if (localAddress === undefined || localPort === undefined) return '';
  return localAddress.includes(':') ? `[${localAddress}]:${localPort}` : `${localAddress}:${localPort}`;
}
