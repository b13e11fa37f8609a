import type { Socket } from 'node:net';
import { DirectWrites } from '../system/direct-writes.ts';

/** Up to this size a body is joined with the head, so that a message is one write. */
const JOINED_BODY_BYTES = 8 * 1024;
const MAX_GATHERED_BYTES = 32 * 1024;
const SHARED_BYTES = 64 * 1024;
/** A body of tiny chunks needs many more places, which a connection does not keep. */
const KEPT_PIECES = 64;

/** Where messages with a body are joined; another one as soon as a write of it has to wait. */
let shared = Buffer.allocUnsafeSlow(SHARED_BYTES);

/** Gathers what one read causes to be sent on a socket into one write. */
export class MessageWriter {
  readonly #socket: Socket;
  readonly #direct: DirectWrites | undefined;
  /** What stands before `#text`; the array stays, and what it held does not. */
  readonly #pieces: (string | Buffer)[] = [];
  #pieceCount = 0;
  #text = '';
  #gatheredBytes = 0;
  /** Everything given so far. */
  writtenBytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#direct = DirectWrites.for(socket);
  }

  /** Latin-1: one character is one byte. */
  text(text: string): void {
    this.writtenBytes += text.length;
    this.#gatheredBytes += text.length;
    this.#text += text;
  }

  /** The bytes may be read until they are flushed. False: the socket's buffer is over its mark; wait for 'drain'. */
  body(chunk: Buffer): boolean {
    if (chunk.length === 0) return true;
    this.writtenBytes += chunk.length;
    if (chunk.length <= JOINED_BODY_BYTES) {
      this.#gatheredBytes += chunk.length;
      if (this.#text !== '') this.#pieces[this.#pieceCount++] = this.#text;
      this.#pieces[this.#pieceCount++] = chunk;
      this.#text = '';
      return this.#gatheredBytes <= MAX_GATHERED_BYTES || this.flush();
    }
    if (this.#gatheredBytes === 0) return this.#socket.write(chunk);
    this.#socket.cork();
    this.flush();
    const isBelowMark = this.#socket.write(chunk);
    this.#socket.uncork();
    return isBelowMark;
  }

  flush(): boolean {
    if (this.#gatheredBytes === 0) return true;
    const direct = this.#direct?.isReady === true ? this.#direct : undefined;
    if (this.#pieceCount > 0) return this.#flushJoined(direct);
    const text = this.#text;
    this.#text = '';
    this.#gatheredBytes = 0;
    if (direct === undefined) return this.#socket.write(text, 'latin1');
    direct.writeText(text);
    return true;
  }

  #flushJoined(direct: DirectWrites | undefined): boolean {
    const bytes = this.#gatheredBytes;
    if (direct === undefined || bytes > SHARED_BYTES) return this.#socket.write(this.#joinInto(Buffer.allocUnsafe(bytes)));
    if (!direct.writeBytes(this.#joinInto(shared))) shared = Buffer.allocUnsafeSlow(SHARED_BYTES);
    return true;
  }

  #joinInto(target: Buffer): Buffer {
    let position = 0;
    const pieces = this.#pieces;
    for (let index = 0; index < this.#pieceCount; index++) {
      const piece = pieces[index] as string | Buffer;
      position += typeof piece === 'string' ? target.write(piece, position, 'latin1') : piece.copy(target, position);
      pieces[index] = '';
    }
    if (this.#text !== '') position += target.write(this.#text, position, 'latin1');
    if (pieces.length > KEPT_PIECES) pieces.length = 0;
    this.#pieceCount = 0;
    this.#text = '';
    this.#gatheredBytes = 0;
    return position === target.length ? target : target.subarray(0, position);
  }
}
