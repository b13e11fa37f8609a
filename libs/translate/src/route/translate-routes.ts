import { type EgressListener, indexByHost, isHttp, type OutboundScope, type ProxyView } from '@mizzen/model';
import { IdentityMemo } from '../memo.ts';
import { HTTP_PROXY_ROUTES } from '../names.ts';
import type { TranslateResult } from '../result.ts';
import { portRouteConfiguration, routedPort, serviceRouteConfiguration } from './captured-routes.ts';
import { sidecarRouteConfiguration } from './explicit-proxy-routes.ts';
import { gatewayRouteConfiguration } from './gateway-routes.ts';
import type { TranslatedRoutes } from './route-configuration.ts';

const translated = new IdentityMemo<Map<string, TranslatedRoutes | undefined>>();

/** The route configurations named; a name that this proxy has no listener for gives nothing. Shared by all proxies of a scope. */
export function translateRoutes(view: ProxyView, names: Iterable<string>): TranslateResult {
  const found = [...names].flatMap((name) => routesByName(view, name) ?? []);
  return { resources: found.map(({ resource }) => resource), diagnostics: found.flatMap(({ diagnostics }) => diagnostics) };
}

function routesByName(view: ProxyView, name: string): TranslatedRoutes | undefined {
  const { outboundScope: scope, gatewayPorts: ports } = view;
  const known = translated.get([scope], () => new Map());
  const key = scope.type === 'router' ? `${name} ${JSON.stringify([[...ports.bound], [...ports.published]])}` : name;
  if (!known.has(key)) known.set(key, scope.type === 'router' ? gatewayRouteConfiguration(scope, name, ports) : sidecarRoutes(scope, name));
  return known.get(key);
}

function sidecarRoutes(scope: OutboundScope, name: string): TranslatedRoutes | undefined {
  if (name === HTTP_PROXY_ROUTES) return scope.isCaptured ? undefined : explicitProxyRoutes(scope, name);
  const listener = scope.egressListeners.find(({ port }) => String(port) === name);
  if (listener?.isCaptured || (listener === undefined && scope.isCaptured)) return capturedRoutes(scope, { name, listener });
  if (listener === undefined || !isHttp(listener.protocol)) return undefined;
  return sidecarRouteConfiguration(scope, {
    name,
    services: listener.services,
    virtualServices: indexByHost(listener.virtualServices),
    port: listener.port,
  });
}

function explicitProxyRoutes(scope: OutboundScope, name: string): TranslatedRoutes {
  const { defaultServices: services, virtualServices } = scope;
  return sidecarRouteConfiguration(scope, { name, services, virtualServices, port: undefined });
}

/** `9080`: every service of the port; `reviews.default.svc.cluster.local:9080`: the one at an address of its own. */
function capturedRoutes(
  scope: OutboundScope,
  { name, listener }: { name: string; listener: EgressListener | undefined },
): TranslatedRoutes | undefined {
  const [, host, number] = /^(?:(.+):)?(\d{1,5})$/.exec(name) ?? [];
  const port = Number(number);
  if (number === undefined || port === 0) return undefined;
  if (host === undefined) {
    const services = listener?.services ?? scope.defaultServices;
    return portRouteConfiguration(scope, {
      name,
      port,
      services,
      virtualServices: listener === undefined ? scope.virtualServices : indexByHost(listener.virtualServices),
    });
  }
  const service = scope.servicesByHost.get(host);
  const servicePort = service && routedPort(service, port);
  return service && servicePort && serviceRouteConfiguration(scope, { name, service, port: servicePort });
}
