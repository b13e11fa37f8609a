import { type EndpointMembership, type Service, type ServicePort, selectProtocol, selects, type Workload } from '@mizzen/model';

/** A Service of Kubernetes, in short. */
export interface CaseService {
  readonly name: string;
  readonly namespace?: string;
  /** `None` for a headless one. */
  readonly clusterIP: string;
  readonly ports: readonly { readonly number: number; readonly name?: string; readonly targetPort?: number | string }[];
  readonly selector?: Readonly<Record<string, string>>;
}

/** A pod of Kubernetes, in short: with a sidecar, unless it says otherwise. */
export interface CasePod {
  readonly name: string;
  readonly namespace?: string;
  readonly ip: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports?: Readonly<Record<string, number>>;
  readonly hasSidecar?: boolean;
  readonly isReady?: boolean;
  readonly hostname?: string;
  readonly locality?: string;
}

/** What a registry of Kubernetes makes of them. */
export function registryOf(
  services: readonly CaseService[],
  pods: readonly CasePod[],
): { services: readonly Service[]; workloads: readonly Workload[] } {
  const made = services.map(serviceOf);
  return { services: made, workloads: pods.map((pod) => workloadOf(pod, made)) };
}

function serviceOf({ name, namespace = 'default', clusterIP, ports, selector }: CaseService, index: number): Service {
  const isHeadless = clusterIP === 'None';
  return {
    host: `${name}.${namespace}.svc.cluster.local`,
    namespace,
    name,
    ports: ports.map((port) => servicePortOf(port)),
    addresses: isHeadless ? [] : [clusterIP],
    isExternal: false,
    resolution: isHeadless ? 'passthrough' : 'static',
    visibility: 'everywhere',
    endpointSource: 'registry',
    workloadSelector: selector ?? { app: name },
    ownWorkloads: [],
    subjectAltNames: [],
    createdAt: new Date(Date.UTC(2023, 0, 1) + index * 1000).toISOString(),
    source: { kind: 'Service', namespace, name },
  };
}

function servicePortOf({ number, name = '', targetPort = number }: CaseService['ports'][number]): ServicePort {
  const protocol = selectProtocol({ number, name });
  return typeof targetPort === 'number'
    ? { number, name, protocol, targetPort }
    : { number, name, protocol, targetPort: number, targetPortName: targetPort };
}

function workloadOf(pod: CasePod, services: readonly Service[]): Workload {
  const { name, namespace = 'default', ip, labels, hasSidecar = true, locality = '' } = pod;
  const mine = services.filter((service) => service.namespace === namespace && selects(service.workloadSelector, labels));
  return {
    name,
    namespace,
    address: ip,
    ports: {},
    labels,
    serviceAccount: labels['app'] ?? 'default',
    locality,
    network: '',
    weight: 0,
    tlsMode: hasSidecar ? 'istio' : 'disabled',
    group: '',
    endpointOf: mine.map((service) => membershipOf(pod, service)),
  };
}

function membershipOf({ ports = {}, isReady = true, hostname }: CasePod, service: Service): EndpointMembership {
  const entries = service.ports.map((port) => [port.name, ports[port.targetPortName ?? ''] ?? port.targetPort] as const);
  return { host: service.host, ports: Object.fromEntries(entries), isReady, ...(hostname !== undefined && { hostname }) };
}
