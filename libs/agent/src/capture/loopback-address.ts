import { readFileSync } from 'node:fs';
import { MizzenError } from '@mizzen/core';

const SELF_ADDRESS = '00000000000000000000000000000006';
// Source: linux/if_inet6.h, linux/sockios.h; struct in6_ifreq of linux/ipv6.h is an address, its prefix length and an interface's index.
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SIOCSIFADDR = 0x8916;
const PREFIX_LENGTH = 128;
const EEXIST = 17;

/**
 * Gives `lo` the address ::6, from which the proxy calls its workload: of IPv6 only ::1 is there, where IPv4 has all of 127.0.0.0/8.
 * The same as `ip -6 addr add ::6/128 dev lo`. Throws MIZZEN_ADDRESS.
 */
export async function addSelfAddress(): Promise<void> {
  if (readFileSync('/proc/net/if_inet6', 'utf8').includes(SELF_ADDRESS)) return;
  const { loadLibc } = await import('@mizzen/proxy/libc');
  const libc = loadLibc();
  const socket = libc.function('int socket(int, int, int)');
  const ioctl = libc.function('int ioctl(int, unsigned long, const uint8_t *)');
  const close = libc.function('int close(int)');
  const request = Buffer.alloc(24);
  request.write(SELF_ADDRESS, 'hex');
  request.writeUInt32LE(PREFIX_LENGTH, 16);
  request.writeInt32LE(Number(readFileSync('/sys/class/net/lo/ifindex', 'utf8')), 20);
  const descriptor = socket(AF_INET6, SOCK_DGRAM, 0);
  const status = ioctl(descriptor, SIOCSIFADDR, request);
  const errno = libc.errno();
  close(descriptor);
  if (status !== 0 && errno !== EEXIST)
    throw new MizzenError('MIZZEN_ADDRESS', `the address ::6 cannot be added to lo (errno ${errno}); --ipv6 off leaves IPv6 alone`);
}
