import type { Any } from '@bufbuild/protobuf/wkt';
import type { ProxyView } from '@mizzen/model';
import type { FilterSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { PluginConfigSchema as StatsConfigSchema } from '@mizzen/xds-api/stats/config';
import { policyFor } from '../cluster/traffic-policy.ts';
import { any, type Init, optionalDuration } from '../messages.ts';
import { METADATA_EXCHANGE, metadataExchange } from '../metadata-exchange.ts';
import { parseOutboundClusterName } from '../names.ts';
import type { Read } from '../route/destinations.ts';
import type { TcpTarget } from '../route/tcp-targets.ts';
import { accessLogs } from './access-log.ts';
import { type HttpRole, statsConfig } from './http-filters.ts';

export interface TcpFilterOptions {
  readonly role: HttpRole;
  readonly statPrefix: string;
  readonly targets: readonly TcpTarget[];
  /** For callers that must know what was read. */
  readonly read?: Read;
}

/** The network filters of a connection that is carried as it is. */
export function tcpFilters(view: ProxyView, options: TcpFilterOptions): Init<typeof FilterSchema>[] {
  const { targets, role, statPrefix, read = (look) => look(view.outboundScope) } = options;
  const [first, another] = targets;
  const config = any(TcpProxySchema, {
    statPrefix,
    clusterSpecifier:
      another === undefined
        ? { case: 'cluster', value: first?.cluster ?? '' }
        : { case: 'weightedClusters', value: { clusters: targets.map(({ cluster, weight }) => ({ name: cluster, weight })) } },
    accessLog: accessLogs(view.mesh),
    ...(role !== 'inbound' && connectionLimits(targets, read)),
  });
  const proxy = networkFilter('envoy.filters.network.tcp_proxy', config);
  if (view.node.client !== 'mizzen') return [proxy];
  const stats = networkFilter('istio.stats', any(StatsConfigSchema, statsConfig(role)));
  // Towards the upstream it is the cluster that does it.
  return role === 'inbound' ? [networkFilter(METADATA_EXCHANGE, metadataExchange()), stats, proxy] : [stats, proxy];
}

function networkFilter(name: string, value: Any): Init<typeof FilterSchema> {
  return { name, configType: { case: 'typedConfig', value } };
}

type TcpLimits = Pick<Init<typeof TcpProxySchema>, 'idleTimeout' | 'maxDownstreamConnectionDuration'>;

/** How long connections may idle and live, as the rule of the first target says. Source: istio networkfilter.go (1.32 dev). */
export function connectionLimits(targets: readonly TcpTarget[], read: Read): TcpLimits {
  const target = parseOutboundClusterName(targets[0]?.cluster ?? '');
  if (target === undefined) return {};
  const rule = read((scope) => scope.destinationRule(target.host));
  const subset = rule?.subsets.find(({ name }) => name === target.subset);
  const { tcp } = policyFor(rule, target.port, subset).connectionPool ?? {};
  const idleTimeout = optionalDuration(tcp?.idleTimeout);
  const maxDownstreamConnectionDuration = optionalDuration(tcp?.maxConnectionDuration);
  return { ...(idleTimeout && { idleTimeout }), ...(maxDownstreamConnectionDuration && { maxDownstreamConnectionDuration }) };
}
