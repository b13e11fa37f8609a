import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { MizzenError } from '@mizzen/core';

/**
 * The addresses of this network namespace that others can reach, IPv4 first: what a workload is announced by that nobody told its address.
 * Throws MIZZEN_ADDRESS where there is none. Source: istio pkg/util/network GetPrivateIPs (1.32).
 */
export function detectAddresses(interfaces = networkInterfaces()): readonly [string, ...string[]] {
  const all = Object.values(interfaces).flatMap((found) => found ?? []);
  const reachable = all.filter((found) => !found.internal && !isLinkLocal(found));
  const [first, ...others] = [
    ...reachable.filter(({ family }) => family === 'IPv4'),
    ...reachable.filter(({ family }) => family === 'IPv6'),
  ].map(({ address }) => address);
  if (first === undefined)
    throw new MizzenError('MIZZEN_ADDRESS', 'this machine has no network interface but the loopback; give the address with --address');
  return [first, ...others];
}

function isLinkLocal({ address }: NetworkInterfaceInfo): boolean {
  return address.startsWith('169.254.') || /^fe[89ab]/i.test(address);
}
