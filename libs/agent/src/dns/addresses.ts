import { isIP } from 'node:net';
import { ipv6Bytes } from '@mizzen/core';

/** The bytes of an IPv4 or IPv6 address in network order; undefined for anything else. */
export function addressBytes(address: string): Buffer | undefined {
  switch (isIP(address)) {
    case 4:
      return Buffer.from(address.split('.').map(Number));
    case 6:
      return Buffer.from(ipv6Bytes(address));
    default:
      return undefined;
  }
}

/** `4.3.2.1.in-addr.arpa`, or nibbles below `ip6.arpa`. Source: RFC 1035 3.5, RFC 3596 2.5. */
export function reverseName(address: string): string | undefined {
  const bytes = addressBytes(address);
  if (bytes === undefined) return undefined;
  if (bytes.length === 4) return `${[...bytes].reverse().join('.')}.in-addr.arpa`;
  return `${[...bytes.toString('hex')].reverse().join('.')}.ip6.arpa`;
}
