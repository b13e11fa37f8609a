import type { JsonObject } from '@bufbuild/protobuf';
import type { Random } from '@mizzen/core';
import { xxHash64 } from '@mizzen/matching';
import type { Metadata } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type TcpProxy,
  TcpProxy_TcpAccessLogOptionsSchema,
  TcpProxy_WeightedCluster_ClusterWeightSchema,
  TcpProxy_WeightedClusterSchema,
  TcpProxySchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { HashPolicySchema } from '@mizzen/xds-api/envoy/type/v3/hash_policy';
import { ConfigError, within } from '../config/config-error.ts';
import { FILTER_STATE_KEYS } from '../config/filter-state.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import type { DownstreamConnection } from '../contract.ts';
import { compileTunnel, type TunnelHead } from './tunnel-config.ts';

/** Where a connection goes: a cluster, and which of its endpoints. */
export interface TcpRoute {
  readonly clusterName: string;
  /** `envoy.lb` metadata that endpoints must carry, for clusters with subsets. */
  readonly metadataMatch: JsonObject | undefined;
}

export interface TcpProxyConfig {
  readonly statPrefix: string;
  chooseRoute(connection: DownstreamConnection): TcpRoute;
  /** undefined without a hash policy, and for connections that it has nothing to say of. */
  hash(connection: DownstreamConnection): bigint | undefined;
  /** Without bytes either way; 0 is off. Envoy's default is an hour. */
  readonly idleTimeoutMs: number;
  /** 0 is off. */
  readonly maxDurationMs: number;
  readonly maxConnectAttempts: number;
  /** undefined: connections go to the endpoint as they are. */
  readonly tunnelHead: TunnelHead | undefined;
  readonly log: {
    /** Also log every so often while the connection lives; 0 is off. */
    readonly intervalMs: number;
    /** Also log once the upstream is connected. */
    readonly onConnected: boolean;
  };
}

const SUPPORTED = {
  [TcpProxySchema.typeName]: [
    'stat_prefix',
    'cluster',
    'weighted_clusters',
    'metadata_match',
    'idle_timeout',
    'downstream_idle_timeout',
    'upstream_idle_timeout',
    'access_log',
    'access_log_flush_interval',
    'flush_access_log_on_connected',
    'access_log_options',
    'max_connect_attempts',
    'max_downstream_connection_duration',
    'hash_policy',
    'tunneling_config',
  ],
  [TcpProxy_WeightedClusterSchema.typeName]: ['clusters'],
  [TcpProxy_WeightedCluster_ClusterWeightSchema.typeName]: ['name', 'weight', 'metadata_match'],
  [TcpProxy_TcpAccessLogOptionsSchema.typeName]: ['access_log_flush_interval', 'flush_access_log_on_connected'],
  [HashPolicySchema.typeName]: ['source_ip'],
};

const HOUR_MS = 3_600_000;
const SUBSET_NAMESPACE = 'envoy.lb';

/** Throws ConfigError. Source: envoy docs, TCP proxy (1.40). */
export function compileTcpProxy(message: TcpProxy, random: Random): TcpProxyConfig {
  refuseUnsupportedFields(TcpProxySchema, message, { supported: SUPPORTED });
  if (message.statPrefix === '') throw new ConfigError('stat_prefix', 'is required');
  if (message.maxConnectAttempts === 0) throw new ConfigError('max_connect_attempts', 'must be at least 1');
  const maxDurationMs = durationMs(message.maxDownstreamConnectionDuration, 0);
  if (message.maxDownstreamConnectionDuration !== undefined && maxDurationMs < 1)
    throw new ConfigError('max_downstream_connection_duration', 'must be at least 1 ms');
  return {
    statPrefix: message.statPrefix,
    chooseRoute: compileRoutes(message, random),
    hash: message.hashPolicy.length === 0 ? () => undefined : hashOfSource,
    idleTimeoutMs: idleTimeoutOf(message),
    maxDurationMs,
    maxConnectAttempts: message.maxConnectAttempts ?? 1,
    tunnelHead: compileTunnel(message.tunnelingConfig),
    log: compileLogTimes(message),
  };
}

/** Every byte of one side is on its way to the other: what is idle on one is on both, and the shortest of the timeouts ends it. */
function idleTimeoutOf(message: TcpProxy): number {
  const all = [
    durationMs(message.idleTimeout, HOUR_MS),
    durationMs(message.downstreamIdleTimeout, 0),
    durationMs(message.upstreamIdleTimeout, 0),
  ].filter((timeoutMs) => timeoutMs > 0);
  return all.length === 0 ? 0 : Math.min(...all);
}

function compileLogTimes(message: TcpProxy): TcpProxyConfig['log'] {
  const options = message.accessLogOptions;
  const interval = options?.accessLogFlushInterval ?? message.accessLogFlushInterval;
  const intervalMs = durationMs(interval, 0);
  if (interval !== undefined && intervalMs < 1) throw new ConfigError('access_log_flush_interval', 'must be at least 1 ms');
  return { intervalMs, onConnected: options?.flushAccessLogOnConnected || message.flushAccessLogOnConnected };
}

// The port is another one for each connection. Source: envoy Network::HashPolicyImpl (1.40).
function hashOfSource({ remoteAddress }: DownstreamConnection): bigint | undefined {
  return remoteAddress.kind === 'ip' ? xxHash64(remoteAddress.host) : undefined;
}

function compileRoutes(message: TcpProxy, random: Random): TcpProxyConfig['chooseRoute'] {
  const ofAll = metadataOf(message.metadataMatch, 'metadata_match');
  const choose = compileClusterChoice(message, { ofAll, random });
  return ({ filterState }) => {
    const clusterName = filterState?.clusterName ?? filterState?.objects?.get(FILTER_STATE_KEYS.tcpProxyCluster)?.value;
    return clusterName === undefined ? choose() : { clusterName, metadataMatch: ofAll };
  };
}

function compileClusterChoice(
  message: TcpProxy,
  { ofAll, random }: { readonly ofAll: JsonObject | undefined; readonly random: Random },
): () => TcpRoute {
  const specifier = message.clusterSpecifier;
  if (specifier.case === 'cluster') {
    const route = { clusterName: specifier.value, metadataMatch: ofAll };
    return () => route;
  }
  if (specifier.case !== 'weightedClusters') throw new ConfigError('cluster_specifier', 'needs cluster or weighted_clusters');
  let total = 0;
  const routes = specifier.value.clusters.map(({ name, weight, metadataMatch }, index) => {
    const path = `weighted_clusters.clusters[${index}]`;
    if (weight === 0) throw new ConfigError(`${path}.weight`, 'must be at least 1');
    total += weight;
    const own = within(path, () => metadataOf(metadataMatch, 'metadata_match'));
    return { below: total, route: { clusterName: name, metadataMatch: own === undefined ? ofAll : { ...ofAll, ...own } } };
  });
  const last = routes.at(-1)?.route;
  if (last === undefined) throw new ConfigError('weighted_clusters.clusters', 'needs a cluster');
  return () => {
    const at = random() * total;
    return routes.find(({ below }) => at < below)?.route ?? last;
  };
}

// Other namespaces mean nothing to load balancers, and Envoy passes over them as well.
function metadataOf(metadata: Metadata | undefined, path: string): JsonObject | undefined {
  const known = metadata?.filterMetadata[SUBSET_NAMESPACE];
  if (metadata !== undefined && Object.keys(metadata.typedFilterMetadata).length > 0)
    throw new ConfigError(`${path}.typed_filter_metadata`, 'is not supported by this proxy; use filter_metadata');
  return known;
}
