import { type InboundService, isHttp, type ProxyView } from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import type { FilterChainSchema, FilterSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import type { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { addressOf } from '../endpoint/load-assignment.ts';
import { type Init, ZERO_DURATION } from '../messages.ts';
import { inboundClusterName } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { ANY_PATH } from '../route/matches.ts';
import { retryPolicy } from '../route/retries.ts';
import { meshServerTls } from './downstream-tls.ts';
import { httpConnectionManager } from './http-connection-manager.ts';
import { httpInspector, tlsInspector } from './listener-filters.ts';
import { tcpFilters } from './tcp-filters.ts';

type FilterChainInit = Init<typeof FilterChainSchema>;
type FilterInit = Init<typeof FilterSchema>;

/** What mesh clients offer. Source: istio pilot/pkg/networking/core/listener_inbound.go, networking/util ALPN lists (1.32 dev). */
const MESH_HTTP_ALPN = ['istio-http/1.0', 'istio-http/1.1', 'istio-h2'];
const MESH_TCP_ALPN = ['istio-peer-exchange', 'istio'];
const PLAIN_HTTP_ALPN = ['http/1.0', 'http/1.1', 'h2c'];

/** One listener for each port of the workload, at the address where its proxy waits for it. */
export function inboundListeners(view: ProxyView): TranslatedResource[] {
  return view.inbound.map((inbound) => inboundListener(view, inbound));
}

function inboundListener(view: ProxyView, inbound: InboundService): TranslatedResource {
  const name = `${inbound.bind}_${inbound.listenPort}`;
  const inspectors =
    inbound.mtls === 'disable' && inbound.protocol !== 'auto'
      ? []
      : [tlsInspector, ...(inbound.protocol === 'auto' ? [httpInspector] : [])];
  return encodeResource(ListenerSchema, name, {
    name,
    address: addressOf(inbound.bind, inbound.listenPort),
    trafficDirection: TrafficDirection.INBOUND,
    listenerFilters: inspectors,
    // A client that waits for the server's first byte must not be cut off while the inspectors wait for it.
    ...(inspectors.length > 0 && { listenerFiltersTimeout: ZERO_DURATION }),
    filterChains: filterChains(view, inbound),
  });
}

/** By protocol and PeerAuthentication. What no chain matches is closed: under STRICT, plaintext. */
function filterChains(view: ProxyView, inbound: InboundService): FilterChainInit[] {
  if (isHttp(inbound.protocol)) return httpChains(view, inbound);
  return inbound.protocol === 'auto' ? detectedChains(view, inbound) : tcpChains(view, inbound);
}

function httpChains(view: ProxyView, inbound: InboundService): FilterChainInit[] {
  const filters = [http(view, inbound)];
  if (inbound.mtls === 'disable') return [{ filters }];
  const mutual = mutualChain(view, { filters, alpn: [...MESH_HTTP_ALPN, ...MESH_TCP_ALPN], isHttp: true });
  return inbound.mtls === 'strict' ? [mutual] : [mutual, plainChain(filters)];
}

function tcpChains(view: ProxyView, inbound: InboundService): FilterChainInit[] {
  const filters = tcp(view, inbound);
  if (inbound.mtls === 'disable') return [{ filters }];
  const mutual = mutualChain(view, { filters, alpn: [...MESH_TCP_ALPN, ...MESH_HTTP_ALPN], isHttp: false });
  return inbound.mtls === 'strict' ? [mutual] : [mutual, otherTlsChain(filters), plainChain(filters)];
}

/** Nothing is known of the port: the bytes decide. */
function detectedChains(view: ProxyView, inbound: InboundService): FilterChainInit[] {
  const [httpFilters, filters] = [[http(view, inbound)], tcp(view, inbound)];
  const plain: FilterChainInit[] = [
    { filterChainMatch: { transportProtocol: 'raw_buffer', applicationProtocols: PLAIN_HTTP_ALPN }, filters: httpFilters },
    plainChain(filters),
  ];
  if (inbound.mtls === 'disable') return [...plain, otherTlsChain(filters)];
  const mutual = [
    mutualChain(view, { filters: httpFilters, alpn: MESH_HTTP_ALPN, isHttp: true }),
    mutualChain(view, { filters, alpn: MESH_TCP_ALPN, isHttp: false }),
  ];
  return inbound.mtls === 'strict' ? mutual : [...mutual, ...plain, otherTlsChain(filters)];
}

function mutualChain(view: ProxyView, options: { filters: FilterInit[]; alpn: string[]; isHttp: boolean }): FilterChainInit {
  const { filters, alpn, isHttp: isHttpChain } = options;
  return {
    filterChainMatch: { transportProtocol: 'tls', applicationProtocols: alpn },
    filters,
    transportSocket: meshServerTls(view, { isHttp: isHttpChain }),
  };
}

function plainChain(filters: FilterInit[]): FilterChainInit {
  return { filterChainMatch: { transportProtocol: 'raw_buffer' }, filters };
}

/** TLS that the application itself ends. */
function otherTlsChain(filters: FilterInit[]): FilterChainInit {
  return { filterChainMatch: { transportProtocol: 'tls' }, filters };
}

function tcp(view: ProxyView, inbound: InboundService): FilterInit[] {
  const cluster = inboundClusterName(inbound.port);
  return tcpFilters(view, { role: 'inbound', statPrefix: cluster, targets: [{ cluster, weight: 1 }] });
}

function http(view: ProxyView, inbound: InboundService): FilterInit {
  return httpConnectionManager(view, {
    role: 'inbound',
    statPrefix: `inbound_${inbound.bind}_${inbound.port}`,
    routes: { inline: inboundRoutes(view, inbound) },
  });
}

function inboundRoutes(view: ProxyView, inbound: InboundService): Init<typeof RouteConfigurationSchema> {
  const name = inboundClusterName(inbound.port);
  const [service] = inbound.services;
  const isGrpc = inbound.protocol === 'grpc' || inbound.protocol === 'grpc-web';
  // Another host than the only one there is cannot be chosen.
  const retries = isGrpc
    ? undefined
    : retryPolicy(
        { retryIgnorePreviousHosts: false, ...view.mesh.defaultInboundHttpRetryPolicy },
        { meshDefault: undefined, isConsistentHash: false },
      );
  return {
    name,
    validateClusters: false,
    virtualHosts: [
      {
        name: `inbound|http|${inbound.port}`,
        domains: ['*'],
        routes: [
          {
            name: 'default',
            match: ANY_PATH,
            action: {
              case: 'route',
              value: {
                clusterSpecifier: { case: 'cluster', value: name },
                timeout: ZERO_DURATION,
                ...(retries && { retryPolicy: retries }),
              },
            },
            decorator: { operation: `${service?.host ?? view.node.name}:${inbound.port}/*` },
          },
        ],
      },
    ],
  };
}
