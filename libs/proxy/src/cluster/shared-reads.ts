import type { OnReadOpts, Socket } from 'node:net';

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
