import { unpackAny } from '@mizzen/xds-api';
import {
  type Cluster,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as DnsFamily,
} from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterConfigSchema as AggregateSchema } from '@mizzen/xds-api/envoy/extensions/clusters/aggregate/v3/cluster';
import {
  type ClusterConfig as DynamicConfig,
  ClusterConfigSchema as DynamicSchema,
} from '@mizzen/xds-api/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import { type AssignmentConfig, compileAssignment, NO_ENDPOINTS } from './assignment.ts';
import { compileDnsCache, type DnsCacheConfig } from './dns-cache-config.ts';

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
  | { readonly kind: 'aggregate'; readonly clusters: readonly string[] }
  | { readonly kind: 'dynamicForwardProxy'; readonly dnsCache: DnsCacheConfig };

export const DNS_LOOKUP: Readonly<Record<number, DnsLookup>> = {
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
  if (clusterDiscoveryType.case === 'clusterType') return compileCustomType(message, clusterDiscoveryType.value.typedConfig);
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

function compileCustomType(cluster: Cluster, any: Parameters<typeof unpackAny>[0]): ClusterDiscovery {
  const dynamic = within('cluster_type.typed_config', () => unpackAny(any, DynamicSchema));
  if (dynamic !== undefined) return within('cluster_type.typed_config', () => compileDynamic(cluster, dynamic));
  const typeName = any?.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
  const aggregate = within('cluster_type.typed_config', () => unpackAny(any, AggregateSchema));
  if (aggregate === undefined)
    throw new ConfigError('cluster_type', `${typeName ?? 'without typed_config'} is not supported by this proxy; use type`);
  if (aggregate.clusters.length === 0) throw new ConfigError('cluster_type.typed_config.clusters', 'must name a cluster');
  return { kind: 'aggregate', clusters: aggregate.clusters };
}

const DYNAMIC_FIELDS = { [DynamicSchema.typeName]: ['dns_cache_config', 'allow_insecure_cluster_options'] };

/** Clients name the hosts: what they name must be what answers. Source: envoy DynamicForwardProxy ClusterFactory (1.40). */
function compileDynamic(cluster: Cluster, message: DynamicConfig): ClusterDiscovery {
  refuseUnsupportedFields(DynamicSchema, message, { supported: DYNAMIC_FIELDS });
  const { clusterImplementationSpecifier: given } = message;
  if (given.case !== 'dnsCacheConfig') throw new ConfigError('dns_cache_config', 'is required');
  const any = cluster.typedExtensionProtocolOptions[HttpProtocolOptionsSchema.typeName];
  const options = any === undefined ? cluster : unpackAny(any, HttpProtocolOptionsSchema);
  const names = options?.upstreamHttpProtocolOptions;
  const isSecure = any === undefined && names === undefined ? true : names?.autoSni === true && names.autoSanValidation;
  if (!isSecure && !message.allowInsecureClusterOptions)
    throw new ConfigError('allow_insecure_cluster_options', 'must be true, or the cluster must have auto_sni and auto_san_validation');
  return { kind: 'dynamicForwardProxy', dnsCache: within('dns_cache_config', () => compileDnsCache(given.value)) };
}
