import type { DestinationService } from '@mizzen/telemetry';
import { resolveTypedStruct, unpackAny } from '@mizzen/xds-api';
import {
  type Cluster,
  Cluster_CommonLbConfigSchema,
  Cluster_EdsClusterConfigSchema,
  Cluster_OriginalDstLbConfigSchema,
  ClusterSchema,
  UpstreamConnectionOptionsSchema,
} from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { BindConfigSchema, ExtraSourceAddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { UpstreamHttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/config/core/v3/protocol';
import { MetadataExchangeSchema } from '@mizzen/xds-api/envoy/tcp/metadataexchange/config/metadata_exchange';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import type { ConnectionsByRequest } from '../contract.ts';
import { exchangeProtocol } from '../tcp/metadata-exchange.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import { type AskedHealth, compileAskedHealth } from './asked-endpoints.ts';
import { type CircuitBreakerConfig, compileCircuitBreakers } from './circuit-breakers.ts';
import { type ClusterDiscovery, compileDiscovery } from './discovery-config.ts';
import { compileHealthChecks, type HealthCheckConfig, SUPPORTED_HEALTH_CHECK_FIELDS } from './health-check-config.ts';
import { type ClusterHttpOptions, compileHttpOptions } from './http-options.ts';
import { compileLoadBalancing, type LoadBalancing } from './load-balancing-config.ts';
import { compileOutlierDetection, type OutlierConfig, SUPPORTED_OUTLIER_FIELDS } from './outlier-detection-config.ts';
import { compileSourceAddress, compileTransports, type Transports } from './transports.ts';

/** A cluster's definition, compiled: what the request path needs and nothing of the message. Equal parts of clusters are one object. */
export interface ClusterConfig extends Transports {
  readonly name: string;
  readonly observabilityName: string;
  /** Its metadata by namespace, as JSON, which takes a fraction of the memory: few ask. '' without. */
  readonly metadataText: string;
  readonly service: DestinationService | undefined;
  readonly isExternal: boolean;
  readonly discovery: ClusterDiscovery;
  readonly loadBalancing: LoadBalancing;
  readonly connectTimeoutMs: number;
  readonly http: ClusterHttpOptions;
  readonly connectionsByRequest: ConnectionsByRequest | undefined;
  readonly keepAlive: KeepAlive | undefined;
  /** The local address that connections to `host` are made from; undefined leaves it to the system. */
  readonly sourceAddressFor: ((host: string) => string) | undefined;
  readonly circuitBreakers: CircuitBreakerConfig;
  readonly outlierDetection: OutlierConfig | undefined;
  readonly healthChecks: readonly HealthCheckConfig[];
  /** Endpoints that were never checked do not count among those of their priority. */
  readonly ignoresUnchecked: boolean;
  readonly closesOnHealthFailure: boolean;
  readonly closesOnHostSetChange: boolean;
  /** Endpoints that are gone are given up at once, however healthy. */
  readonly ignoresHealthOnRemoval: boolean;
  /** Of endpoints that requests ask for by their address. */
  readonly askedEndpointHealth: ReadonlySet<AskedHealth>;
  /** How long addresses of an ORIGINAL_DST cluster are kept that nobody asks for. */
  readonly cleanupMs: number;
  /** The ALPN protocol of Istio's exchange of metadata over TCP; undefined without its filter. */
  readonly metadataExchangeProtocol: string | undefined;
}

export interface KeepAlive {
  /** Silence before the first probe. */
  readonly idleMs: number;
  /** Between probes; undefined: as the system has it. */
  readonly intervalS: number | undefined;
  /** How many probes without an answer end the connection; undefined: as the system has it. */
  readonly probes: number | undefined;
}

const SUPPORTED = {
  [ClusterSchema.typeName]: [
    'name',
    'alt_stat_name',
    'type',
    'eds_cluster_config',
    'connect_timeout',
    'per_connection_buffer_limit_bytes',
    'lb_policy',
    'load_assignment',
    'max_requests_per_connection',
    'circuit_breakers',
    'common_http_protocol_options',
    'http_protocol_options',
    'typed_extension_protocol_options',
    'dns_refresh_rate',
    'dns_failure_refresh_rate',
    'respect_dns_ttl',
    'dns_lookup_family',
    'wait_for_warm_on_init',
    'outlier_detection',
    'cleanup_interval',
    'ring_hash_lb_config',
    'maglev_lb_config',
    'original_dst_lb_config',
    'least_request_lb_config',
    'round_robin_lb_config',
    'common_lb_config',
    'transport_socket',
    'transport_socket_matches',
    'metadata',
    'upstream_connection_options',
    'upstream_bind_config',
    'upstream_http_protocol_options',
    'close_connections_on_host_health_failure',
    'ignore_health_on_host_removal',
    'http2_protocol_options',
    'cluster_type',
    'lb_subset_config',
    'load_balancing_policy',
    'health_checks',
    'filters',
  ],
  [Cluster_EdsClusterConfigSchema.typeName]: ['eds_config', 'service_name'],
  [Cluster_CommonLbConfigSchema.typeName]: [
    'healthy_panic_threshold',
    'locality_weighted_lb_config',
    'zone_aware_lb_config',
    'update_merge_window',
    'close_connections_on_host_set_change',
    'ignore_new_hosts_until_first_hc',
    'consistent_hashing_lb_config',
    'override_host_status',
  ],
  [Cluster_OriginalDstLbConfigSchema.typeName]: ['use_http_header', 'http_header_name', 'upstream_port_override', 'metadata_key'],
  [BindConfigSchema.typeName]: ['source_address', 'extra_source_addresses'],
  [ExtraSourceAddressSchema.typeName]: ['address'],
  [UpstreamConnectionOptionsSchema.typeName]: ['tcp_keepalive'],
  [UpstreamHttpProtocolOptionsSchema.typeName]: ['auto_sni', 'auto_san_validation', 'override_auto_sni_header'],
  ...SUPPORTED_OUTLIER_FIELDS,
  ...SUPPORTED_HEALTH_CHECK_FIELDS,
};

// Envoy's defaults. Source: envoy docs, Cluster (1.40).
const DEFAULT_CONNECT_TIMEOUT_MS = 5000;
const DEFAULT_CLEANUP_MS = 5000;
const DEFAULT_KEEPALIVE_S = 7200;

/** Compiles a cluster. Throws ConfigError for what this proxy cannot honour. */
export function compileCluster(message: Cluster, secrets: SecretStore): ClusterConfig {
  refuseUnsupportedFields(ClusterSchema, message, { supported: SUPPORTED });
  if (message.name === '') throw new ConfigError('name', 'is required');
  const discovery = compileDiscovery(message);
  const loadBalancing = interned(compileLoadBalancing(message));
  checkPolicy(discovery, loadBalancing);
  const connectTimeoutMs = durationMs(message.connectTimeout, DEFAULT_CONNECT_TIMEOUT_MS);
  if (connectTimeoutMs <= 0) throw new ConfigError('connect_timeout', 'must be above 0');
  const http = interned(compileHttpOptions(message));
  const transports = compileTransports(message, secrets);
  return {
    name: message.name,
    observabilityName: message.altStatName === '' ? message.name : message.altStatName,
    metadataText: message.metadata === undefined ? '' : JSON.stringify(message.metadata.filterMetadata),
    service: serviceOf(message),
    isExternal: message.metadata?.filterMetadata['istio']?.['external'] === true,
    discovery,
    loadBalancing,
    connectTimeoutMs,
    http,
    connectionsByRequest: compileConnectionsByRequest(http, transports),
    keepAlive: compileKeepAlive(message),
    sourceAddressFor: compileSourceAddress(message.upstreamBindConfig),
    circuitBreakers: interned(compileCircuitBreakers(message.circuitBreakers)),
    outlierDetection: message.outlierDetection === undefined ? undefined : interned(compileOutlierDetection(message.outlierDetection)),
    healthChecks: compileHealthChecks(message.healthChecks),
    ignoresUnchecked: message.commonLbConfig?.ignoreNewHostsUntilFirstHc ?? false,
    closesOnHealthFailure: message.closeConnectionsOnHostHealthFailure,
    closesOnHostSetChange: message.commonLbConfig?.closeConnectionsOnHostSetChange ?? false,
    ignoresHealthOnRemoval: message.ignoreHealthOnHostRemoval,
    askedEndpointHealth: compileAskedHealth(message.commonLbConfig?.overrideHostStatus?.statuses),
    cleanupMs: durationMs(message.cleanupInterval, DEFAULT_CLEANUP_MS),
    metadataExchangeProtocol: compileFilters(message.filters),
    ...transports,
  };
}

function compileConnectionsByRequest({ serverNames }: ClusterHttpOptions, transports: Transports): ConnectionsByRequest | undefined {
  const all = [transports.defaultTransport, ...transports.transportMatches];
  const sendsProxyHeader = all.some(({ proxyHeader }) => proxyHeader !== undefined);
  if (serverNames === undefined) return sendsProxyHeader ? PROXY_HEADERS_ONLY : undefined;
  return { ...serverNames, sendsProxyHeader };
}

const PROXY_HEADERS_ONLY: ConnectionsByRequest = { setsServerName: false, verifiesHost: false, hostHeader: '', sendsProxyHeader: true };

/** Of filters of upstream connections there is one. */
function compileFilters(filters: Cluster['filters']): string | undefined {
  let protocol: string | undefined;
  for (const [index, { name, typedConfig, configDiscovery }] of filters.entries()) {
    const path = `filters[${index}]`;
    if (configDiscovery !== undefined)
      throw new ConfigError(`${path}.config_discovery`, 'is not supported by this proxy; use typed_config');
    const exchange = within(`${path}.typed_config`, () =>
      unpackAny(typedConfig && resolveTypedStruct(typedConfig), MetadataExchangeSchema),
    );
    if (exchange === undefined) throw new ConfigError(path, `${name} is not a filter of upstream connections that this proxy has`);
    protocol = within(`${path}.typed_config`, () => exchangeProtocol(exchange));
  }
  return protocol;
}

/** Source: envoy ClusterImplBase, "cluster: LB policy … is not valid for Cluster type" (1.40). */
function checkPolicy(discovery: ClusterDiscovery, { policy, subsets }: LoadBalancing): void {
  const bringsItsOwn = ['originalDestination', 'aggregate', 'dynamicForwardProxy'].includes(discovery.kind);
  if (policy.kind === 'clusterProvided' && !bringsItsOwn)
    throw new ConfigError(
      'lb_policy',
      'CLUSTER_PROVIDED needs a cluster that brings its own load balancing: ORIGINAL_DST, aggregate or dynamic forward proxy',
    );
  if (policy.kind !== 'clusterProvided' && bringsItsOwn)
    throw new ConfigError('lb_policy', 'must be CLUSTER_PROVIDED for this type of cluster');
  if (subsets !== undefined && bringsItsOwn) throw new ConfigError('lb_subset_config', 'cannot be had for this type of cluster');
}

function compileKeepAlive({ upstreamConnectionOptions }: Cluster): KeepAlive | undefined {
  const given = upstreamConnectionOptions?.tcpKeepalive;
  if (given === undefined) return undefined;
  return {
    idleMs: (given.keepaliveTime ?? DEFAULT_KEEPALIVE_S) * 1000,
    intervalS: given.keepaliveInterval,
    probes: given.keepaliveProbes,
  };
}

function serviceOf(message: Cluster): DestinationService | undefined {
  const services = message.metadata?.filterMetadata['istio']?.['services'];
  const [service] = Array.isArray(services) ? services : [];
  if (typeof service !== 'object' || service === null || Array.isArray(service)) return undefined;
  return { host: text(service['host']), name: text(service['name']), namespace: text(service['namespace']) };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

const MAX_INTERNED = 1000;
const known = new Map<string, object>();

/** A thousand clusters are configured in a handful of ways: equal values are kept once. Only for plain data. */
function interned<T extends object>(value: T): T {
  const key = JSON.stringify(value);
  const same = known.get(key);
  if (same !== undefined) return same as T;
  if (known.size >= MAX_INTERNED) known.clear();
  known.set(key, value);
  return value;
}
