import { indexByHost, isHttp, type OutboundScope, type ProxyView } from '@mizzen/model';
import { IdentityMemo } from '../memo.ts';
import { HTTP_PROXY_ROUTES } from '../names.ts';
import type { TranslateResult } from '../result.ts';
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
  const { outboundScope: scope, node } = view;
  const known = translated.get([scope], () => new Map());
  const key = scope.type === 'router' ? `${name} ${JSON.stringify([...node.portMap])}` : name;
  if (!known.has(key))
    known.set(key, scope.type === 'router' ? gatewayRouteConfiguration(scope, name, node.portMap) : sidecarRoutes(scope, name));
  return known.get(key);
}

function sidecarRoutes(scope: OutboundScope, name: string): TranslatedRoutes | undefined {
  if (name === HTTP_PROXY_ROUTES) {
    return sidecarRouteConfiguration(scope, {
      name,
      services: scope.defaultServices,
      virtualServices: scope.virtualServices,
      port: undefined,
    });
  }
  const listener = scope.egressListeners.find(({ port, protocol, isCaptured }) => String(port) === name && isHttp(protocol) && !isCaptured);
  if (listener === undefined) return undefined;
  return sidecarRouteConfiguration(scope, {
    name,
    services: listener.services,
    virtualServices: indexByHost(listener.virtualServices),
    port: listener.port,
  });
}
