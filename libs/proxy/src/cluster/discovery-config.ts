import { unpackAny } from '@mizzen/xds-api';
import {
  type Cluster,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as DnsFamily,
} from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterConfigSchema as AggregateSchema } from '@mizzen/xds-api/envoy/extensions/clusters/aggregate/v3/cluster';
import { ConfigError, within } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';
import { type AssignmentConfig, compileAssignment, NO_ENDPOINTS } from './assignment.ts';

/** Which addresses of a name are used: only one family, one and only else the other, or both. */
export type DnsLookup = 'v4' | 'v6' | 'v6ThenV4' | 'v4ThenV6' | 'all';

export interface DnsDiscoveryConfig {
  readonly assignment: AssignmentConfig;
  /** LOGICAL_DNS: one endpoint whose addresses are tried in turn. */
  readonly isLogical: boolean;
  readonly refreshMs: number;
  /** In the place of `refreshMs` after a failure; grows while failures go on. */
  readonly failureRefresh: { readonly baseMs: number; readonly maxMs: number } | undefined;
  /** The names are asked for again when their records expire, in the place of `refreshMs`. */
  readonly respectsTtl: boolean;
  readonly lookup: DnsLookup;
}

export type ClusterDiscovery =
  | { readonly kind: 'static'; readonly assignment: AssignmentConfig }
  | ({ readonly kind: 'dns' } & DnsDiscoveryConfig)
  | { readonly kind: 'eds'; readonly serviceName: string }
  | {
      readonly kind: 'originalDestination';
      readonly headerName: string | undefined;
      readonly port: number | undefined;
      /** Where in dynamic metadata the address stands: the namespace, then the keys. */
      readonly metadataPath: readonly string[] | undefined;
    }
  | { readonly kind: 'aggregate'; readonly clusters: readonly string[] };

const DNS_LOOKUP: Readonly<Record<number, DnsLookup>> = {
  [DnsFamily.AUTO]: 'v6ThenV4',
  [DnsFamily.V4_ONLY]: 'v4',
  [DnsFamily.V6_ONLY]: 'v6',
  [DnsFamily.V4_PREFERRED]: 'v4ThenV6',
  [DnsFamily.ALL]: 'all',
};

const DEFAULT_DNS_REFRESH_MS = 5000;

/** Throws ConfigError. */
export function compileDiscovery(message: Cluster): ClusterDiscovery {
  const { clusterDiscoveryType } = message;
  if (clusterDiscoveryType.case === 'clusterType') return compileCustomType(clusterDiscoveryType.value.typedConfig);
  switch (clusterDiscoveryType.value ?? DiscoveryType.STATIC) {
    case DiscoveryType.EDS:
      return { kind: 'eds', serviceName: message.edsClusterConfig?.serviceName || message.name };
    case DiscoveryType.ORIGINAL_DST:
      return compileOriginalDestination(message);
    case DiscoveryType.STATIC:
      return { kind: 'static', assignment: compileInline(message) };
    case DiscoveryType.STRICT_DNS:
    case DiscoveryType.LOGICAL_DNS:
      return compileDns(message);
    default:
      throw new ConfigError('type', `${clusterDiscoveryType.value} is not supported by this proxy`);
  }
}

// A static cluster without endpoints is Istio's BlackHoleCluster.
function compileInline({ loadAssignment }: Cluster): AssignmentConfig {
  return loadAssignment === undefined ? NO_ENDPOINTS : within('load_assignment', () => compileAssignment(loadAssignment));
}

function compileOriginalDestination(message: Cluster): ClusterDiscovery {
  const config = message.lbConfig.case === 'originalDstLbConfig' ? message.lbConfig.value : undefined;
  const path = config?.metadataKey;
  return {
    kind: 'originalDestination',
    headerName: config?.useHttpHeader ? (config.httpHeaderName || 'x-envoy-original-dst-host').toLowerCase() : undefined,
    port: config?.upstreamPortOverride,
    metadataPath:
      path === undefined ? undefined : [path.key, ...path.path.map(({ segment }) => (segment.case === 'key' ? segment.value : ''))],
  };
}

function compileDns(message: Cluster): ClusterDiscovery {
  const assignment = compileInline(message);
  const isLogical = message.clusterDiscoveryType.value === DiscoveryType.LOGICAL_DNS;
  const endpoints = assignment.localities.reduce((count, locality) => count + locality.endpoints.length, 0);
  if (isLogical && endpoints !== 1) throw new ConfigError('load_assignment', `LOGICAL_DNS needs exactly one endpoint, not ${endpoints}`);
  const refreshMs = durationMs(message.dnsRefreshRate, DEFAULT_DNS_REFRESH_MS);
  if (message.dnsRefreshRate !== undefined && refreshMs < 1) throw new ConfigError('dns_refresh_rate', 'must be at least 1 ms');
  const failure = message.dnsFailureRefreshRate;
  const baseMs = durationMs(failure?.baseInterval, refreshMs);
  const lookup = DNS_LOOKUP[message.dnsLookupFamily];
  if (lookup === undefined) throw new ConfigError('dns_lookup_family', `${message.dnsLookupFamily} is not known`);
  return {
    kind: 'dns',
    assignment,
    isLogical,
    refreshMs,
    failureRefresh: failure === undefined ? undefined : { baseMs, maxMs: durationMs(failure.maxInterval, baseMs * 10) },
    respectsTtl: message.respectDnsTtl,
    lookup,
  };
}

function compileCustomType(any: Parameters<typeof unpackAny>[0]): ClusterDiscovery {
  const typeName = any?.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
  const aggregate = within('cluster_type.typed_config', () => unpackAny(any, AggregateSchema));
  if (aggregate === undefined)
    throw new ConfigError('cluster_type', `${typeName ?? 'without typed_config'} is not supported by this proxy; use type`);
  if (aggregate.clusters.length === 0) throw new ConfigError('cluster_type.typed_config.clusters', 'must name a cluster');
  return { kind: 'aggregate', clusters: aggregate.clusters };
}
