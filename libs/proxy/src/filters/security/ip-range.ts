import { BlockList } from 'node:net';
import type { Field } from '@mizzen/matching';
import type { CidrRange } from '@mizzen/xds-api/envoy/config/core/v3/address';

/** Whether an IP address (without port; '' where there is none) is inside of a range. */
export type IpPredicate = (host: string) => boolean;

/** Compiles a CIDR range. An address of the other family is never inside; IPv4 that a dual-stack socket shows as IPv6 counts as IPv4. */
export function compileIpRange(range: CidrRange, field: Field): IpPredicate {
  const isIpv6 = range.addressPrefix.includes(':');
  const prefixLength = range.prefixLen ?? 0;
  const list = new BlockList();
  const family = isIpv6 ? 'ipv6' : 'ipv4';
  try {
    list.addSubnet(range.addressPrefix, prefixLength, family);
  } catch {
    field.reject(`"${range.addressPrefix}/${prefixLength}" is not an address range`);
  }
  return (host) => {
    const address = unmappedAddress(host);
    if (address === '' || address.includes(':') !== isIpv6) return false;
    return prefixLength === 0 || list.check(address, family);
  };
}

/** A dual-stack socket shows IPv4 peers as ::ffff:127.0.0.1. */
export function unmappedAddress(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host;
}
