import type { Diagnostic } from '@mizzen/core';
import {
  type HostIndex,
  isHttp,
  MESH_GATEWAY,
  type OutboundScope,
  type Service,
  type ServicePort,
  type VirtualServiceConfig,
} from '@mizzen/model';
import type { RouteActionSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { connectionLimits } from '../listener/tcp-filters.ts';
import { TracedMemo } from '../memo.ts';
import { type Init, ZERO_DURATION } from '../messages.ts';
import { CONNECT_HTTP, PASSTHROUGH_CLUSTER } from '../names.ts';
import type { Read } from './destinations.ts';
import { hostDomains, serviceDomains } from './domains.ts';
import { hostsWithoutService } from './hosts-without-service.ts';
import { defaultRoute, httpRoutes, type RouteInit } from './http-routes.ts';
import { ANY_PATH } from './matches.ts';
import { type EncodedVirtualHost, encodeVirtualHost, routeConfiguration, type TranslatedRoutes } from './route-configuration.ts';
import { serviceTargets, type TcpTarget } from './tcp-targets.ts';

const virtualHosts = new TracedMemo<OutboundScope, EncodedVirtualHost>();

/** What one listener of a sidecar routes. */
export interface SidecarRoutes {
  readonly name: string;
  readonly services: readonly Service[];
  readonly virtualServices: HostIndex<VirtualServiceConfig>;
  /** Only this port's services, which then may be called without port; undefined for the explicit proxy, which serves all ports. */
  readonly port: number | undefined;
}

/**
 * The routes of a listener that applications name themselves: the HTTP proxy port, or a port that a Sidecar binds. Requests of the HTTP
 * proxy come in absolute form or as CONNECT; what comes out of a tunnel to an HTTP port is routed by the same virtual hosts.
 */
export function sidecarRouteConfiguration(scope: OutboundScope, routes: SidecarRoutes): TranslatedRoutes {
  const taken = new Set<string>();
  const claim = (domains: string[]): string[] => domains.filter((domain) => !taken.has(domain) && taken.add(domain));
  const hosts: EncodedVirtualHost[] = [];
  for (const service of routes.services) {
    if (service.host === '*') continue;
    for (const port of service.ports) {
      if (port.protocol === 'udp' || (routes.port !== undefined && port.number !== routes.port)) continue;
      const withoutPort = routes.port !== undefined || port.number === 80;
      const domains = claim(
        serviceDomains(service, {
          port: port.number,
          namespace: scope.namespace,
          domain: scope.domain,
          forms: withoutPort ? 'both' : 'with-port',
          addresses: scope.addressesOf(service),
        }),
      );
      if (domains.length > 0) hosts.push(serviceVirtualHost(scope, { service, port, domains, routes }));
    }
  }
  for (const { host, virtualService } of hostsWithoutService(scope, routes.virtualServices)) {
    const domains = claim(hostDomains(host, { port: routes.port ?? 80, namespace: scope.namespace, domain: scope.domain, forms: 'both' }));
    if (domains.length > 0) hosts.push(hostVirtualHost(scope, { host, virtualService, domains, routes }));
  }
  hosts.push(otherwise(scope.isRegistryOnly));
  return routeConfiguration(routes.name, hosts, { ignoresPort: false });
}

function serviceVirtualHost(
  scope: OutboundScope,
  host: { service: Service; port: ServicePort; domains: string[]; routes: SidecarRoutes },
): EncodedVirtualHost {
  const { service, port, domains, routes } = host;
  const virtualService = routes.virtualServices.find(service.host);
  const isProxy = routes.port === undefined;
  const key = { objects: [service, virtualService, scope.mesh], text: `${port.number} ${isProxy} ${domains.join()}` };
  return virtualHosts.get(key, scope, (read) => {
    const diagnostics: Diagnostic[] = [];
    const isRouted = isHttp(port.protocol) || port.protocol === 'auto';
    const context = {
      mesh: scope.mesh,
      domain: scope.domain,
      gateway: MESH_GATEWAY,
      port: port.number,
      isTls: false,
      read,
      report: (found: Diagnostic) => diagnostics.push(found),
    };
    const requests = !isRouted
      ? []
      : virtualService !== undefined && virtualService.http.length > 0
        ? httpRoutes(virtualService, context)
        : [defaultRoute(service, port.number, context)];
    const tunnels = isProxy
      ? [isHttp(port.protocol) ? tunnel(toProxy) : limitedTunnel(serviceTargets(service, virtualService, context), read)]
      : [];
    const name = `${service.host}:${port.number}`;
    return encodeVirtualHost({ name, domains, routes: [...tunnels, ...requests], includeRequestAttemptCount: true }, diagnostics);
  });
}

const toProxy: readonly TcpTarget[] = [{ cluster: CONNECT_HTTP, weight: 1 }];

function hostVirtualHost(
  scope: OutboundScope,
  about: { host: string; virtualService: VirtualServiceConfig; domains: string[]; routes: SidecarRoutes },
): EncodedVirtualHost {
  const { host, virtualService, domains, routes } = about;
  const port = routes.port ?? 80;
  const isProxy = routes.port === undefined;
  return virtualHosts.get({ objects: [virtualService, scope.mesh], text: `${port} ${isProxy} ${domains.join()}` }, scope, (read) => {
    const diagnostics: Diagnostic[] = [];
    const requests = httpRoutes(virtualService, {
      mesh: scope.mesh,
      domain: scope.domain,
      gateway: MESH_GATEWAY,
      port,
      isTls: false,
      read,
      report: (found) => diagnostics.push(found),
    });
    const routed = [...(isProxy ? [tunnel(toProxy)] : []), ...requests];
    return encodeVirtualHost({ name: `${host}:${port}`, domains, routes: routed, includeRequestAttemptCount: true }, diagnostics);
  });
}

const CONNECT: Init<typeof RouteActionSchema> = { timeout: ZERO_DURATION, upgradeConfigs: [{ upgradeType: 'CONNECT', connectConfig: {} }] };

/** Ends a CONNECT at the proxy and carries its bytes to the target. */
function tunnel(targets: readonly TcpTarget[], limits: Init<typeof RouteActionSchema> = {}): RouteInit {
  const [first, another] = targets;
  const clusterSpecifier =
    another === undefined
      ? ({ case: 'cluster', value: first?.cluster ?? '' } as const)
      : ({ case: 'weightedClusters', value: { clusters: targets.map(({ cluster, weight }) => ({ name: cluster, weight })) } } as const);
  return {
    match: { pathSpecifier: { case: 'connectMatcher', value: {} } },
    action: { case: 'route', value: { ...CONNECT, ...limits, clusterSpecifier } },
  };
}

/** A tunnel that ends where a connection of the service would. */
function limitedTunnel(targets: readonly TcpTarget[], read: Read): RouteInit {
  const { idleTimeout, maxDownstreamConnectionDuration: maxStreamDuration } = connectionLimits(targets, read);
  return tunnel(targets, { ...(idleTimeout && { idleTimeout }), ...(maxStreamDuration && { maxStreamDuration: { maxStreamDuration } }) });
}

const allowAny = encodeVirtualHost({
  name: 'allow_any',
  domains: ['*'],
  routes: [
    tunnel([{ cluster: PASSTHROUGH_CLUSTER, weight: 1 }]),
    {
      name: 'allow_any',
      match: ANY_PATH,
      action: { case: 'route', value: { clusterSpecifier: { case: 'cluster', value: PASSTHROUGH_CLUSTER }, timeout: ZERO_DURATION } },
    },
  ],
  includeRequestAttemptCount: true,
});

const refused = { case: 'directResponse', value: { status: 502 } } as const;

// A CONNECT is matched by its own matcher only.
const blockAll = encodeVirtualHost({
  name: 'block_all',
  domains: ['*'],
  routes: [
    { name: 'block_all', match: { pathSpecifier: { case: 'connectMatcher', value: {} } }, action: refused },
    { name: 'block_all', match: ANY_PATH, action: refused },
  ],
});

/** What the mesh does not know. */
function otherwise(isRegistryOnly: boolean): EncodedVirtualHost {
  return isRegistryOnly ? blockAll : allowAny;
}
