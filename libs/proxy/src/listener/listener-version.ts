import type { FilterChainTable } from '@mizzen/matching';
import type { DownstreamConnection } from '../contract.ts';
import type { LiveFilterChain } from './filter-chain.ts';
import type { ListenerConfig } from './listener-config.ts';
import type { Inspected } from './listener-filters.ts';

/** What a listener's definition compiles to: swapped whole, make before break. */
export interface ListenerVersion {
  readonly config: ListenerConfig;
  readonly table: FilterChainTable<LiveFilterChain>;
  readonly chains: readonly LiveFilterChain[];
  readonly defaultChain: LiveFilterChain | undefined;
  /** Told of each connection that none of them takes. */
  readonly onUnmatched?: ((connection: DownstreamConnection) => void) | undefined;
}

/** The filter chain that takes the connection; undefined where none does. */
export function findChain(
  version: ListenerVersion,
  {
    localAddress: destination,
    remoteAddress: source,
    directRemoteAddress: direct,
  }: Pick<DownstreamConnection, 'localAddress' | 'remoteAddress' | 'directRemoteAddress'>,
  inspected: Inspected,
): LiveFilterChain | undefined {
  const view = {
    destinationAddress: destination.kind === 'ip' ? destination.host : '',
    destinationPort: destination.kind === 'ip' ? destination.port : 0,
    sourceAddress: source.kind === 'ip' ? source.host : '',
    sourcePort: source.kind === 'ip' ? source.port : 0,
    ...(direct?.kind === 'ip' ? { directSourceAddress: direct.host } : undefined),
    serverName: inspected.serverName,
    transportProtocol: inspected.transportProtocol,
    applicationProtocols: inspected.applicationProtocols,
  };
  return version.table.find(view) ?? version.defaultChain;
}
