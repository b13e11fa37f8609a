import type { Resource } from '@mizzen/mesh-api';
import type { Labels } from './labels.ts';

/** `istio`: serves the mesh's mutual TLS. */
export type TlsMode = 'istio' | 'disabled';

/** Something that runs: a process behind a sidecar, a pod, a machine; or one endpoint that a ServiceEntry lists. */
export interface Workload {
  readonly name: string;
  readonly namespace: string;
  /** IP, DNS name, or `unix:///path`. */
  readonly address: string;
  /** Port of the workload by the name of the service port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Labels;
  readonly serviceAccount: string;
  readonly locality: string;
  readonly network: string;
  /** 0 means unset. */
  readonly weight: number;
  readonly tlsMode: TlsMode;
  /** WorkloadGroup that it was registered for, or ''. */
  readonly group: string;
  /** False: its registry knows that it takes no requests, whatever selects it. Default true; `endpointOf` says it for each service. */
  readonly isReady?: boolean;
  /** Of a registry that lists endpoints itself (Kubernetes): the services that the workload stands behind. Undefined: selectors decide. */
  readonly endpointOf?: readonly EndpointMembership[];
}

/** That a workload is an endpoint of a service of its registry, and by which ports. */
export interface EndpointMembership {
  /** Fully qualified host of the service. */
  readonly host: string;
  /** Port of the workload by the name of the service port. */
  readonly ports: Readonly<Record<string, number>>;
  /** False: it is known, and gets no requests. */
  readonly isReady: boolean;
  /** Its own name below a headless service (`mysql-0` of a StatefulSet), for the name table. */
  readonly hostname?: string;
}

type EntrySpec = Resource<'WorkloadEntry'>['spec'];

export const TLS_MODE_LABEL = 'security.istio.io/tlsMode';
export const AUTO_REGISTRATION_GROUP_ANNOTATION = 'istio.io/autoRegistrationGroup';

const made = new WeakMap<Resource<'WorkloadEntry'>, Workload>();

/** The workload of a WorkloadEntry. The same resource gives the same object. */
export function workloadFromEntry(resource: Resource<'WorkloadEntry'>): Workload {
  let workload = made.get(resource);
  if (workload === undefined) {
    const { name, namespace, labels, annotations } = resource.metadata;
    workload = workloadFromSpec(resource.spec, { name, namespace, labels, group: annotations[AUTO_REGISTRATION_GROUP_ANNOTATION] ?? '' });
    made.set(resource, workload);
  }
  return workload;
}

export function workloadFromSpec(spec: EntrySpec, about: { name: string; namespace: string; labels?: Labels; group?: string }): Workload {
  const labels = { ...about.labels, ...spec.labels };
  return {
    name: about.name,
    namespace: about.namespace,
    address: spec.address ?? '',
    ports: spec.ports ?? {},
    labels,
    serviceAccount: spec.serviceAccount ?? '',
    locality: spec.locality ?? '',
    network: spec.network ?? '',
    weight: spec.weight ?? 0,
    tlsMode: tlsModeOf(labels, spec.serviceAccount ?? ''),
    group: about.group ?? '',
  };
}

// The label decides; without it, an identity means that something is there to prove it.
// Source: istio pilot/pkg/serviceregistry/serviceentry/conversion.go getTLSModeFromWorkloadEntry (1.32 dev).
function tlsModeOf(labels: Labels, serviceAccount: string): TlsMode {
  const label = labels[TLS_MODE_LABEL];
  if (label !== undefined) return label === 'istio' ? 'istio' : 'disabled';
  return serviceAccount === '' ? 'disabled' : 'istio';
}
