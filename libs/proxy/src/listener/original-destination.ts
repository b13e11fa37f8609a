import type { Socket } from 'node:net';
import { ipv6Text } from '@mizzen/core';
import { ConfigError, within } from '../config/config-error.ts';
import type { SocketAddress } from '../contract.ts';
import { type LibcFunction, loadLibc } from '../system/libc.ts';

export type IpAddress = Extract<SocketAddress, { kind: 'ip' }>;

/** Where a connection went before iptables redirected it; undefined for one that the kernel has no record of. */
export type OriginalDestinationReader = (socket: Socket) => IpAddress | undefined;

// Source: linux/in.h, linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h.
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SO_ORIGINAL_DST = 80;
const SOCKADDR_IN6_BYTES = 28;

let reader: OriginalDestinationReader | undefined;

/**
 * The reader of this process: one getsockopt, about 1 µs a connection. Throws ConfigError where the platform or koffi is missing, so that
 * a listener that needs it is refused and does not send everything to itself.
 */
export function originalDestinationReader(): OriginalDestinationReader {
  if (process.platform !== 'linux')
    throw new ConfigError('', `the original destination of a connection is known on Linux only, and this is ${process.platform}`);
  reader ??= makeReader(within('', () => loadLibc().function('int getsockopt(int, int, int, _Out_ uint8_t *, _Inout_ uint32_t *)')));
  return reader;
}

function makeReader(getsockopt: LibcFunction): OriginalDestinationReader {
  const address = Buffer.alloc(SOCKADDR_IN6_BYTES);
  const length = new Uint32Array(1);
  return (socket) => {
    const fd = (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd;
    const local = socket.localAddress;
    if (fd === undefined || fd < 0 || local === undefined) return undefined;
    // A dual-stack socket shows IPv4 as ::ffff:a.b.c.d, and the kernel's record of it is one of IPv4.
    const isIpv6 = local.includes(':') && !local.startsWith('::ffff:');
    length[0] = SOCKADDR_IN6_BYTES;
    if (getsockopt(fd, isIpv6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, address, length) !== 0) return undefined;
    return { kind: 'ip', host: isIpv6 ? ipv6Text(address, 8) : ipv4Text(address, 4), port: address.readUInt16BE(2) };
  };
}

function ipv4Text(bytes: Buffer, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}
