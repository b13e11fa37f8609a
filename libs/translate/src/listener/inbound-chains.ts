import { isHttp, type MtlsMode, type Protocol, type ProxyView } from '@mizzen/model';
import type { FilterChainSchema, FilterSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import type { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { type Init, ZERO_DURATION } from '../messages.ts';
import { PEER_EXCHANGE } from '../metadata-exchange.ts';
import { hostLimits } from '../rate-limit/descriptors.ts';
import { ANY_PATH } from '../route/matches.ts';
import { retryPolicy } from '../route/retries.ts';
import { meshServerTls } from './downstream-tls.ts';
import { httpConnectionManager } from './http-connection-manager.ts';
import { tcpFilters } from './tcp-filters.ts';

type FilterChainInit = Init<typeof FilterChainSchema>;
type FilterInit = Init<typeof FilterSchema>;

/** What mesh clients offer. Source: istio pilot/pkg/networking/core/listener_inbound.go, networking/util ALPN lists (1.32 dev). */
const MESH_HTTP_ALPN = ['istio-http/1.0', 'istio-http/1.1', 'istio-h2'];
const MESH_TCP_ALPN = [PEER_EXCHANGE, 'istio'];
/** What the HTTP inspector calls plaintext HTTP. */
export const PLAIN_HTTP_ALPN = ['http/1.0', 'http/1.1', 'h2c'];

/** A port of the workload, or all that no service has, as filter chains serve it. */
export interface InboundTarget {
  readonly protocol: Protocol;
  readonly mtls: MtlsMode;
  readonly cluster: string;
  readonly statPrefix: string;
  /** Of the service, for routes and spans. */
  readonly host: string;
  readonly port: number;
  /** Only connections to this port, where the listener takes those of others too. */
  readonly destinationPort?: number;
  readonly names?: { readonly http: string; readonly tcp: string };
}

/** By protocol and PeerAuthentication. What no chain matches is closed: under STRICT, plaintext. */
export function inboundChains(view: ProxyView, target: InboundTarget): FilterChainInit[] {
  return chainsOf(view, target).map(({ kind, filterChainMatch, ...chain }) => ({
    ...chain,
    ...((filterChainMatch || target.destinationPort !== undefined) && {
      filterChainMatch: {
        ...filterChainMatch,
        ...(target.destinationPort !== undefined && { destinationPort: target.destinationPort }),
      },
    }),
    ...(target.names && { name: target.names[kind] }),
  }));
}

type Chain = FilterChainInit & { readonly kind: 'http' | 'tcp' };

function chainsOf(view: ProxyView, target: InboundTarget): Chain[] {
  if (isHttp(target.protocol)) return httpChains(view, target);
  return target.protocol === 'auto' ? detectedChains(view, target) : tcpChains(view, target);
}

function httpChains(view: ProxyView, target: InboundTarget): Chain[] {
  const served: Chain = { kind: 'http', filters: [http(view, target)] };
  if (target.mtls === 'disable') return [served];
  const mutual = mutualChain(view, served, [...MESH_HTTP_ALPN, ...MESH_TCP_ALPN]);
  return target.mtls === 'strict' ? [mutual] : [mutual, plainChain(served)];
}

function tcpChains(view: ProxyView, target: InboundTarget): Chain[] {
  const served: Chain = { kind: 'tcp', filters: tcp(view, target) };
  if (target.mtls === 'disable') return [served];
  const mutual = mutualChain(view, served, [...MESH_TCP_ALPN, ...MESH_HTTP_ALPN]);
  return target.mtls === 'strict' ? [mutual] : [mutual, otherTlsChain(served), plainChain(served)];
}

/** Nothing is known of the port: the bytes decide. */
function detectedChains(view: ProxyView, target: InboundTarget): Chain[] {
  const requests: Chain = { kind: 'http', filters: [http(view, target)] };
  const bytes: Chain = { kind: 'tcp', filters: tcp(view, target) };
  const plain: Chain[] = [
    { ...requests, filterChainMatch: { transportProtocol: 'raw_buffer', applicationProtocols: PLAIN_HTTP_ALPN } },
    plainChain(bytes),
  ];
  if (target.mtls === 'disable') return [...plain, otherTlsChain(bytes)];
  const mutual = [mutualChain(view, requests, MESH_HTTP_ALPN), mutualChain(view, bytes, MESH_TCP_ALPN)];
  return target.mtls === 'strict' ? mutual : [...mutual, ...plain, otherTlsChain(bytes)];
}

function mutualChain(view: ProxyView, chain: Chain, alpn: string[]): Chain {
  return {
    ...chain,
    filterChainMatch: { transportProtocol: 'tls', applicationProtocols: alpn },
    transportSocket: meshServerTls(view, { isHttp: chain.kind === 'http' }),
  };
}

function plainChain(chain: Chain): Chain {
  return { ...chain, filterChainMatch: { transportProtocol: 'raw_buffer' } };
}

/** TLS that the application itself ends. */
function otherTlsChain(chain: Chain): Chain {
  return { ...chain, filterChainMatch: { transportProtocol: 'tls' } };
}

function tcp(view: ProxyView, { cluster }: InboundTarget): FilterInit[] {
  return tcpFilters(view, { role: 'inbound', statPrefix: cluster, targets: [{ cluster, weight: 1 }] });
}

function http(view: ProxyView, target: InboundTarget): FilterInit {
  return httpConnectionManager(view, {
    role: 'inbound',
    protocol: target.protocol,
    statPrefix: target.statPrefix,
    routes: { inline: inboundRoutes(view, target) },
  });
}

function inboundRoutes(view: ProxyView, { protocol, cluster, host, port }: InboundTarget): Init<typeof RouteConfigurationSchema> {
  const isGrpc = protocol === 'grpc' || protocol === 'grpc-web';
  // Another host than the only one there is cannot be chosen.
  const retries = isGrpc
    ? undefined
    : retryPolicy(
        { retryIgnorePreviousHosts: false, ...view.mesh.defaultInboundHttpRetryPolicy },
        { meshDefault: undefined, isConsistentHash: false },
      );
  const rateLimits = hostLimits(view.rateLimits);
  return {
    name: cluster,
    validateClusters: false,
    virtualHosts: [
      {
        name: `inbound|http|${port}`,
        domains: ['*'],
        ...(rateLimits.length > 0 && { rateLimits }),
        routes: [
          {
            name: 'default',
            match: ANY_PATH,
            action: {
              case: 'route',
              value: {
                clusterSpecifier: { case: 'cluster', value: cluster },
                timeout: ZERO_DURATION,
                ...(retries && { retryPolicy: retries }),
              },
            },
            decorator: { operation: `${host}:${port}/*` },
          },
        ],
      },
    ],
  };
}
