import { Socket } from 'node:net';
import { type StreamBinding, type StreamHandle, streamBinding, streamHandle } from './stream-handles.ts';

/** Takes what is read. The bytes are overwritten by the next read: what is kept of them must be copied before this returns. */
export type ReadTaker = (buffer: Buffer, count: number) => void;

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
 * accepted ones and at any time, and anew for a socket that changed hands. What was read before comes out of `socket.read()` and must be taken
 * first. 'end', 'close' and 'error' come as ever, `pause` and `resume` work; `socket.setTimeout` hears of no reads. undefined where the socket
 * is none of the kernel's or Node has no such means; then there is 'data'.
 */
export function readDirectly(socket: Socket, buffer: Buffer, take: ReadTaker): DirectReads | undefined {
  const handle = streamHandle(socket);
  if (fields === undefined || handle === undefined) return undefined;
  const own = socket as unknown as Record<symbol, unknown>;
  let current = buffer;
  let next: Buffer | undefined;
  const takeNext = (): Buffer | undefined => {
    if (next === undefined) return undefined;
    current = next;
    next = undefined;
    own[fields.buffer] = current;
    return current;
  };
  // By these the socket knows how it is read, above all when it is paused; where the handle does not show its own, they also read it.
  own[fields.buffer] = buffer;
  own[fields.callback] = (count: number): boolean => {
    take(current, count);
    return !socket.isPaused();
  };
  own[fields.nextBuffer] = takeNext;
  handle.useUserBuffer(buffer);
  if (streamBinding !== undefined)
    readHandle(handle, streamBinding, (count) => {
      take(current, count);
      return next === undefined ? undefined : takeNext();
    });
  return {
    readInto(wanted) {
      next = wanted === current ? undefined : wanted;
    },
  };
}

/** Ends and errors go to Node's own reader. A socket that is paused or destroyed has stopped its handle, or taken this reader from it. */
function readHandle(handle: StreamHandle, { state, readCount }: StreamBinding, take: (count: number) => Buffer | undefined): void {
  const { onread } = handle;
  handle.onread = function (bytes) {
    const count = state[readCount] as number;
    return count > 0 ? take(count) : onread.call(this, bytes);
  };
}
