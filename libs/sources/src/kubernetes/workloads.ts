import { isIPv6 } from 'node:net';
import { type EndpointMembership, TLS_MODE_LABEL, type Workload } from '@mizzen/model';
import type { KeptEndpoint, KeptSlice } from './endpoint-slice.ts';
import { localityOfLabels } from './node-locality.ts';
import type { KeptPod } from './pod.ts';
import { hostOfService, type KeptService } from './service.ts';

export interface WorkloadInputs {
  readonly domain: string;
  /** By `namespace/name`. */
  readonly services: ReadonlyMap<string, KeptService>;
  readonly slices: ReadonlyMap<string, KeptSlice>;
  readonly pods: ReadonlyMap<string, KeptPod>;
  /** Locality by node. */
  readonly localities: ReadonlyMap<string, string>;
}

interface Made {
  readonly pod: KeptPod | undefined;
  readonly locality: string;
  readonly memberships: readonly EndpointMembership[];
  readonly workload: Workload;
}

interface Found {
  readonly namespace: string;
  readonly address: string;
  readonly pod: KeptPod | undefined;
  readonly nodeName: string;
  readonly memberships: EndpointMembership[];
}

type Ports = Readonly<Record<string, number>>;

const NETWORK = 'topology.istio.io/network';

/**
 * Makes workloads from pods and from the endpoints that are none, with the services that each stands behind. What did not change is the
 * same object as the time before.
 */
export class WorkloadBuilder {
  #made = new Map<string, Made>();
  /** Those of the slices of this build and of the one before. */
  #ports = new Map<string, Ports>();
  #portsBefore = new Map<string, Ports>();

  build(inputs: WorkloadInputs): readonly Workload[] {
    const made = new Map<string, Made>();
    this.#portsBefore = this.#ports;
    this.#ports = new Map();
    for (const [key, found] of this.#find(inputs)) {
      const { pod, memberships } = found;
      const locality = (pod && localityOfLabels(pod.labels)) ?? inputs.localities.get(found.nodeName) ?? '';
      const before = this.#made.get(key);
      const isSame = before?.pod === pod && before?.locality === locality && areSame(before.memberships, memberships);
      made.set(key, before && isSame ? before : { pod, locality, memberships, workload: workloadOf(found, locality) });
    }
    this.#made = made;
    return [...made.values()].map(({ workload }) => workload);
  }

  #find({ domain, services, slices, pods }: WorkloadInputs): Map<string, Found> {
    const all = new Map<string, Found>();
    const at = (address: string, about: { namespace: string; pod: KeptPod | undefined; nodeName: string }): Found => {
      const key = `${about.namespace}/${about.pod?.name ?? ''}/${address}`;
      const found = all.get(key) ?? { ...about, address, memberships: [] };
      all.set(key, found);
      return found;
    };
    for (const pod of pods.values()) {
      const [address = ''] = pod.addresses;
      at(address, { namespace: pod.namespace, pod, nodeName: pod.nodeName });
    }
    for (const slice of slices.values()) {
      const { namespace } = slice;
      const service = services.get(`${namespace}/${slice.service}`);
      if (!service || !isOfFamily(slice, service)) continue;
      const host = hostOfService(service, domain);
      for (const endpoint of slice.endpoints) {
        const pod = endpoint.pod === undefined ? undefined : pods.get(`${namespace}/${endpoint.pod}`);
        // Without its pod nobody knows who it is; it comes, or the endpoint goes.
        if (endpoint.pod !== undefined && !pod) continue;
        const found = at(endpoint.address, { namespace, pod, nodeName: pod?.nodeName ?? endpoint.nodeName ?? '' });
        addMembership(found.memberships, this.#membership(host, endpoint, slice));
      }
    }
    return all;
  }

  #membership(host: string, { isReady, hostname }: KeptEndpoint, { ports }: KeptSlice): EndpointMembership {
    return { host, ports: this.#shared(ports), isReady, ...(hostname !== undefined && { hostname }) };
  }

  /** Thousands of slices have the same few ports: one object for each, which can be compared by identity. */
  #shared(ports: Ports): Ports {
    const text = JSON.stringify(ports);
    const known = this.#ports.get(text) ?? this.#portsBefore.get(text) ?? ports;
    this.#ports.set(text, known);
    return known;
  }
}

/** A Service of two families is reached by its first: its endpoints are in slices of both, and would count twice. */
function isOfFamily({ addressType, endpoints }: KeptSlice, { clusterIps }: KeptService): boolean {
  const [first] = clusterIps;
  if (first === undefined || first === 'None' || first === '')
    return addressType === 'IPv4' || endpoints.every(({ address }) => isIPv6(address));
  return isIPv6(first) === (addressType === 'IPv6');
}

/** One port may be in several slices of a Service (named target ports that differ between pods): together they are one membership. */
function addMembership(memberships: EndpointMembership[], added: EndpointMembership): void {
  const index = memberships.findIndex(({ host }) => host === added.host);
  const before = memberships[index];
  if (!before) memberships.push(added);
  else memberships[index] = { ...added, ports: { ...before.ports, ...added.ports }, isReady: before.isReady || added.isReady };
}

function areSame(a: readonly EndpointMembership[], b: readonly EndpointMembership[]): boolean {
  return a.length === b.length && a.every((membership, index) => isSame(membership, b[index]));
}

function isSame(a: EndpointMembership, b: EndpointMembership | undefined): boolean {
  return (
    b !== undefined &&
    a.host === b.host &&
    a.isReady === b.isReady &&
    a.hostname === b.hostname &&
    (a.ports === b.ports || JSON.stringify(a.ports) === JSON.stringify(b.ports))
  );
}

function workloadOf({ namespace, address, pod, memberships }: Found, locality: string): Workload {
  const labels = pod?.labels ?? {};
  return {
    name: pod?.name ?? address,
    namespace,
    address,
    ports: {},
    labels,
    serviceAccount: pod?.serviceAccount ?? '',
    locality,
    network: labels[NETWORK] ?? '',
    weight: 0,
    // The injector sets it on every pod that it gives a sidecar.
    tlsMode: labels[TLS_MODE_LABEL] === 'istio' ? 'istio' : 'disabled',
    group: '',
    ...(pod?.isReady === false && { isReady: false }),
    endpointOf: memberships,
  };
}
