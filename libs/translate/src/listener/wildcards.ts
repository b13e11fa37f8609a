import type { IpFamily } from '@mizzen/model';
import type { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { addressOf } from '../endpoint/load-assignment.ts';
import type { Init } from '../messages.ts';

/** Every address of the machine. */
export function wildcardOf(ipFamily: IpFamily): string {
  return ipFamily === 'ipv6' ? '::' : '0.0.0.0';
}

/** A listener at every address of the families that the proxy has. */
export function wildcardAddresses(ipFamily: IpFamily, port: number): Pick<Init<typeof ListenerSchema>, 'address' | 'additionalAddresses'> {
  return {
    address: addressOf(wildcardOf(ipFamily), port),
    ...(ipFamily === 'dual' && { additionalAddresses: [{ address: addressOf('::', port) }] }),
  };
}
