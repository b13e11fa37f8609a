import type { Diagnostic } from '@mizzen/core';
import type { GatewayPorts, OutboundScope, VirtualServiceConfig } from '@mizzen/model';
import { VirtualHost_TlsRequirementType, type VirtualHostSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { type BoundServer, boundServers, httpRouteName, httpsRouteName, publicPort, serverHosts, sharedHosts } from '../gateway-servers.ts';
import type { Init } from '../messages.ts';
import { hostLimits } from '../rate-limit/descriptors.ts';
import { withRouteLimits } from '../rate-limit/routes.ts';
import { httpRoutes, type RouteInit } from './http-routes.ts';
import { ANY_PATH } from './matches.ts';
import { encodeVirtualHost, routeConfiguration, type TranslatedRoutes } from './route-configuration.ts';

const HTTPS_PORT = 443;

interface GatewayVirtualHost {
  readonly routes: RouteInit[];
  readonly contributors: Set<VirtualServiceConfig>;
  readonly diagnostics: Diagnostic[];
  isRedirectedToTls: boolean;
}

/** The routes of a gateway's listener, or undefined where no server has that name. */
export function gatewayRouteConfiguration(scope: OutboundScope, name: string, ports: GatewayPorts): TranslatedRoutes | undefined {
  const servers = boundServers(scope, ports).filter(
    (bound) =>
      (bound.kind === 'http' && httpRouteName(bound.boundPort) === name) || (bound.kind === 'https' && httpsRouteName(bound) === name),
  );
  const [first] = servers;
  if (first === undefined) return undefined;
  const hosts = new Map<string, GatewayVirtualHost>();
  for (const server of servers) addServer(hosts, scope, server);
  // Without any virtual host Envoy would have nothing to say; an empty one answers 404.
  if (hosts.size === 0)
    return routeConfiguration(name, [encodeVirtualHost({ name: `blackhole:${first.boundPort}`, domains: ['*'] })], { ignoresPort: true });
  const tlsPort = publicPort(HTTPS_PORT, ports);
  const rateLimits = hostLimits(scope.rateLimits);
  const encoded = [...hosts.keys()].sort().map((host) => {
    const about = hosts.get(host);
    const init = virtualHost({ name: `${host}:${first.boundPort}`, host, tlsPort }, about);
    return encodeVirtualHost({ ...init, ...(rateLimits.length > 0 && { rateLimits }) }, about?.diagnostics);
  });
  return routeConfiguration(name, encoded, { ignoresPort: true });
}

/** Several VirtualServices of one host are joined, oldest first. */
function addServer(hosts: Map<string, GatewayVirtualHost>, scope: OutboundScope, bound: BoundServer): void {
  const isRedirectedToTls = bound.server.tls?.httpsRedirect ?? false;
  if (isRedirectedToTls) for (const host of serverHosts(bound)) hostOf(hosts, host).isRedirectedToTls = true;
  for (const virtualService of scope.virtualServicesByGateway.get(bound.gateway.key) ?? []) {
    if (virtualService.http.length === 0) continue;
    for (const host of sharedHosts(bound, virtualService)) {
      const virtualHost = hostOf(hosts, host);
      if (isRedirectedToTls) virtualHost.isRedirectedToTls = true;
      if (virtualHost.contributors.has(virtualService)) continue;
      virtualHost.contributors.add(virtualService);
      const routes = httpRoutes(virtualService, {
        mesh: scope.mesh,
        domain: scope.domain,
        gateway: bound.gateway.key,
        port: bound.server.port.number,
        publicPort: bound.publicPort,
        isTls: bound.kind === 'https',
        read: (look) => look(scope),
        report: (found) => virtualHost.diagnostics.push(found),
      });
      virtualHost.routes.push(...withRouteLimits(routes, scope.rateLimits));
    }
  }
}

function hostOf(hosts: Map<string, GatewayVirtualHost>, host: string): GatewayVirtualHost {
  let virtualHost = hosts.get(host);
  if (virtualHost === undefined) {
    virtualHost = { routes: [], contributors: new Set(), diagnostics: [], isRedirectedToTls: false };
    hosts.set(host, virtualHost);
  }
  return virtualHost;
}

function virtualHost(
  at: { name: string; host: string; tlsPort: number },
  about: GatewayVirtualHost | undefined,
): Init<typeof VirtualHostSchema> {
  const common = { name: at.name, domains: [at.host], includeRequestAttemptCount: true };
  if (!about?.isRedirectedToTls) return { ...common, routes: catchAllLast(about?.routes ?? []) };
  if (at.tlsPort === HTTPS_PORT) return { ...common, routes: catchAllLast(about.routes), requireTls: VirtualHost_TlsRequirementType.ALL };
  // `require_tls` would send the client to the plaintext port; where 443 could not be bound it is another that answers.
  const redirect = { schemeRewriteSpecifier: { case: 'httpsRedirect', value: true }, portRedirect: at.tlsPort } as const;
  return { ...common, routes: [{ name: 'https_redirect', match: ANY_PATH, action: { case: 'redirect', value: redirect } }] };
}

// One team's catch-all must not hide another's routes. Source: istio route.go SortVHostRoutes (1.32 dev).
function catchAllLast(routes: readonly RouteInit[]): RouteInit[] {
  return [...routes.filter((route) => !isCatchAllRoute(route)), ...routes.filter(isCatchAllRoute)];
}

function isCatchAllRoute({ match }: RouteInit): boolean {
  const isAnyPath = match?.pathSpecifier?.case === 'prefix' && match.pathSpecifier.value === '/';
  return isAnyPath && (match.headers?.length ?? 0) === 0 && (match.queryParameters?.length ?? 0) === 0;
}
