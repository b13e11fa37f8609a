import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { RequestReceiver, ResponseSender } from './stream.ts';

/**
 * The bytes of a tunnel that is one stream among others on its connection (CONNECT over HTTP/2), as a socket: for who is handed a connection
 * of its own. Ends and errors of one side are told to the other; flow control is the stream's.
 */
class TunnelSocket extends Duplex implements RequestReceiver {
  readonly #sender: ResponseSender;
  /** Of a write that waits until the stream can take more. */
  #onWritten: (() => void) | undefined;
  #isStreamOver = false;

  constructor(sender: ResponseSender) {
    super({ allowHalfOpen: true });
    this.#sender = sender;
  }

  // --- as the stream tells it

  onData(chunk: Buffer): void {
    if (!this.push(chunk)) this.#sender.pauseRequest();
  }

  onTrailers(): void {
    // They mean nothing behind a tunnel's bytes.
  }

  onEnd(): void {
    this.push(null);
  }

  onReadEnd(): void {}

  onWritable(): void {
    const onWritten = this.#onWritten;
    this.#onWritten = undefined;
    onWritten?.();
  }

  onDownstreamReset(): void {
    this.#isStreamOver = true;
    this.destroy();
  }

  // --- as the owner of the socket has it

  override _read(): void {
    if (!this.#isStreamOver) this.#sender.resumeRequest();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, onWritten: () => void): void {
    if (this.#sender.sendData(chunk)) onWritten();
    else this.#onWritten = onWritten;
    this.#sender.flush();
  }

  override _final(onDone: () => void): void {
    this.#sender.end();
    onDone();
  }

  override _destroy(error: Error | null, onDone: (error: Error | null) => void): void {
    const isWhole = this.writableFinished && this.readableEnded;
    if (!this.#isStreamOver && !isWhole) this.#sender.reset();
    this.#isStreamOver = true;
    onDone(error);
  }

  // --- what a socket has beside a stream

  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else {
      this.once('finish', () => this.destroy());
      this.end();
    }
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }
}

/** The stream behind `sender` as a socket. Whatever the stream tells from now on must be told to `receiver`. */
export function tunnelSocket(sender: ResponseSender): { readonly socket: Socket; readonly receiver: RequestReceiver } {
  const tunnel = new TunnelSocket(sender);
  return { socket: tunnel as unknown as Socket, receiver: tunnel };
}
