import type { OnReadOpts, Socket } from 'node:net';
import { readDirectly } from '../system/direct-reads.ts';

/** As much as libuv reads at once. */
const READ_BYTES = 64 * 1024;
const SLAB_BYTES = 64 * 1024;
/** What is larger than this gets memory of its own, so that one chunk that is kept does not keep a slab. */
const LARGE_BYTES = 8 * 1024;

// Reads happen one at a time and are copied before the next, so all sockets read into the same place.
const landing = Buffer.allocUnsafeSlow(READ_BYTES);
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let slabUsedBytes = 0;

/**
 * For `net.connect`'s `onread`: what arrives is emitted as 'data' like on any socket, in memory that belongs to the listener. Node itself
 * allocates 64 KiB for every read and gives back what was not filled, which for small messages costs more than the read.
 * Unlike there, nothing is buffered while the socket is paused: it is not read then.
 */
export function sharedReads(socket: () => Socket): OnReadOpts {
  return {
    buffer: landing,
    callback: (bytes) => {
      socket().emit('data', copyOf(landing, bytes));
      return true;
    },
  };
}

/** Who takes the reads of a socket; undefined: whoever listens to 'data'. A connection may change hands, as from HTTP/1 to HTTP/2. */
interface Reader {
  take: ((bytes: Buffer) => void) | undefined;
}

const readers = new WeakMap<Socket, Reader>();

/**
 * The same for a socket that is there already: one that was accepted, or TLS, and for whoever has one now. `take` is called in the place of
 * 'data', with bytes that the next read overwrites: what of them stays goes through {@link kept}. What was read before comes as 'data', once
 * the socket is resumed, and so does everything where Node has no means for it: whoever gives `take` listens all the same.
 */
export function shareReads(socket: Socket, take?: (bytes: Buffer) => void): void {
  const known = readers.get(socket);
  if (known !== undefined) {
    known.take = take;
    return;
  }
  const reader: Reader = { take };
  readers.set(socket, reader);
  readDirectly(socket, landing, (source, bytes) => {
    if (reader.take === undefined) socket.emit('data', copyOf(source, bytes));
    else reader.take(source.subarray(0, bytes));
  });
}

/** The bytes in memory of their own, where they stand in the one that all sockets share. */
export function kept(bytes: Buffer): Buffer {
  return bytes.buffer === landing.buffer ? copyOf(bytes, bytes.length) : bytes;
}

function copyOf(source: Buffer, bytes: number): Buffer {
  if (bytes > LARGE_BYTES) {
    const copy = Buffer.allocUnsafeSlow(bytes);
    source.copy(copy, 0, 0, bytes);
    return copy;
  }
  if (slabUsedBytes + bytes > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    slabUsedBytes = 0;
  }
  const copy = slab.subarray(slabUsedBytes, slabUsedBytes + bytes);
  source.copy(slab, slabUsedBytes, 0, bytes);
  slabUsedBytes += bytes;
  return copy;
}
