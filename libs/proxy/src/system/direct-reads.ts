import { Socket } from 'node:net';

/** Takes what is read. The bytes are overwritten by the next read: what is kept of them must be copied before this returns. */
export type ReadTaker = (bytes: Buffer) => void;

/** Lets the owner of a direct read say where the next one goes. */
export interface DirectReads {
  /** From the next read on. */
  readInto(buffer: Buffer): void;
}

interface SocketFields {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly nextBuffer: symbol;
}

/** Where a socket keeps what `onread` of `net.connect` sets; undefined where this version of Node has it elsewhere. */
const fields = findFields();

function findFields(): SocketFields | undefined {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  const [buffer, callback, nextBuffer] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map((name) =>
    symbols.find((symbol) => symbol.description === name),
  );
  return buffer === undefined || callback === undefined || nextBuffer === undefined ? undefined : { buffer, callback, nextBuffer };
}

/**
 * Reads a paused socket into memory of ours, without the stream in between: what `onread` does for connections that Node opens, also for
 * accepted ones and at any time. What was read before comes out of `socket.read()` and must be taken first. 'end', 'close' and 'error' come as
 * ever, `pause` and `resume` work. undefined where the socket is none of the kernel's or Node has no such means; then there is 'data'.
 */
export function readDirectly(socket: Socket, buffer: Buffer, take: ReadTaker): DirectReads | undefined {
  const handle = (socket as unknown as { readonly _handle?: { useUserBuffer?: (buffer: Buffer) => void } | null })._handle;
  if (fields === undefined || handle?.useUserBuffer === undefined) return undefined;
  const own = socket as unknown as Record<symbol, unknown>;
  let current = buffer;
  let next: Buffer | undefined;
  own[fields.buffer] = buffer;
  own[fields.callback] = (count: number): boolean => {
    take(count === current.length ? current : current.subarray(0, count));
    return !socket.isPaused();
  };
  own[fields.nextBuffer] = (): Buffer | undefined => {
    if (next === undefined) return undefined;
    current = next;
    next = undefined;
    return current;
  };
  handle.useUserBuffer(buffer);
  return {
    readInto(wanted) {
      next = wanted === current ? undefined : wanted;
    },
  };
}
