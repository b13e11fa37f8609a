import {
  type EgressListener,
  type HostIndex,
  indexByHost,
  isHttp,
  MESH_GATEWAY,
  type ProxyView,
  type Service,
  type ServicePort,
} from '@mizzen/model';
import { TrafficDirection } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { addressOf } from '../endpoint/load-assignment.ts';
import { CONNECT_HTTP, HTTP_PROXY_ROUTES } from '../names.ts';
import { encodeResource, type TranslatedResource } from '../result.ts';
import { serviceTargets } from '../route/tcp-targets.ts';
import { httpConnectionManager } from './http-connection-manager.ts';
import { tcpFilters } from './tcp-filters.ts';

const LOOPBACK = '127.0.0.1';

/** The listeners that applications of a sidecar name themselves: its HTTP proxy port, and the ports that a Sidecar binds. */
export function outboundListeners(view: ProxyView): TranslatedResource[] {
  const { httpProxyPort } = view.node;
  const proxy = httpProxyPort === undefined ? [] : [httpProxyListener(view, httpProxyPort), tunnelListener(view)];
  return [...proxy, ...boundEgressListeners(view)];
}

/** The ports that a Sidecar binds. */
export function boundEgressListeners(view: ProxyView): TranslatedResource[] {
  return view.outboundScope.egressListeners.flatMap((listener) => egressListener(view, listener) ?? []);
}

function httpProxyListener(view: ProxyView, port: number): TranslatedResource {
  const name = `${LOOPBACK}_${port}`;
  const filter = httpConnectionManager(view, {
    role: 'outbound',
    statPrefix: `outbound_${name}`,
    routes: { rds: HTTP_PROXY_ROUTES },
    isConnectAllowed: true,
  });
  return encodeResource(ListenerSchema, name, {
    name,
    address: addressOf(LOOPBACK, port),
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [{ filters: [filter] }],
  });
}

/** Takes what comes out of a CONNECT to an HTTP port, so that the requests inside of it are routed like all others. */
function tunnelListener(view: ProxyView): TranslatedResource {
  const filter = httpConnectionManager(view, {
    role: 'outbound',
    statPrefix: `outbound_${CONNECT_HTTP}`,
    routes: { rds: HTTP_PROXY_ROUTES },
  });
  return encodeResource(ListenerSchema, CONNECT_HTTP, {
    name: CONNECT_HTTP,
    listenerSpecifier: { case: 'internalListener', value: {} },
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [{ filters: [filter] }],
  });
}

function egressListener(view: ProxyView, listener: EgressListener): TranslatedResource | undefined {
  if (listener.isCaptured) return undefined;
  const bind = listener.bind || LOOPBACK;
  const name = `${bind}_${listener.port}`;
  const filters = isHttp(listener.protocol)
    ? [httpConnectionManager(view, { role: 'outbound', statPrefix: `outbound_${name}`, routes: { rds: String(listener.port) } })]
    : tcpListenerFilters(view, listener);
  if (filters === undefined) return undefined;
  return encodeResource(ListenerSchema, name, {
    name,
    address: addressOf(bind, listener.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [{ filters }],
  });
}

function tcpListenerFilters(view: ProxyView, listener: EgressListener) {
  const target = tcpService(listener);
  if (target === undefined) return undefined;
  const { outboundScope: scope } = view;
  const virtualServices: HostIndex<EgressListener['virtualServices'][number]> = indexByHost(listener.virtualServices);
  const targets = serviceTargets(target.service, virtualServices.find(target.service.host), {
    gateway: MESH_GATEWAY,
    port: target.port.number,
    domain: scope.domain,
    read: (look) => look(scope),
  });
  return tcpFilters(view, { role: 'outbound', statPrefix: targets[0]?.cluster ?? '', targets });
}

/**
 * The service port behind a TCP listener: one of the same number; otherwise the only one there is, because proxies that share a host
 * cannot all bind the service's own number.
 */
function tcpService({ port, services }: EgressListener): { service: Service; port: ServicePort } | undefined {
  for (const service of services) {
    const same = service.ports.find(({ number }) => number === port);
    if (same !== undefined) return { service, port: same };
  }
  const [only, another] = services;
  const [onlyPort, anotherPort] = only?.ports ?? [];
  return only !== undefined && another === undefined && onlyPort !== undefined && anotherPort === undefined
    ? { service: only, port: onlyPort }
    : undefined;
}
