import { Socket } from 'node:net';
import { MizzenError } from '@mizzen/core';
import { type Libc, loadLibc } from './libc.ts';

// Source: linux/socket.h, sys/un.h; the layouts are those of 64-bit little-endian Linux, glibc and musl alike.
const AF_UNIX = 1;
const STREAM_CLOEXEC = 0o2000001;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MSGHDR_BYTES = 56;
const IOVEC_BYTES = 16;
const CMSGHDR_BYTES = 16;
const MAX_PATH_BYTES = 107;
const ECONNREFUSED = 111;
/** Of one message. Source: linux/net/scm.h, SCM_MAX_FD. */
export const MAX_DESCRIPTORS = 253;

/** Unix sockets with blocking calls, for what happens once in the life of a process: Node's own cannot carry descriptors to a stranger. */
export interface DescriptorChannel {
  send(text: string): void;
  /** The next message with the descriptors that came with it; '' at the end. */
  receive(): { readonly text: string; readonly descriptors: readonly number[] };
  /** The channel as a stream of Node's, for what comes later; afterwards it is used for nothing else. */
  stream(): Socket;
  close(): void;
}

/** undefined where nobody listens there. `name` is one of the abstract namespace. Throws MIZZEN_ADDRESS. */
export function connectChannel(name: string): DescriptorChannel | undefined {
  const libc = linuxLibc();
  const connect = libc.function('int connect(int, const uint8_t *, uint32_t)');
  const write = libc.function('long write(int, const uint8_t *, size_t)');
  const close = libc.function('int close(int)');
  const recvmsg = libc.function('long recvmsg(int, uint8_t *, int)');
  const socket = libc.function('int socket(int, int, int)')(AF_UNIX, STREAM_CLOEXEC, 0);
  const address = Buffer.concat([Buffer.from([AF_UNIX, 0, 0]), Buffer.from(name)]);
  if (address.length - 2 > MAX_PATH_BYTES) throw new MizzenError('MIZZEN_ADDRESS', `the name ${name} is too long for a socket`);
  if (connect(socket, address, address.length) !== 0) {
    const errno = libc.errno();
    close(socket);
    if (errno === ECONNREFUSED) return undefined;
    throw new MizzenError('MIZZEN_ADDRESS', `the process before this one cannot be reached at @${name}: error ${errno}`);
  }
  return {
    send(text) {
      const bytes = Buffer.from(text);
      if (write(socket, bytes, bytes.length) !== bytes.length)
        throw new MizzenError('MIZZEN_ADDRESS', `the process before this one does not listen: error ${libc.errno()}`);
    },
    receive() {
      const data = Buffer.alloc(64 * 1024);
      const control = Buffer.alloc(CMSGHDR_BYTES + 4 * MAX_DESCRIPTORS + 4);
      const { header, parts } = messageHeader(libc, data, control);
      const length = recvmsg(socket, header, MSG_CMSG_CLOEXEC);
      if (length < 0) throw new MizzenError('MIZZEN_ADDRESS', `the process before this one did not answer: error ${libc.errno()}`);
      return { text: data.toString('utf8', 0, length), descriptors: readDescriptors(parts.control, header.readUInt32LE(40)) };
    },
    stream: () => new Socket({ fd: socket }),
    close: () => void close(socket),
  };
}

/** Sends a message with descriptors over a connected Unix socket, all of it in one call. Throws MIZZEN_ADDRESS. */
export function sendDescriptors(socket: number, text: string, descriptors: readonly number[]): void {
  const libc = linuxLibc();
  const sendmsg = libc.function('long sendmsg(int, const uint8_t *, int)');
  const data = Buffer.from(text);
  const control = Buffer.alloc(CMSGHDR_BYTES + 4 * descriptors.length + ((4 * descriptors.length) % 8));
  control.writeUInt32LE(CMSGHDR_BYTES + 4 * descriptors.length, 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  descriptors.forEach((descriptor, index) => {
    control.writeInt32LE(descriptor, CMSGHDR_BYTES + 4 * index);
  });
  const { header, parts } = messageHeader(libc, data, descriptors.length === 0 ? Buffer.alloc(0) : control);
  if (sendmsg(socket, header, 0) !== parts.data.length)
    throw new MizzenError('MIZZEN_ADDRESS', `listeners could not be handed over: error ${libc.errno()}`);
}

const SO_PEERCRED = 17;

/** The user of the process at the other end of a Unix socket; undefined where the kernel does not say. */
export function peerUser(socket: number): number | undefined {
  const credentials = Buffer.alloc(12);
  const length = new Uint32Array([credentials.length]);
  const getsockopt = linuxLibc().function('int getsockopt(int, int, int, _Out_ uint8_t *, _Inout_ uint32_t *)');
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, credentials, length) === 0 ? credentials.readUInt32LE(4) : undefined;
}

function linuxLibc(): Libc {
  if (process.platform !== 'linux')
    throw new MizzenError('MIZZEN_ADDRESS', `listeners are handed over on Linux only, and this is ${process.platform}`);
  return loadLibc();
}

/** struct msghdr with one struct iovec. `parts` must live as long as the call: the header holds their addresses. */
function messageHeader(
  libc: Libc,
  data: Buffer,
  control: Buffer,
): { header: Buffer; parts: { iovec: Buffer; data: Buffer; control: Buffer } } {
  const iovec = Buffer.alloc(IOVEC_BYTES);
  iovec.writeBigUInt64LE(libc.address(data), 0);
  iovec.writeBigUInt64LE(BigInt(data.length), 8);
  const header = Buffer.alloc(MSGHDR_BYTES);
  header.writeBigUInt64LE(libc.address(iovec), 16);
  header.writeBigUInt64LE(1n, 24);
  if (control.length > 0) header.writeBigUInt64LE(libc.address(control), 32);
  header.writeBigUInt64LE(BigInt(control.length), 40);
  return { header, parts: { iovec, data, control } };
}

function readDescriptors(control: Buffer, length: number): readonly number[] {
  if (length < CMSGHDR_BYTES || control.readInt32LE(12) !== SCM_RIGHTS) return [];
  const count = (control.readUInt32LE(0) - CMSGHDR_BYTES) / 4;
  return Array.from({ length: count }, (_, index) => control.readInt32LE(CMSGHDR_BYTES + 4 * index));
}
