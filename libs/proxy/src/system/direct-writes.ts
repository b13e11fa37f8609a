import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { getSystemErrorName } from 'node:util';
import { type StreamHandle, streamBinding, streamHandle, type WriteRequest } from './stream-handles.ts';

interface WritableFields {
  readonly length: number;
  readonly corked: number;
  readonly ending: boolean;
}

/**
 * Writes to a socket without the stream in between, as long as nothing waits there: nearly always the kernel takes all of it at once,
 * and then a stream has nothing to do. What the kernel does not take at once waits in the handle, in order with what the stream writes after
 * it; there is at most one such write, so that what waits here needs no back-pressure of its own.
 */
export class DirectWrites {
  readonly #socket: Socket;
  readonly #handle: StreamHandle;
  readonly #writable: WritableFields;
  #request: WriteRequest;
  #isWaiting = false;

  /** undefined for TLS, whose handle bears one write at a time, for what is no socket of the kernel's, and where Node has no such means. */
  static for(socket: Socket): DirectWrites | undefined {
    const handle = streamHandle(socket);
    const { _writableState: writable } = socket as unknown as { readonly _writableState?: WritableFields };
    if (streamBinding === undefined || handle === undefined || writable === undefined || socket instanceof TLSSocket) return undefined;
    return new DirectWrites(socket, handle, writable);
  }

  private constructor(socket: Socket, handle: StreamHandle, writable: WritableFields) {
    this.#socket = socket;
    this.#handle = handle;
    this.#writable = writable;
    this.#request = this.#newRequest();
  }

  /** False: the socket is to be written to. */
  get isReady(): boolean {
    const writable = this.#writable;
    if (this.#isWaiting || writable.length > 0 || writable.corked > 0 || writable.ending) return false;
    // A socket that is destroyed has none.
    return (this.#socket as unknown as { readonly _handle: unknown })._handle === this.#handle;
  }

  /** Only when ready. `text` is Latin-1. An error destroys the socket, as one of its own does. */
  writeText(text: string): void {
    this.#settle(this.#handle.writeLatin1String(this.#request, text));
  }

  /** The same. True: the bytes are written, and whose they are may use them again. */
  writeBytes(bytes: Buffer): boolean {
    this.#settle(this.#handle.writeBuffer(this.#request, bytes));
    if (this.#isWaiting) this.#request.buffer = bytes;
    return !this.#isWaiting;
  }

  #settle(failed: number): void {
    if (failed !== 0) this.#socket.destroy(writeError(failed));
    else if (streamBinding?.state[streamBinding.wasAsync] !== 0) this.#isWaiting = true;
  }

  #newRequest(): WriteRequest {
    const request = new (streamBinding as NonNullable<typeof streamBinding>).WriteRequest();
    request.handle = this.#handle;
    request.buffer = undefined;
    request.oncomplete = (status) => this.#onComplete(status);
    return request;
  }

  #onComplete(status: number): void {
    this.#isWaiting = false;
    // One that had to wait belongs to what was written with it.
    this.#request = this.#newRequest();
    if (status < 0 && !this.#socket.destroyed) this.#socket.destroy(writeError(status));
  }
}

function writeError(status: number): Error {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' });
}
