import type { Socket } from 'node:net';
import { latin1 } from '../http/latin1.ts';

/** Up to this size a body is joined with the head, so that a message is one write of one string. */
const JOINED_BODY_BYTES = 8 * 1024;
const MAX_GATHERED_BYTES = 32 * 1024;

/** Gathers what one read causes to be sent on a socket into one write. */
export class MessageWriter {
  readonly #socket: Socket;
  #gathered = '';
  /** Everything given so far. */
  writtenBytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Latin-1: one character is one byte. */
  text(text: string): void {
    this.writtenBytes += text.length;
    this.#gathered += text;
  }

  /** False: the socket's buffer is over its mark; wait for 'drain'. */
  body(chunk: Buffer): boolean {
    this.writtenBytes += chunk.length;
    if (chunk.length <= JOINED_BODY_BYTES) {
      this.#gathered += latin1(chunk);
      return this.#gathered.length <= MAX_GATHERED_BYTES || this.flush();
    }
    if (this.#gathered === '') return this.#socket.write(chunk);
    this.#socket.cork();
    this.flush();
    const isBelowMark = this.#socket.write(chunk);
    this.#socket.uncork();
    return isBelowMark;
  }

  flush(): boolean {
    if (this.#gathered === '') return true;
    const text = this.#gathered;
    this.#gathered = '';
    return this.#socket.write(text, 'latin1');
  }
}
