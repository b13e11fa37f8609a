import { BlockList } from 'node:net';
import type { CidrRange } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { type FilterChainMatch, FilterChainMatch_ConnectionSourceType } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { Field, type FieldRejection, refuseFields } from './field.ts';

/** What is known of a connection when its filter chain is chosen. */
export interface ConnectionView {
  readonly destinationAddress: string;
  readonly destinationPort: number;
  readonly sourceAddress: string;
  readonly sourcePort: number;
  /** The socket's own peer, where `sourceAddress` came by the PROXY protocol; absent where both are the same. */
  readonly directSourceAddress?: string;
  /** From the TLS inspector; '' without. */
  readonly serverName: string;
  /** `tls` or `raw_buffer`. */
  readonly transportProtocol: string;
  readonly applicationProtocols: readonly string[];
}

export interface FilterChainTable<T> {
  /** The one chain that takes the connection; undefined: the default filter chain, or none. */
  find(connection: ConnectionView): T | undefined;
}

interface Criteria<T> {
  readonly chain: T;
  readonly destinationPort: number | undefined;
  readonly destination: readonly Range[];
  readonly serverNames: readonly string[];
  readonly transportProtocol: string;
  readonly applicationProtocols: readonly string[];
  readonly directSource: readonly Range[];
  readonly sourceType: FilterChainMatch_ConnectionSourceType;
  readonly source: readonly Range[];
  readonly sourcePorts: readonly number[];
}

interface Range {
  readonly prefixLength: number;
  contains(address: string): boolean;
}

/**
 * Envoy's order: destination port, destination address, server name, transport protocol, application protocols, directly connected
 * source, source type, source address, source port. At each step only the chains with the most specific match stay; those that say
 * nothing are the least specific, and there is no way back to them once another matched.
 * Source: Envoy, FilterChainMatch (1.40).
 */
export function compileFilterChainMatch<T>(
  chains: readonly { readonly match: FilterChainMatch | undefined; readonly chain: T }[],
  at: Field = new Field('', []),
): { readonly table: FilterChainTable<T> | undefined; readonly rejections: readonly FieldRejection[] } {
  const before = at.rejections.length;
  const criteria = chains.map(({ match, chain }, index) =>
    compileCriteria(match, chain, at.child('filter_chains', index).child('filter_chain_match')),
  );
  refuseEqualMatches(criteria, at);
  if (at.rejections.length > before) return { table: undefined, rejections: at.rejections };
  // Nearly every listener of a gateway and of tests has one chain that takes all.
  const only = criteria.length === 1 && isUnconditional(criteria[0] as Criteria<T>) ? (criteria[0] as Criteria<T>).chain : undefined;
  if (only !== undefined) return { table: { find: () => only }, rejections: [] };
  // A virtual inbound listener has some chains for each port of the workload: only those of one port are looked at.
  const byPort = new Map<number, readonly Criteria<T>[]>();
  for (const { destinationPort: port } of criteria)
    if (port !== undefined && !byPort.has(port))
      byPort.set(
        port,
        criteria.filter(({ destinationPort }) => destinationPort === port),
      );
  const ofAnyPort = criteria.filter(({ destinationPort }) => destinationPort === undefined);
  return {
    table: { find: (connection) => findChain(byPort.get(connection.destinationPort) ?? ofAnyPort, connection) },
    rejections: [],
  };
}

function compileCriteria<T>(match: FilterChainMatch | undefined, chain: T, field: Field): Criteria<T> {
  if (match !== undefined) refuseFields(field, match, ['addressSuffix', 'suffixLen']);
  const serverNames = (match?.serverNames ?? []).map((name) => name.toLowerCase());
  serverNames.forEach((name, index) => {
    if (name.includes('*') && !/^\*(\.[^*]+)?$/.test(name))
      field.child('server_names', index).reject(`"${name}": a star may only stand for the first labels, as in *.example.com`);
  });
  return {
    chain,
    destinationPort: match?.destinationPort,
    destination: compileRanges(match?.prefixRanges ?? [], field.child('prefix_ranges')),
    serverNames: serverNames.includes('*') ? [] : serverNames,
    transportProtocol: match?.transportProtocol ?? '',
    applicationProtocols: match?.applicationProtocols ?? [],
    directSource: compileRanges(match?.directSourcePrefixRanges ?? [], field.child('direct_source_prefix_ranges')),
    sourceType: match?.sourceType ?? FilterChainMatch_ConnectionSourceType.ANY,
    source: compileRanges(match?.sourcePrefixRanges ?? [], field.child('source_prefix_ranges')),
    sourcePorts: match?.sourcePorts ?? [],
  };
}

function compileRanges(ranges: readonly CidrRange[], field: Field): Range[] {
  return ranges.map((range, index) => {
    const isIpv6 = range.addressPrefix.includes(':');
    const prefixLength = range.prefixLen ?? 0;
    const list = new BlockList();
    try {
      list.addSubnet(range.addressPrefix, prefixLength, isIpv6 ? 'ipv6' : 'ipv4');
    } catch {
      field.at(index).reject(`"${range.addressPrefix}/${prefixLength}" is not an address range`);
    }
    return {
      prefixLength,
      // A whole family is the usual range, and asking the list crosses into C++.
      contains: (address) =>
        address !== '' && address.includes(':') === isIpv6 && (prefixLength === 0 || list.check(address, isIpv6 ? 'ipv6' : 'ipv4')),
    };
  });
}

function isUnconditional<T>(criteria: Criteria<T>): boolean {
  return (
    criteria.destinationPort === undefined &&
    criteria.sourceType === FilterChainMatch_ConnectionSourceType.ANY &&
    criteria.transportProtocol === '' &&
    [
      criteria.destination,
      criteria.serverNames,
      criteria.applicationProtocols,
      criteria.directSource,
      criteria.source,
      criteria.sourcePorts,
    ].every((list) => list.length === 0)
  );
}

function refuseEqualMatches<T>(criteria: readonly Criteria<T>[], at: Field): void {
  const seen = new Map<string, number>();
  criteria.forEach(({ chain: _, ...rest }, index) => {
    const ranges = (list: readonly Range[]): number[] => list.map((range) => range.prefixLength);
    if (rest.destination.length + rest.source.length + rest.directSource.length > 0) return;
    const key = JSON.stringify({ ...rest, destination: ranges(rest.destination), source: [], directSource: [] });
    const other = seen.get(key);
    if (other === undefined) seen.set(key, index);
    else
      at.child('filter_chains', index)
        .child('filter_chain_match')
        .reject(`is the same as that of filter chain ${other}; only one of them could ever be chosen`);
  });
}

const NO_MATCH = -1;

function findChain<T>(criteria: readonly Criteria<T>[], connection: ConnectionView): T | undefined {
  let left = criteria;
  for (const specificity of STEPS) {
    let best = NO_MATCH;
    let kept: Criteria<T>[] = [];
    for (const candidate of left) {
      const value = specificity(candidate, connection);
      if (value === NO_MATCH || value < best) continue;
      if (value > best) {
        best = value;
        kept = [];
      }
      kept.push(candidate);
    }
    if (kept.length === 0) return undefined;
    left = kept;
  }
  return left[0]?.chain;
}

/** After the destination port: how specific a chain's match is at one step: 0 says nothing, higher is more specific, NO_MATCH excludes it. */
const STEPS: readonly (<T>(criteria: Criteria<T>, connection: ConnectionView) => number)[] = [
  ({ destination }, connection) => longestRange(destination, connection.destinationAddress),
  ({ serverNames }, connection) => serverNameSpecificity(serverNames, connection.serverName.toLowerCase()),
  ({ transportProtocol }, connection) => (transportProtocol === '' ? 0 : transportProtocol === connection.transportProtocol ? 1 : NO_MATCH),
  ({ applicationProtocols }, connection) => {
    if (applicationProtocols.length === 0) return 0;
    // The client's first choice that some chain has wins.
    const position = connection.applicationProtocols.findIndex((protocol) => applicationProtocols.includes(protocol));
    return position < 0 ? NO_MATCH : 1000 - position;
  },
  ({ directSource }, connection) => longestRange(directSource, connection.directSourceAddress ?? connection.sourceAddress),
  ({ sourceType }, connection) => {
    if (sourceType === FilterChainMatch_ConnectionSourceType.ANY) return 0;
    const isLocal = isLoopback(connection.sourceAddress) || connection.sourceAddress === connection.destinationAddress;
    return isLocal === (sourceType === FilterChainMatch_ConnectionSourceType.SAME_IP_OR_LOOPBACK) ? 1 : NO_MATCH;
  },
  ({ source }, connection) => longestRange(source, connection.sourceAddress),
  ({ sourcePorts }, connection) => (sourcePorts.length === 0 ? 0 : sourcePorts.includes(connection.sourcePort) ? 1 : NO_MATCH),
];

function longestRange(ranges: readonly Range[], address: string): number {
  if (ranges.length === 0) return 0;
  let longest = NO_MATCH;
  // One more than the length, so that 0.0.0.0/0 is still more specific than nothing.
  for (const range of ranges) if (range.prefixLength + 1 > longest && range.contains(address)) longest = range.prefixLength + 1;
  return longest;
}

function serverNameSpecificity(names: readonly string[], serverName: string): number {
  if (names.length === 0) return 0;
  let best = NO_MATCH;
  for (const name of names) {
    if (name === serverName) return Number.MAX_SAFE_INTEGER;
    if (name.startsWith('*.') && serverName.endsWith(name.slice(1)) && serverName.length > name.length - 1 && name.length > best)
      best = name.length;
  }
  return best;
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.') || address.startsWith('::ffff:127.');
}
