import type { Socket } from 'node:net';

/** What Node's own streams give a handle with a write, and get back when it is done. May be used again for what was written at once. */
export interface WriteRequest {
  handle: StreamHandle | undefined;
  buffer: Buffer | undefined;
  /** Called on the request once a write that had to wait is over; `status` is 0, or libuv's error. */
  oncomplete: (this: WriteRequest, status: number) => void;
}

/** The parts of a socket's handle below Node's streams. Source: node src/stream_base.cc, lib/internal/stream_base_commons.js (24). */
export interface StreamHandle {
  /** Called for every read; the count or error is in {@link StreamBinding.state}. A buffer that is returned takes the next read. */
  onread: (this: StreamHandle, bytes: unknown) => Buffer | undefined;
  useUserBuffer(buffer: Buffer): void;
  /** 0, or libuv's error. */
  writeLatin1String(request: WriteRequest, text: string): number;
  /** The same; of bytes that have to wait, the request is to keep what is called `buffer`. */
  writeBuffer(request: WriteRequest, bytes: Buffer): number;
}

export interface StreamBinding {
  readonly WriteRequest: new () => WriteRequest;
  /** What the last read or write of any handle came to. */
  readonly state: Int32Array;
  /** Places in `state`. */
  readonly readCount: number;
  readonly wasAsync: number;
}

/** undefined where this version of Node does not show them; then its streams do as well, at a higher price. */
export const streamBinding: StreamBinding | undefined = findBinding();

function findBinding(): StreamBinding | undefined {
  const { binding } = process as unknown as { readonly binding?: (name: string) => Readonly<Record<string, unknown>> };
  if (binding === undefined) return undefined;
  try {
    const { WriteWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = binding.call(process, 'stream_wrap');
    const isKnown = typeof WriteWrap === 'function' && ArrayBuffer.isView(streamBaseState);
    if (!isKnown || typeof kReadBytesOrError !== 'number' || typeof kLastWriteWasAsync !== 'number') return undefined;
    return {
      WriteRequest: WriteWrap as new () => WriteRequest,
      state: streamBaseState as Int32Array,
      readCount: kReadBytesOrError,
      wasAsync: kLastWriteWasAsync,
    };
  } catch {
    return undefined;
  }
}

/** undefined where the socket is none of the kernel's, or is closed. */
export function streamHandle(socket: Socket): StreamHandle | undefined {
  const handle = (socket as unknown as { readonly _handle?: Partial<StreamHandle> | null })._handle;
  return handle?.useUserBuffer === undefined || handle.writeLatin1String === undefined ? undefined : (handle as StreamHandle);
}
