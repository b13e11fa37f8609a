/** All chains of ours begin so: what cleaning up looks for. */
export const CHAIN_PREFIX = 'ISTIO_';

export type IpFamily = 'ipv4' | 'ipv6';
export type Table = 'nat' | 'raw' | 'mangle';

/** One rule: `-A <chain> <match>` in a table. */
export interface Rule {
  readonly table: Table;
  readonly chain: string;
  readonly match: string;
}

export const CHAIN = {
  inbound: 'ISTIO_INBOUND',
  inboundRedirect: 'ISTIO_IN_REDIRECT',
  output: 'ISTIO_OUTPUT',
  outputDns: 'ISTIO_OUTPUT_DNS',
  redirect: 'ISTIO_REDIRECT',
  drop: 'ISTIO_DROP',
} as const;

export function rule(table: Table, chain: string, match: string): Rule {
  return { table, chain, match };
}

export function ofFamily(addresses: readonly string[], family: IpFamily): readonly string[] {
  return addresses.filter((address) => address.includes(':') === (family === 'ipv6'));
}
