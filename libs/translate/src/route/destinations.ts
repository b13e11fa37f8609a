import { type Destination, type OutboundScope, resolveShortName, type Service, servicePort } from '@mizzen/model';
import { type PortPolicy, policyFor } from '../cluster/traffic-policy.ts';
import { outboundClusterName } from '../names.ts';

/** What routes look up of the rest of the mesh. Every look-up goes through `read`, so that a cached route knows what it depends on. */
export interface RouteLookup {
  service(host: string): Service | undefined;
  policy(target: { host: string; port: number; subset: string | undefined }): PortPolicy;
  clusterOf(destination: Destination): string;
}

export interface RouteOrigin {
  /** Namespace of the resource that names the destination. */
  readonly namespace: string;
  readonly domain: string;
  /** Port that the request came to, for destinations that name none. */
  readonly listenPort: number;
}

export type Read = <V>(look: (scope: OutboundScope) => V) => V;

export function routeLookup(
  read: Read,
  origin: RouteOrigin,
): RouteLookup & { target(destination: Destination): { host: string; port: number; subset: string | undefined } } {
  const service = (host: string): Service | undefined => read((scope) => scope.servicesByHost.get(host));
  const target = (destination: Destination) => {
    const host = resolveShortName(destination.host, origin);
    return { host, port: destinationPort(destination, service(host), origin.listenPort), subset: destination.subset };
  };
  return {
    service,
    target,
    policy({ host, port, subset }) {
      const rule = read((scope) => scope.destinationRule(host));
      return policyFor(rule, port, subset === undefined ? undefined : rule?.subsets.find(({ name }) => name === subset));
    },
    clusterOf: (destination) => outboundClusterName(target(destination)),
  };
}

/** The port named, or the only one of the service, or the one that the request came to. */
export function destinationPort(destination: Destination, service: Service | undefined, listenPort: number): number {
  if (destination.port?.number) return destination.port.number;
  const [only, another] = service?.ports ?? [];
  if (only !== undefined && another === undefined) return only.number;
  return service !== undefined && servicePort(service, listenPort) === undefined ? (only?.number ?? listenPort) : listenPort;
}
