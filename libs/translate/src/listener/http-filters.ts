import type { Any } from '@bufbuild/protobuf/wkt';
import type { ClientKind } from '@mizzen/model';
import { CorsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import type { HttpFilterSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { ConfigSchema as PeerMetadataConfigSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import { PluginConfigSchema as StatsConfigSchema } from '@mizzen/xds-api/stats/config';
import { any, duration, type Init } from '../messages.ts';
import { CORS_FILTER } from '../route/cors.ts';
import { FAULT_FILTER } from '../route/faults.ts';

/** Where an HTTP connection manager stands. */
export type HttpRole = 'inbound' | 'outbound' | 'gateway';

interface FilterEntry {
  readonly name: string;
  readonly config: (role: HttpRole) => Any;
  /** Stock Envoys do not know the filter. */
  readonly isOurs?: true;
}

const TCP_REPORTING_MS = 5000;

/**
 * The HTTP filters in the order in which a request passes them. Source: istio pilot/pkg/networking/core/listener_builder.go (1.32 dev).
 */
const HTTP_FILTERS: readonly FilterEntry[] = [
  // First: everything after it may want to know the peer, and its headers must be gone before anything forwards them.
  { name: 'istio.metadata_exchange', config: peerMetadata, isOurs: true },
  // A fault stands for the upstream's, so it comes before anything that would treat the request as forwarded.
  { name: FAULT_FILTER, config: () => any(HTTPFaultSchema, {}) },
  // After faults: a preflight answered here must not be delayed into a failure that the browser caches.
  { name: CORS_FILTER, config: () => any(CorsSchema, {}) },
  // Last before the router: sees the answers of every filter above.
  { name: 'istio.stats', config: (role) => any(StatsConfigSchema, statsConfig(role)), isOurs: true },
  // Terminal by definition.
  { name: 'envoy.filters.http.router', config: () => any(RouterSchema, {}) },
];

export function httpFilters(role: HttpRole, client: ClientKind): Init<typeof HttpFilterSchema>[] {
  return HTTP_FILTERS.filter(({ isOurs }) => !isOurs || client === 'mizzen').map(({ name, config }) => ({
    name,
    configType: { case: 'typedConfig', value: config(role) },
  }));
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
