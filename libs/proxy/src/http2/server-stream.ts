import type { Socket } from 'node:net';
import type { HeaderMap } from '../http/headers.ts';
import type { RequestReceiver, ResponseHead, ResponseSender } from '../http/stream.ts';
import { Deadline } from '../http/timer-wheel.ts';
import { tunnelSocket } from '../http/tunnel-socket.ts';
import type { StreamAbort } from './base-connection.ts';
import { ERROR } from './frames.ts';
import { encodeFields } from './output.ts';
import type { Http2ServerConnection } from './server-connection.ts';
import { Http2Stream } from './stream.ts';

/** One request that came over HTTP/2, and the sender of its response. */
export class Http2ServerStream extends Http2Stream implements ResponseSender {
  readonly #server: Http2ServerConnection;
  /** When its request came, in monotonic milliseconds. */
  readonly openedAtMs: number;
  listener: RequestReceiver | undefined;
  /** The exchange is over for whoever answered it. */
  isAnswered = false;
  isResponseStarted = false;
  #isTunnel = false;
  #flushDeadline: Deadline | undefined;

  constructor(server: Http2ServerConnection, id: number, openedAtMs: number) {
    super(server);
    this.#server = server;
    this.id = id;
    this.openedAtMs = openedAtMs;
    this.isHeadReceived = true;
  }

  get sentWireBytes(): number {
    return this.sentBytes;
  }

  get sentHeaderBytes(): number {
    return this.headBytes;
  }

  sendContinue(): void {
    if (this.isClosed || this.isResponseStarted) return;
    const { output } = this.connection;
    const { encoder } = output;
    encoder.begin();
    encoder.field(':status', '100');
    output.writeHeaders(this, false);
    this.lastFrameEpoch = -1;
  }

  sendHead(head: ResponseHead, options: { readonly closesConnection: boolean }): void {
    if (this.isClosed || this.isLocalDone) return;
    this.isResponseStarted = true;
    this.#isTunnel = head.upgrade !== '';
    this.#server.onAnswer(options.closesConnection);
    const { output } = this.connection;
    const { encoder } = output;
    encoder.begin();
    // What is 101 in HTTP/1 is 200 to an extended CONNECT (RFC 8441 §4).
    encoder.field(':status', this.#isTunnel ? '200' : statusText(head.status));
    encodeFields(encoder, head.headers);
    if (head.contentLength >= 0 && !this.#isTunnel) encoder.field('content-length', String(head.contentLength));
    const isEnd = !head.hasBody && !this.#isTunnel;
    if (isEnd) this.isLocalDone = true;
    output.writeHeaders(this, isEnd);
    this.headBytes = this.sentBytes;
  }

  sendData(chunk: Buffer): boolean {
    return this.sendBody(chunk);
  }

  sendTrailers(trailers: HeaderMap): void {
    this.sendTrailerBlock(trailers);
  }

  end(): void {
    this.finishSending();
    if (this.#isTunnel && !this.isRemoteDone) return;
    this.#leave();
    if (this.isClosed) return;
    if (this.isFlushed) this.onSent();
    else {
      this.#flushDeadline = new Deadline(this.#server.timerWheel, () => this.#server.onFlushTimeout(this));
      this.#flushDeadline.arm(this.#server.flushTimeoutMs);
    }
  }

  /** The response went out; what the client still sends of its request is not wanted (RFC 9113 §8.1). */
  onSent(): void {
    if (!this.isAnswered || this.isClosed) return;
    if (this.isRemoteDone) this.connection.removeIfDone(this);
    else this.connection.resetStream(this, ERROR.noError);
  }

  flush(): void {
    // Frames are written at the end of the round of the event loop in any case.
  }

  reset(): void {
    this.#leave();
    this.connection.resetStream(this, ERROR.internalError);
  }

  pauseRequest(): void {
    this.pauseReceiving();
  }

  resumeRequest(): void {
    this.resumeReceiving();
  }

  handOver(): { readonly socket: Socket; readonly initialData: Buffer | undefined } {
    const { socket, receiver } = tunnelSocket(this);
    this.listener = receiver;
    return { socket, initialData: undefined };
  }

  #leave(): void {
    this.isAnswered = true;
    this.listener = undefined;
    this.resumeReceiving();
  }

  onRemoved(): void {
    this.#flushDeadline?.cancel();
  }

  onAborted({ details, code }: StreamAbort): void {
    const receiver = this.listener;
    this.listener = undefined;
    this.isAnswered = true;
    receiver?.onDownstreamReset(details, code);
  }
}

const statusTexts: string[] = [];

/** The same string for the same status, so that no table has to look at its characters. */
function statusText(status: number): string {
  let text = statusTexts[status];
  if (text === undefined) {
    text = String(status);
    if (status >= 100 && status < 1000) statusTexts[status] = text;
  }
  return text;
}
