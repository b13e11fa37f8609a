import type { Diagnostic } from '@mizzen/core';
import {
  type HostIndex,
  isHttp,
  MESH_GATEWAY,
  type OutboundScope,
  type Protocol,
  type Service,
  type ServicePort,
  type VirtualServiceConfig,
} from '@mizzen/model';
import { IdentityMemo, TracedMemo } from '../memo.ts';
import { ZERO_DURATION } from '../messages.ts';
import { PASSTHROUGH_CLUSTER } from '../names.ts';
import { hostDomains, serviceDomains } from './domains.ts';
import { hostsWithoutService } from './hosts-without-service.ts';
import { defaultRoute, httpRoutes, type RouteContext } from './http-routes.ts';
import { ANY_PATH } from './matches.ts';
import { type EncodedVirtualHost, encodeVirtualHost, routeConfiguration, type TranslatedRoutes } from './route-configuration.ts';

const virtualHosts = new TracedMemo<OutboundScope, EncodedVirtualHost>();
const ofOneHost = new IdentityMemo<TranslatedRoutes>();
const HTTP_PORT = 80;

/** What a listener of captured traffic routes. */
export interface CapturedRoutes {
  readonly name: string;
  readonly port: number;
  readonly services: readonly Service[];
  readonly virtualServices: HostIndex<VirtualServiceConfig>;
}

/**
 * The routes of one port number: every service that may speak HTTP there by each of its names, and the rest.
 * Source: istio pilot/pkg/networking/core/httproute.go buildSidecarOutboundHTTPRouteConfig (1.32 dev).
 */
export function portRouteConfiguration(scope: OutboundScope, routes: CapturedRoutes): TranslatedRoutes {
  const { port, virtualServices } = routes;
  const taken = new Set<string>();
  const claim = (domains: string[]): string[] => domains.filter((domain) => !taken.has(domain) && taken.add(domain));
  const naming = { port, namespace: scope.namespace, domain: scope.domain, forms: 'without-port' } as const;
  const hosts: EncodedVirtualHost[] = [];
  for (const service of routes.services) {
    const servicePort = routedPort(service, port);
    if (servicePort === undefined || service.host === '*') continue;
    const domains = claim(serviceDomains(service, { ...naming, addresses: scope.addressesOf(service) }));
    const about = { service, port: servicePort, domains, virtualService: virtualServices.find(service.host) };
    if (domains.length > 0) hosts.push(serviceVirtualHost(scope, about));
  }
  // A name that only a VirtualService knows can be called at HTTP's own port.
  for (const { host, virtualService } of port === HTTP_PORT ? hostsWithoutService(scope, virtualServices) : []) {
    const domains = claim(hostDomains(host, naming));
    if (domains.length > 0) hosts.push(namedVirtualHost(scope, { host, port, virtualService, domains }));
  }
  hosts.push(otherwise(scope.isRegistryOnly));
  return routeConfiguration(routes.name, hosts, { ignoresPort: true });
}

/** The routes of a service at an address of its own: whatever host a request names, its address has decided. */
export function serviceRouteConfiguration(
  scope: OutboundScope,
  { name, service, port }: { name: string; service: Service; port: ServicePort },
): TranslatedRoutes {
  const about = { service, port, domains: ['*'], virtualService: scope.virtualServices.find(service.host) };
  const host = serviceVirtualHost(scope, about);
  return ofOneHost.get([host], () => routeConfiguration(name, [host], { ignoresPort: true }));
}

/** The port of a service where requests can be routed one by one, or may turn out to be such. */
export function routedPort(service: Service, number: number): ServicePort | undefined {
  const isRouted = (protocol: Protocol): boolean => isHttp(protocol) || protocol === 'auto';
  return service.ports.find((port) => port.number === number && isRouted(port.protocol));
}

interface ServiceVirtualHost {
  readonly service: Service;
  readonly port: ServicePort;
  readonly domains: string[];
  readonly virtualService: VirtualServiceConfig | undefined;
}

function serviceVirtualHost(scope: OutboundScope, { service, port, domains, virtualService }: ServiceVirtualHost): EncodedVirtualHost {
  const key = { objects: [service, virtualService, scope.mesh], text: `${port.number} ${domains.join()}` };
  return virtualHosts.get(key, scope, (read) => {
    const diagnostics: Diagnostic[] = [];
    const context = routeContext(scope, { port: port.number, read, diagnostics });
    const routes =
      virtualService !== undefined && virtualService.http.length > 0
        ? httpRoutes(virtualService, context)
        : [defaultRoute(service, port.number, context)];
    const name = `${service.host}:${port.number}`;
    return encodeVirtualHost({ name, domains, routes, includeRequestAttemptCount: true }, diagnostics);
  });
}

function namedVirtualHost(
  scope: OutboundScope,
  about: { host: string; port: number; virtualService: VirtualServiceConfig; domains: string[] },
): EncodedVirtualHost {
  const { host, port, virtualService, domains } = about;
  return virtualHosts.get({ objects: [virtualService, scope.mesh], text: `${port} ${domains.join()}` }, scope, (read) => {
    const diagnostics: Diagnostic[] = [];
    const routes = httpRoutes(virtualService, routeContext(scope, { port, read, diagnostics }));
    return encodeVirtualHost({ name: `${host}:${port}`, domains, routes, includeRequestAttemptCount: true }, diagnostics);
  });
}

function routeContext(
  { mesh, domain }: OutboundScope,
  { port, read, diagnostics }: Pick<RouteContext, 'port' | 'read'> & { diagnostics: Diagnostic[] },
): RouteContext {
  return { mesh, domain, gateway: MESH_GATEWAY, port, isTls: false, read, report: (found) => diagnostics.push(found) };
}

const allowAny = encodeVirtualHost({
  name: 'allow_any',
  domains: ['*'],
  routes: [
    {
      name: 'allow_any',
      match: ANY_PATH,
      action: {
        case: 'route',
        value: {
          clusterSpecifier: { case: 'cluster', value: PASSTHROUGH_CLUSTER },
          timeout: ZERO_DURATION,
          maxGrpcTimeout: ZERO_DURATION,
        },
      },
    },
  ],
  includeRequestAttemptCount: true,
});

const blockAll = encodeVirtualHost({
  name: 'block_all',
  domains: ['*'],
  routes: [{ name: 'block_all', match: ANY_PATH, action: { case: 'directResponse', value: { status: 502 } } }],
  includeRequestAttemptCount: true,
});

/** What the mesh does not know. */
function otherwise(isRegistryOnly: boolean): EncodedVirtualHost {
  return isRegistryOnly ? blockAll : allowAny;
}
