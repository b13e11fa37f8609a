import type { ResourceRef } from '@mizzen/core';
import type { Labels } from './labels.ts';
import type { Protocol } from './protocol.ts';
import type { Visibility } from './visibility.ts';
import type { Workload } from './workload.ts';

/**
 * How the endpoints of a service are found: `static` by the registry; `dns` and `dns-round-robin` by looking names up; `passthrough`
 * by the address that the client wanted.
 */
export type Resolution = 'static' | 'dns' | 'dns-round-robin' | 'passthrough';

export interface ServicePort {
  readonly number: number;
  readonly name: string;
  readonly protocol: Protocol;
  /** The port of the workload, where the workload itself does not say another for this port's name. */
  readonly targetPort: number;
  /** Kubernetes: the workload's port is the one of this name, which differs between pods. `targetPort` is then only a fallback. */
  readonly targetPortName?: string;
}

/** A name with ports that workloads stand behind. Made from a ServiceEntry's host; a Kubernetes Service makes the same. */
export interface Service {
  /** Fully qualified, lower case; may be a wildcard (`*.example.com`). */
  readonly host: string;
  readonly namespace: string;
  /** What telemetry calls it: `reviews`. */
  readonly name: string;
  readonly ports: readonly ServicePort[];
  /** Virtual addresses and CIDR ranges. */
  readonly addresses: readonly string[];
  /**
   * Without addresses of its own it is given one that only the mesh knows, for proxies whose applications ask them for names.
   * Source: istio pilot/pkg/networking/serviceentry/ip_autoallocation.go (1.32 dev).
   */
  readonly isAddressAllocated?: boolean;
  /** Outside of the mesh: no auto mTLS, principal unknown. */
  readonly isExternal: boolean;
  readonly resolution: Resolution;
  readonly visibility: Visibility;
  /**
   * Who says which workloads are its endpoints. `selector` (default): `workloadSelector`. `registry`: a workload that has `endpointOf` is one
   * where it is listed there (a pod by its EndpointSlice); one that has not (a WorkloadEntry), by the selector.
   */
  readonly endpointSource?: 'selector' | 'registry';
  /** Selects workloads of the service's namespace; undefined where `ownWorkloads` are all. */
  readonly workloadSelector: Labels | undefined;
  /** Endpoints that the resource itself lists. */
  readonly ownWorkloads: readonly Workload[];
  /** Names that the certificates of the endpoints may carry, besides those of their service accounts. */
  readonly subjectAltNames: readonly string[];
  readonly createdAt: string;
  readonly source: ResourceRef;
}

export function servicePort(service: Service, number: number): ServicePort | undefined {
  return service.ports.find((port) => port.number === number);
}

/** Declared by the platform, so that it owns its name: a ServiceEntry of the same host only adds endpoints to it. */
export function isOfKubernetes(service: Service): boolean {
  return service.source.kind === 'Service';
}

/** Clients connect to the workloads' own addresses. */
export function isHeadless(service: Service): boolean {
  return service.resolution === 'passthrough' && service.addresses.length === 0;
}
