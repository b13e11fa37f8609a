import { isIPv4 } from 'node:net';
import { ipv6Bytes } from '@mizzen/core';
import { type Libc, loadLibc } from './libc.ts';

/** Makes TCP sockets that are bound to an address but to no port yet. */
export type BoundSockets = (localAddress: string) => number | undefined;

// Source: linux/in.h, asm-generic/socket.h, bits/socket.h.
const AF_INET = 2;
const AF_INET6 = 10;
const STREAM_NONBLOCK_CLOEXEC = 0o2004001;
const SOL_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;

let made: BoundSockets | undefined;

/**
 * Descriptors of sockets for `connect`, whose port the kernel chooses only when it knows where they go to. Node's `localAddress` binds to
 * a port first: 28,000 connections a minute exhaust them, whatever their destinations are, and each search for one that is left takes a
 * millisecond. undefined where the C library cannot be called; the function answers undefined where the address is not one of this host.
 */
export function boundSockets(): BoundSockets | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    made ??= make(loadLibc());
  } catch {
    // Slower, and as correct.
  }
  return made;
}

function make(libc: Libc): BoundSockets {
  const socket = libc.function('int socket(int, int, int)');
  const setsockopt = libc.function('int setsockopt(int, int, int, const uint8_t *, uint32_t)');
  const bind = libc.function('int bind(int, const uint8_t *, uint32_t)');
  const close = libc.function('int close(int)');
  const on = Buffer.from([1, 0, 0, 0]);
  const addresses = new Map<string, Buffer>();
  return (localAddress) => {
    const address = addresses.get(localAddress) ?? encode(localAddress);
    addresses.set(localAddress, address);
    const descriptor = socket(address.length === 16 ? AF_INET : AF_INET6, STREAM_NONBLOCK_CLOEXEC, 0);
    if (descriptor < 0) return undefined;
    setsockopt(descriptor, SOL_IP, IP_BIND_ADDRESS_NO_PORT, on, on.length);
    if (bind(descriptor, address, address.length) === 0) return descriptor;
    close(descriptor);
    return undefined;
  };
}

/** struct sockaddr_in or sockaddr_in6 with port 0. */
function encode(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from([AF_INET, 0, 0, 0, ...host.split('.').map(Number), 0, 0, 0, 0, 0, 0, 0, 0]);
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(AF_INET6, 0);
  bytes.set(ipv6Bytes(host), 8);
  return bytes;
}
