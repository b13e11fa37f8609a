import type { HeaderMap } from '../http/headers.ts';
import type { MessageReceiver } from '../http/stream.ts';
import type { StreamAbort } from './base-connection.ts';
import type { Http2Connection } from './connection.ts';

/** What the one side of a stream does that the other does not. */
export abstract class Http2Stream {
  readonly connection: Http2Connection;
  /** 0 until a client's request is sent. */
  id = 0;
  /** Who is told; undefined once nobody is to be told any more. */
  abstract readonly listener: MessageReceiver | undefined;
  /** The head of the peer's message came: data may. */
  isHeadReceived = false;
  /** END_STREAM came. */
  isRemoteDone = false;
  /** END_STREAM was sent, or waits behind the data for a window. */
  isLocalDone = false;
  /** Nothing is known of it any more. */
  isClosed = false;
  /** Bytes flowed this round: its listener is to be told when the read is over. */
  isTouched = false;
  /** What we may send. */
  sendWindow: number;
  /** What the peer may send. */
  receiveWindow: number;
  /** Taken by the listener, and not yet given back to the peer. */
  creditBytes = 0;
  /** Came while the listener had paused the stream; not given back before it resumes. */
  withheldBytes = 0;
  /** What is left of the content-length that the peer declared; -1: it declared none. */
  expectedBytes = -1;
  receivedBytes = 0;
  sentBytes = 0;
  /** Of those, what the head took. */
  headBytes = 0;
  pendingBytes = 0;
  /** The listener was told to wait. */
  isListenerWaiting = false;
  /** Where the flags of the last frame of the stream stand in the writer, for as long as its epoch is this one. */
  lastFrameAt = 0;
  lastFrameEpoch = -1;
  #pending: Buffer[] = [];
  #pendingTrailers: HeaderMap | undefined;
  #isPaused = false;

  constructor(connection: Http2Connection) {
    this.connection = connection;
    this.sendWindow = connection.peer.windowBytes;
    this.receiveWindow = connection.options.initialStreamWindowBytes;
  }

  /** The stream is gone without a proper end. */
  abstract onAborted(abort: StreamAbort): void;

  get isPaused(): boolean {
    return this.#isPaused;
  }

  // --- sending

  sendBody(chunk: Buffer): boolean {
    const { output } = this.connection;
    if (this.isClosed || this.isLocalDone || chunk.length === 0) return true;
    if (this.pendingBytes === 0 && chunk.length <= this.sendWindow && chunk.length <= output.window && !output.isBlocked)
      output.writeData(this, chunk);
    else {
      this.#pending.push(chunk);
      this.#countPending(chunk.length);
      output.pump(this);
    }
    if (this.pendingBytes === 0 && !output.isBlocked) return true;
    output.waitForRoom(this);
    return false;
  }

  sendTrailerBlock(trailers: HeaderMap): void {
    if (this.isClosed || this.isLocalDone) return;
    if (trailers.names.length === 0) {
      this.finishSending();
      return;
    }
    this.isLocalDone = true;
    if (this.pendingBytes > 0) this.#pendingTrailers = trailers;
    else this.connection.output.writeTrailers(this, trailers);
  }

  /** The message is complete: END_STREAM goes out behind what waits. */
  finishSending(): void {
    if (this.isClosed || this.isLocalDone) return;
    this.isLocalDone = true;
    if (this.pendingBytes === 0) this.connection.output.writeEnd(this);
  }

  /** END_STREAM, be it behind data, was written. */
  get isFlushed(): boolean {
    return this.isLocalDone && this.pendingBytes === 0;
  }

  /** Writes what the windows allow, at most one frame; returns whether something was written. */
  pumpOnce(limit: number): boolean {
    const first = this.#pending[0];
    const room = Math.min(this.sendWindow, limit);
    if (first === undefined || room <= 0) return false;
    const { output } = this.connection;
    if (first.length <= room) {
      this.#pending.shift();
      this.#countPending(-first.length);
      output.writeData(this, first);
    } else {
      this.#pending[0] = first.subarray(room);
      this.#countPending(-room);
      output.writeData(this, first.subarray(0, room));
    }
    if (this.pendingBytes > 0 || !this.isLocalDone) return true;
    if (this.#pendingTrailers !== undefined) output.writeTrailers(this, this.#pendingTrailers);
    else output.writeEnd(this);
    return true;
  }

  #countPending(bytes: number): void {
    this.pendingBytes += bytes;
    this.connection.output.countPending(bytes);
  }

  dropPending(): void {
    this.#pending = [];
    this.#pendingTrailers = undefined;
    this.#countPending(-this.pendingBytes);
  }

  // --- receiving

  /** Counts data towards the length that was declared. False: it is more, or the end came with less. */
  takesLength(bytes: number, isEnd: boolean): boolean {
    if (this.expectedBytes < 0) return true;
    this.expectedBytes -= bytes;
    return this.expectedBytes >= 0 && (!isEnd || this.expectedBytes === 0);
  }

  /** Data came; what is not paused is given back to the peer's windows at once. */
  onBody(chunk: Buffer): void {
    const { length } = chunk;
    this.listener?.onData(chunk);
    if (this.isClosed) this.connection.credit(length);
    else if (this.#isPaused) this.withheldBytes += length;
    else this.connection.creditStream(this, length);
  }

  pauseReceiving(): void {
    this.#isPaused = true;
  }

  resumeReceiving(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const bytes = this.withheldBytes;
    this.withheldBytes = 0;
    if (bytes > 0 && !this.isClosed) this.connection.creditStream(this, bytes);
  }
}
