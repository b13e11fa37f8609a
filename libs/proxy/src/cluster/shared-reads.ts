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
      socket().emit('data', copyOf(bytes));
      return true;
    },
  };
}

/** A connection may change hands, as from HTTP/1 to HTTP/2. */
const sharing = new WeakSet<Socket>();

/**
 * The same for a paused socket that is there already: one that was accepted, or TLS. What it has read before comes first, once it is resumed.
 * Where Node has no means for it, 'data' comes as ever.
 */
export function shareReads(socket: Socket): void {
  if (sharing.has(socket)) return;
  sharing.add(socket);
  readDirectly(socket, landing, (bytes) => {
    socket.emit('data', copyOf(bytes.length));
  });
}

function copyOf(bytes: number): Buffer {
  const source = landing.subarray(0, bytes);
  if (bytes > LARGE_BYTES) {
    const copy = Buffer.allocUnsafeSlow(bytes);
    copy.set(source);
    return copy;
  }
  if (slabUsedBytes + bytes > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    slabUsedBytes = 0;
  }
  const copy = slab.subarray(slabUsedBytes, slabUsedBytes + bytes);
  slabUsedBytes += bytes;
  copy.set(source);
  return copy;
}
