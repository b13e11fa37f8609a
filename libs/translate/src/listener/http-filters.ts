import type { Any } from '@bufbuild/protobuf/wkt';
import type { ClientKind, Protocol } from '@mizzen/model';
import { CorsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { FilterConfigSchema as GrpcStatsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_stats/v3/config';
import { GrpcWebSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_web/v3/grpc_web';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import type { HttpFilterSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { ConfigSchema as PeerMetadataConfigSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import { PluginConfigSchema as StatsConfigSchema } from '@mizzen/xds-api/stats/config';
import { any, duration, type Init } from '../messages.ts';
import { CORS_FILTER } from '../route/cors.ts';
import { FAULT_FILTER } from '../route/faults.ts';

/** Where an HTTP connection manager stands. */
export type HttpRole = 'inbound' | 'outbound' | 'gateway';

type HttpFilterInit = Init<typeof HttpFilterSchema>;

export interface HttpFilterContext {
  readonly role: HttpRole;
  readonly client: ClientKind;
  /** What the port is declared to speak; undefined where services share the connection manager. */
  readonly protocol: Protocol | undefined;
  /** What limits requests here; by default nothing does. */
  readonly rateLimits?: readonly HttpFilterInit[];
}

interface FilterEntry {
  readonly name: string;
  readonly config: (role: HttpRole) => Any;
  /** Stock Envoys do not know the filter. */
  readonly isOurs?: true;
  /** Only where the port is declared to speak this. */
  readonly protocol?: Protocol;
}

const TCP_REPORTING_MS = 5000;

/**
 * The HTTP filters in the order in which a request passes them. Source: istio pilot/pkg/networking/core/listener_builder.go (1.32 dev).
 */
const HTTP_FILTERS: readonly FilterEntry[] = [
  // First: everything after it may want to know the peer, and its headers must be gone before anything forwards them.
  { name: 'istio.metadata_exchange', config: peerMetadata, isOurs: true },
  // Before what looks at calls: from here on a browser's call is gRPC.
  { name: 'envoy.filters.http.grpc_web', config: () => any(GrpcWebSchema, {}), protocol: 'grpc-web' },
  // Everywhere, since calls come to ports of undeclared protocol too: Istio's metrics of messages are made of what it counts.
  { name: 'envoy.filters.http.grpc_stats', config: grpcStats },
  // A fault stands for the upstream's, so it comes before anything that would treat the request as forwarded.
  { name: FAULT_FILTER, config: () => any(HTTPFaultSchema, {}) },
  // After faults: a preflight answered here must not be delayed into a failure that the browser caches.
  { name: CORS_FILTER, config: () => any(CorsSchema, {}) },
  // Last before the router: sees the answers of every filter above.
  { name: 'istio.stats', config: (role) => any(StatsConfigSchema, statsConfig(role)), isOurs: true },
  // Terminal by definition.
  { name: 'envoy.filters.http.router', config: () => any(RouterSchema, {}) },
];

export function httpFilters({ role, client, protocol, rateLimits = [] }: HttpFilterContext): HttpFilterInit[] {
  const isWanted = (entry: FilterEntry): boolean =>
    (!entry.isOurs || client === 'mizzen') && (entry.protocol === undefined || entry.protocol === protocol);
  return HTTP_FILTERS.filter(isWanted).flatMap(({ name, config }): HttpFilterInit[] => {
    const filter: HttpFilterInit = { name, configType: { case: 'typedConfig', value: config(role) } };
    // After CORS: a page may read that it was refused, and preflights are not counted.
    return name === CORS_FILTER ? [filter, ...rateLimits] : [filter];
  });
}

// Source: istio pilot/pkg/xds/filters/filters.go GrpcStats (1.32 dev).
function grpcStats(): Any {
  return any(GrpcStatsSchema, { emitFilterState: true, perMethodStatSpecifier: { case: 'statsForAllMethods', value: { value: false } } });
}

function peerMetadata(role: HttpRole): Any {
  const headers = { methodSpecifier: { case: 'istioHeaders', value: {} } } as const;
  if (role === 'inbound') return any(PeerMetadataConfigSchema, { downstreamDiscovery: [headers], downstreamPropagation: [headers] });
  const toMeshOnly = { methodSpecifier: { case: 'istioHeaders', value: { skipExternalClusters: true } } } as const;
  return any(PeerMetadataConfigSchema, { upstreamDiscovery: [headers], upstreamPropagation: [toMeshOnly] });
}

// The Host header comes from outside of the mesh at a gateway, and says nothing new at the server. Source: istio telemetry.go (1.32 dev).
export function statsConfig(role: HttpRole): Init<typeof StatsConfigSchema> {
  return { ...(role !== 'outbound' && { disableHostHeaderFallback: true }), tcpReportingDuration: duration(TCP_REPORTING_MS) };
}
