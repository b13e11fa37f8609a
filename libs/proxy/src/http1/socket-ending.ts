import type { Socket } from 'node:net';
import { Deadline, type TimerWheel } from '../http/timer-wheel.ts';

/** How long a client may take to accept the last bytes of an answer that closes the connection. */
const FLUSH_MS = 60_000;

/** Ends a socket behind its last answer; what the client still sends is thrown away meanwhile. */
export class SocketEnding {
  readonly #socket: Socket;
  readonly #lingerMs: number;
  readonly #deadline: Deadline;

  /** `lingerMs`: how long the client gets to read what was accepted; 0: no time. */
  constructor(socket: Socket, options: { readonly wheel: TimerWheel; readonly lingerMs: number }) {
    this.#socket = socket;
    this.#lingerMs = options.lingerMs;
    this.#deadline = new Deadline(options.wheel, () => socket.destroy());
  }

  end(): void {
    this.#socket.resume();
    this.#deadline.arm(FLUSH_MS);
    // To end a socket a second time makes an error, with its stack.
    if (this.#socket.writableFinished) this.#onEnded();
    else this.#socket.end(() => this.#onEnded());
    if (this.#socket.readableEnded) this.#socket.destroySoon();
  }

  cancel(): void {
    this.#deadline.cancel();
  }

  #onEnded(): void {
    if (this.#socket.destroyed) return;
    if (this.#lingerMs > 0) this.#deadline.arm(this.#lingerMs);
    else this.#socket.destroy();
  }
}
