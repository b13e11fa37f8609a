import { isIP } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import type { DestinationService } from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import { CircuitBreakers_ThresholdsSchema, CircuitBreakersSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/circuit_breaker';
import {
  type Cluster,
  Cluster_CommonLbConfigSchema,
  Cluster_EdsClusterConfigSchema,
  Cluster_LeastRequestLbConfigSchema,
  Cluster_OriginalDstLbConfigSchema,
  ClusterSchema,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as DnsFamily,
  Cluster_LbPolicy as LbPolicy,
} from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { type BindConfig, BindConfigSchema, ExtraSourceAddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { TransportSocket } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import { UpstreamTls } from '../tls/upstream-tls.ts';
import { type AssignmentConfig, compileAssignment } from './assignment.ts';
import { compileOutlierDetection, type OutlierConfig, SUPPORTED_OUTLIER_FIELDS } from './outlier-detection.ts';

export type LbPolicyName = 'roundRobin' | 'leastRequest' | 'random' | 'ringHash' | 'maglev' | 'clusterProvided';

/** How connections of an endpoint are made: the first whose labels the endpoint's metadata carries. */
export interface TransportMatch {
  readonly name: string;
  readonly labels: Readonly<Record<string, unknown>>;
  /** undefined for plaintext. */
  readonly tls: UpstreamTls | undefined;
}

export type ClusterDiscovery =
  | { readonly kind: 'static'; readonly assignment: AssignmentConfig }
  | {
      readonly kind: 'dns';
      readonly assignment: AssignmentConfig;
      readonly isLogical: boolean;
      readonly refreshMs: number;
      readonly family: 0 | 4 | 6;
    }
  | { readonly kind: 'eds'; readonly serviceName: string }
  | { readonly kind: 'originalDestination'; readonly headerName: string | undefined; readonly port: number | undefined };

/** A cluster's definition, compiled: what the request path needs and nothing of the message. */
export interface ClusterConfig {
  readonly name: string;
  readonly observabilityName: string;
  readonly service: DestinationService | undefined;
  readonly isExternal: boolean;
  readonly discovery: ClusterDiscovery;
  readonly lbPolicy: LbPolicyName;
  readonly choiceCount: number;
  readonly minimumRingSize: number;
  readonly maglevTableSize: number;
  /** 0 to 100; below that many healthy endpoints all of them are used. 0 turns it off. */
  readonly panicThresholdPercent: number;
  readonly isLocalityWeighted: boolean;
  readonly connectTimeoutMs: number;
  readonly maxRequestsPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionDurationMs: number;
  /** HTTP/2 was asked for: only the process's own gRPC clients (xDS, OTLP) can use it yet, requests are given no endpoint. */
  readonly isGrpcOnly: boolean;
  readonly keepAliveMs: number | undefined;
  /** The local address that connections to `host` are made from; undefined leaves it to the system. */
  readonly sourceAddressFor: ((host: string) => string) | undefined;
  readonly limits: {
    readonly maxConnections: number;
    readonly maxPendingRequests: number;
    readonly maxRequests: number;
    readonly maxRetries: number;
  };
  readonly outlierDetection: OutlierConfig | undefined;
  readonly transportMatches: readonly TransportMatch[];
  readonly defaultTls: UpstreamTls | undefined;
  readonly secretNames: readonly string[];
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
    'close_connections_on_host_health_failure',
    'ignore_health_on_host_removal',
    'http2_protocol_options',
  ],
  [Cluster_EdsClusterConfigSchema.typeName]: ['eds_config', 'service_name'],
  [Cluster_CommonLbConfigSchema.typeName]: [
    'healthy_panic_threshold',
    'locality_weighted_lb_config',
    'zone_aware_lb_config',
    'update_merge_window',
    'close_connections_on_host_set_change',
  ],
  [Cluster_OriginalDstLbConfigSchema.typeName]: ['use_http_header', 'http_header_name', 'upstream_port_override'],
  [Cluster_LeastRequestLbConfigSchema.typeName]: ['choice_count'],
  [BindConfigSchema.typeName]: ['source_address', 'extra_source_addresses'],
  [ExtraSourceAddressSchema.typeName]: ['address'],
  [CircuitBreakersSchema.typeName]: ['thresholds'],
  [CircuitBreakers_ThresholdsSchema.typeName]: [
    'priority',
    'max_connections',
    'max_pending_requests',
    'max_requests',
    'max_retries',
    'track_remaining',
  ],
  ...SUPPORTED_OUTLIER_FIELDS,
};

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const HOUR_MS = 3_600_000;
// Envoy's defaults. Source: envoy docs, Cluster and CircuitBreakers.Thresholds.
const DEFAULT_CONNECT_TIMEOUT_MS = 5000;
const DEFAULT_LIMITS = { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 3 };

/** Compiles a cluster. Throws ConfigError for what this proxy cannot honour. */
export function compileCluster(message: Cluster, secrets: SecretStore): ClusterConfig {
  refuseUnsupportedFields(ClusterSchema, message, { supported: SUPPORTED });
  if (message.name === '') throw new ConfigError('name', 'is required');
  const transport = compileTransport(message, secrets);
  const http = compileHttpOptions(message);
  return {
    name: message.name,
    observabilityName: message.altStatName === '' ? message.name : message.altStatName,
    service: serviceOf(message),
    isExternal: message.metadata?.filterMetadata['istio']?.['external'] === true,
    discovery: compileDiscovery(message),
    ...compileLoadBalancing(message),
    connectTimeoutMs: durationMs(message.connectTimeout, DEFAULT_CONNECT_TIMEOUT_MS),
    ...http,
    keepAliveMs:
      message.upstreamConnectionOptions?.tcpKeepalive === undefined
        ? undefined
        : (message.upstreamConnectionOptions.tcpKeepalive.keepaliveTime ?? 7200) * 1000,
    sourceAddressFor: compileSourceAddress(message.upstreamBindConfig),
    limits: compileLimits(message),
    outlierDetection: message.outlierDetection === undefined ? undefined : compileOutlierDetection(message.outlierDetection),
    ...transport,
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

const DNS_FAMILY: Readonly<Record<number, 0 | 4 | 6>> = { [DnsFamily.V4_ONLY]: 4, [DnsFamily.V6_ONLY]: 6 };

function compileDiscovery(message: Cluster): ClusterDiscovery {
  if (message.clusterDiscoveryType.case === 'clusterType')
    throw new ConfigError('cluster_type', 'is not supported by this proxy; use type');
  const type = message.clusterDiscoveryType.value ?? DiscoveryType.STATIC;
  if (type === DiscoveryType.EDS) return { kind: 'eds', serviceName: message.edsClusterConfig?.serviceName || message.name };
  if (type === DiscoveryType.ORIGINAL_DST) {
    const config = message.lbConfig.case === 'originalDstLbConfig' ? message.lbConfig.value : undefined;
    return {
      kind: 'originalDestination',
      headerName: config?.useHttpHeader ? (config.httpHeaderName || 'x-envoy-original-dst-host').toLowerCase() : undefined,
      port: config?.upstreamPortOverride,
    };
  }
  // A static cluster without endpoints is Istio's BlackHoleCluster.
  const given = message.loadAssignment;
  const assignment = given === undefined ? { localities: [] } : within('load_assignment', () => compileAssignment(given));
  if (type === DiscoveryType.STATIC) return { kind: 'static', assignment };
  const refreshMs = durationMs(message.dnsRefreshRate, 5000);
  return {
    kind: 'dns',
    assignment,
    isLogical: type === DiscoveryType.LOGICAL_DNS,
    refreshMs,
    family: DNS_FAMILY[message.dnsLookupFamily] ?? 0,
  };
}

const LB_POLICIES: Readonly<Record<number, LbPolicyName>> = {
  [LbPolicy.ROUND_ROBIN]: 'roundRobin',
  [LbPolicy.LEAST_REQUEST]: 'leastRequest',
  [LbPolicy.RANDOM]: 'random',
  [LbPolicy.RING_HASH]: 'ringHash',
  [LbPolicy.MAGLEV]: 'maglev',
  [LbPolicy.CLUSTER_PROVIDED]: 'clusterProvided',
};

function compileLoadBalancing(
  message: Cluster,
): Pick<
  ClusterConfig,
  'lbPolicy' | 'choiceCount' | 'minimumRingSize' | 'maglevTableSize' | 'panicThresholdPercent' | 'isLocalityWeighted'
> {
  const lbPolicy = LB_POLICIES[message.lbPolicy];
  if (lbPolicy === undefined) throw new ConfigError('lb_policy', `${message.lbPolicy} is not supported by this proxy`);
  const { lbConfig } = message;
  return {
    lbPolicy,
    choiceCount: Math.max(2, (lbConfig.case === 'leastRequestLbConfig' ? lbConfig.value.choiceCount : undefined) ?? 2),
    minimumRingSize: Number((lbConfig.case === 'ringHashLbConfig' ? lbConfig.value.minimumRingSize : undefined) ?? 1024n),
    maglevTableSize: Number((lbConfig.case === 'maglevLbConfig' ? lbConfig.value.tableSize : undefined) ?? 65_537n),
    panicThresholdPercent: message.commonLbConfig?.healthyPanicThreshold?.value ?? 50,
    isLocalityWeighted: message.commonLbConfig?.localityConfigSpecifier.case === 'localityWeightedLbConfig',
  };
}

type HttpOptions = Pick<ClusterConfig, 'maxRequestsPerConnection' | 'idleTimeoutMs' | 'maxConnectionDurationMs' | 'isGrpcOnly'>;

function compileHttpOptions(message: Cluster): HttpOptions {
  const any = message.typedExtensionProtocolOptions[HTTP_OPTIONS];
  const path = `typed_extension_protocol_options["${HTTP_OPTIONS}"]`;
  for (const name of Object.keys(message.typedExtensionProtocolOptions)) {
    if (name !== HTTP_OPTIONS)
      throw new ConfigError(`typed_extension_protocol_options["${name}"]`, 'is not supported by this proxy; remove it');
  }
  const options = any === undefined ? undefined : within(path, () => unpackAny(any, HttpProtocolOptionsSchema));
  const explicit =
    options?.upstreamProtocolOptions.case === 'explicitHttpConfig' ? options.upstreamProtocolOptions.value.protocolConfig.case : undefined;
  if (explicit === 'http3ProtocolOptions') throw new ConfigError(path, 'HTTP/3 is not supported by this proxy; use HTTP/1.1');
  const common = options?.commonHttpProtocolOptions ?? message.commonHttpProtocolOptions;
  return {
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? message.maxRequestsPerConnection ?? 0,
    idleTimeoutMs: durationMs(common?.idleTimeout, HOUR_MS),
    maxConnectionDurationMs: durationMs(common?.maxConnectionDuration, 0),
    isGrpcOnly: explicit === 'http2ProtocolOptions' || message.http2ProtocolOptions !== undefined,
  };
}

/** Of several addresses the first of the upstream's family, as Envoy's DefaultUpstreamLocalAddressSelector chooses. */
function compileSourceAddress(config: BindConfig | undefined): ClusterConfig['sourceAddressFor'] {
  if (config === undefined) return undefined;
  const given = [config.sourceAddress, ...config.extraSourceAddresses.map(({ address }) => address)];
  const hosts = given.flatMap((address, index) => {
    const path = index === 0 ? 'upstream_bind_config.source_address' : `upstream_bind_config.extra_source_addresses[${index - 1}].address`;
    if (address === undefined) return [];
    if (isIP(address.address) === 0) throw new ConfigError(`${path}.address`, `"${address.address}" is not an IP address`);
    if (address.portSpecifier.case === 'portValue' && address.portSpecifier.value !== 0)
      throw new ConfigError(`${path}.port_value`, 'must be 0: all connections of the cluster would share one port');
    return [address.address];
  });
  const [first] = hosts;
  if (first === undefined) return undefined;
  return (host) => hosts.find((source) => source.includes(':') === host.includes(':')) ?? first;
}

function compileLimits(message: Cluster): ClusterConfig['limits'] {
  // Priority DEFAULT is 0; the HIGH thresholds have no user here.
  const given = message.circuitBreakers?.thresholds.find((threshold) => threshold.priority === 0);
  return {
    maxConnections: given?.maxConnections ?? DEFAULT_LIMITS.maxConnections,
    maxPendingRequests: given?.maxPendingRequests ?? DEFAULT_LIMITS.maxPendingRequests,
    maxRequests: given?.maxRequests ?? DEFAULT_LIMITS.maxRequests,
    maxRetries: given?.maxRetries ?? DEFAULT_LIMITS.maxRetries,
  };
}

function compileTransport(message: Cluster, secrets: SecretStore): Pick<ClusterConfig, 'transportMatches' | 'defaultTls' | 'secretNames'> {
  const transportMatches = message.transportSocketMatches.map(
    (match, index): TransportMatch => ({
      name: match.name,
      labels: (match.match ?? {}) as JsonObject,
      tls: within(`transport_socket_matches[${index}].transport_socket`, () => compileTransportSocket(match.transportSocket, secrets)),
    }),
  );
  const defaultTls = within('transport_socket', () => compileTransportSocket(message.transportSocket, secrets));
  const contexts = [defaultTls, ...transportMatches.map((match) => match.tls)].filter((tls) => tls !== undefined);
  return { transportMatches, defaultTls, secretNames: [...new Set(contexts.flatMap((tls) => tls.context.secretNames))] };
}

const PLAIN_TRANSPORTS = [
  'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer',
  // Its only content is metadata to pass on; the connection stays inside the process.
  'envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport',
];

function compileTransportSocket(socket: TransportSocket | undefined, secrets: SecretStore): UpstreamTls | undefined {
  if (socket === undefined) return undefined;
  const any = socket.configType.value;
  if (any === undefined) {
    if (socket.name === 'envoy.transport_sockets.raw_buffer') return undefined;
    throw new ConfigError('typed_config', 'is required');
  }
  const typeName = any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
  if (PLAIN_TRANSPORTS.includes(typeName)) return undefined;
  const tls = within('typed_config', () => unpackAny(any, UpstreamTlsContextSchema));
  if (tls === undefined) throw new ConfigError('typed_config', `${typeName} is not a transport socket that this proxy has`);
  return within('typed_config', () => new UpstreamTls(tls, secrets));
}
