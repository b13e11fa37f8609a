import type { Protocol, ProxyView } from '@mizzen/model';
import type { FilterSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import type { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import {
  HttpConnectionManager_ForwardClientCertDetails,
  HttpConnectionManager_PathWithEscapedSlashesAction,
  HttpConnectionManagerSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { ADS_SOURCE, any, type Init, ZERO_DURATION } from '../messages.ts';
import { rateLimitFilters } from '../rate-limit/filters.ts';
import { accessLogs } from './access-log.ts';
import { type HttpRole, httpFilters } from './http-filters.ts';
import { tracing } from './tracing.ts';

type HcmInit = Init<typeof HttpConnectionManagerSchema>;

export interface HcmOptions {
  readonly role: HttpRole;
  /** What the port is declared to speak; left out where services share the connection manager. */
  readonly protocol?: Protocol;
  readonly statPrefix: string;
  /** By name from the control plane, or in place. */
  readonly routes: { readonly rds: string } | { readonly inline: Init<typeof RouteConfigurationSchema> };
  /** Takes CONNECT: the explicit proxy. */
  readonly isConnectAllowed?: boolean;
}

/** The network filter that runs HTTP. Source: istio pilot/pkg/networking/core/listener.go buildHTTPConnectionManager (1.32 dev). */
export function httpConnectionManager(view: ProxyView, options: HcmOptions): Init<typeof FilterSchema> {
  const { role } = options;
  const trace = tracing(view);
  const config = any(HttpConnectionManagerSchema, {
    statPrefix: options.statPrefix,
    routeSpecifier: routeSpecifier(options.routes),
    httpFilters: httpFilters({
      role,
      client: view.node.client,
      protocol: options.protocol,
      rateLimits: role === 'outbound' ? [] : rateLimitFilters(view),
    }),
    accessLog: accessLogs(view.mesh),
    ...(trace && { tracing: trace }),
    // The proxy of an application is told by it who calls; only at the edge is the address of the connection the client's.
    useRemoteAddress: role === 'gateway',
    serverName: 'istio-envoy',
    streamIdleTimeout: ZERO_DURATION,
    upgradeConfigs: [{ upgradeType: 'websocket' }, ...(options.isConnectAllowed ? [{ upgradeType: 'CONNECT' }] : [])],
    proxy100Continue: true,
    ...pathNormalization(view),
    ...clientCertificateFields(role),
  });
  return { name: 'envoy.filters.network.http_connection_manager', configType: { case: 'typedConfig', value: config } };
}

function routeSpecifier(routes: HcmOptions['routes']): NonNullable<HcmInit['routeSpecifier']> {
  if ('inline' in routes) return { case: 'routeConfig', value: routes.inline };
  return { case: 'rds', value: { configSource: ADS_SOURCE, routeConfigName: routes.rds } };
}

/** Source: istio.io, "Authorization policy normalization"; DEFAULT is BASE. */
function pathNormalization({ mesh }: ProxyView): HcmInit {
  switch (mesh.pathNormalization?.normalization ?? 'DEFAULT') {
    case 'NONE':
      return {};
    case 'MERGE_SLASHES':
      return { normalizePath: true, mergeSlashes: true };
    case 'DECODE_AND_MERGE_SLASHES':
      return {
        normalizePath: true,
        mergeSlashes: true,
        pathWithEscapedSlashesAction: HttpConnectionManager_PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD,
      };
    default:
      return { normalizePath: true };
  }
}

/** x-forwarded-client-cert: a sidecar adds the peer that it proved, an edge replaces what the client says. */
function clientCertificateFields(role: HttpRole): HcmInit {
  if (role === 'outbound') return {};
  return {
    forwardClientCertDetails:
      role === 'inbound'
        ? HttpConnectionManager_ForwardClientCertDetails.APPEND_FORWARD
        : HttpConnectionManager_ForwardClientCertDetails.SANITIZE_SET,
    setCurrentClientCertDetails: { subject: true, dns: true, uri: true },
  };
}
