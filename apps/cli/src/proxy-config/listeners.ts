import { at, listAt, textAt } from './json.ts';
import type { Section } from './section.ts';

/** `proxy-config listeners`: a row for each filter chain. */
export const listenerSection: Section = {
  header: ['ADDRESSES', 'PORT', 'MATCH', 'DESTINATION'],
  select: ({ dump }, filter) =>
    dump.listeners.filter(({ view }) => {
      const { address, port } = addressOf(view);
      if (filter.address !== undefined && address !== filter.address) return false;
      if (filter.name !== undefined && textAt(view, 'name') !== filter.name) return false;
      return filter.port === undefined || port === String(filter.port);
    }),
  rows: ({ view }) => {
    const { address, port } = addressOf(view);
    const fallback = at(view, 'default_filter_chain');
    const chains = [...listAt(view, 'filter_chains'), ...(fallback === undefined ? [] : [fallback])];
    return chains.map((chain) => [address, port, describeMatch(chain), describeDestination(chain)]);
  },
};

function addressOf(listener: unknown): { address: string; port: string } {
  const socket = at(listener, 'address', 'socket_address');
  if (socket !== undefined) return { address: textAt(socket, 'address'), port: textAt(socket, 'port_value') };
  const pipe = textAt(listener, 'address', 'pipe', 'path');
  if (pipe !== '') return { address: `unix://${pipe}`, port: '-' };
  return { address: at(listener, 'internal_listener') === undefined ? '-' : `internal ${textAt(listener, 'name')}`, port: '-' };
}

function describeMatch(chain: unknown): string {
  const match = at(chain, 'filter_chain_match');
  const parts = [
    named('SNI', listAt(match, 'server_names').join(',')),
    named('Trans', textAt(match, 'transport_protocol')),
    named('App', listAt(match, 'application_protocols').join(',')),
    named(
      'Addr',
      listAt(match, 'prefix_ranges')
        .map((range) => textAt(range, 'address_prefix'))
        .join(','),
    ),
    named('Port', textAt(match, 'destination_port')),
  ].filter((part) => part !== '');
  return parts.length === 0 ? 'ALL' : parts.join('; ');
}

function named(name: string, value: string): string {
  return value === '' ? '' : `${name}: ${value}`;
}

function describeDestination(chain: unknown): string {
  for (const filter of listAt(chain, 'filters')) {
    const config = at(filter, 'typed_config');
    if (at(config, 'rds') !== undefined) return `Route: ${textAt(config, 'rds', 'route_config_name')}`;
    if (at(config, 'route_config') !== undefined) return `Inline Route: ${textAt(config, 'route_config', 'name')}`;
    if (textAt(config, 'cluster') !== '') return `Cluster: ${textAt(config, 'cluster')}`;
    const weighted = listAt(config, 'weighted_clusters', 'clusters');
    if (weighted.length > 0)
      return `Cluster: ${weighted.map((cluster) => `${textAt(cluster, 'name')} ${textAt(cluster, 'weight')}`).join(', ')}`;
  }
  return 'Non-HTTP/Non-TCP';
}
