import { compareText } from './age.ts';
import { canonicalRevision, canonicalService, type Labels, selects } from './labels.ts';
import { mtlsModeOf, type PeerAuthenticationIndex, resolvePeerAuthentication } from './peer-authentication.ts';
import type { Service, ServicePort } from './service.ts';
import type { TlsMode, Workload } from './workload.ts';

/** One address that a service port can be reached at. */
export interface Endpoint {
  /** IP, DNS name, or `unix:///path` (then `port` is 0). */
  readonly address: string;
  readonly port: number;
  readonly labels: Labels;
  readonly weight: number;
  readonly locality: string;
  readonly network: string;
  /** What a client uses: `disabled` also where the workload's PeerAuthentication refuses mutual TLS. */
  readonly tlsMode: TlsMode;
  readonly workload: {
    readonly name: string;
    readonly namespace: string;
    readonly canonicalService: string;
    readonly canonicalRevision: string;
  };
}

/** Everything behind one service. A new object where anything of it changed. */
export interface ServiceEndpoints {
  readonly byPort: ReadonlyMap<number, readonly Endpoint[]>;
  /** SPIFFE ids of the service accounts behind the service, sorted. */
  readonly identities: readonly string[];
}

export interface EndpointContext {
  readonly trustDomains: readonly string[];
  readonly peerAuthentications: PeerAuthenticationIndex;
  /** Number of a registered workload's port, by `namespace/group` and port name. */
  readonly groupPorts: ReadonlyMap<string, Readonly<Record<string, number>>>;
}

/** Workloads by namespace and by each label, so that a selector looks at few. */
export class WorkloadIndex {
  readonly #namespaces = new Map<string, { all: Workload[]; byLabel: Map<string, Workload[]> }>();

  constructor(workloads: readonly Workload[]) {
    for (const workload of workloads) {
      const entry = this.#namespaces.get(workload.namespace) ?? { all: [], byLabel: new Map<string, Workload[]>() };
      this.#namespaces.set(workload.namespace, entry);
      entry.all.push(workload);
      for (const key in workload.labels) {
        const label = `${key}=${workload.labels[key]}`;
        const list = entry.byLabel.get(label);
        if (list === undefined) entry.byLabel.set(label, [workload]);
        else list.push(workload);
      }
    }
  }

  select(namespace: string, selector: Labels): readonly Workload[] {
    const entry = this.#namespaces.get(namespace);
    if (entry === undefined) return [];
    let candidates: readonly Workload[] = entry.all;
    for (const key in selector) {
      const list = entry.byLabel.get(`${key}=${selector[key]}`) ?? [];
      if (list.length < candidates.length) candidates = list;
    }
    return candidates.filter((workload) => selects(selector, workload.labels));
  }
}

/** The endpoints of a service: those it lists itself and those it selects, in the order of address and port. */
export function buildEndpoints(service: Service, workloads: WorkloadIndex, context: EndpointContext): ServiceEndpoints {
  const selected = service.workloadSelector === undefined ? [] : workloads.select(service.namespace, service.workloadSelector);
  const all = [...service.ownWorkloads, ...selected];
  const byPort = new Map<number, Endpoint[]>();
  for (const port of service.ports) {
    const endpoints = all.filter((workload) => workload.address !== '').map((workload) => endpointOf(workload, port, context));
    byPort.set(
      port.number,
      endpoints.sort((a, b) => compareText(a.address, b.address) || a.port - b.port || compareText(a.workload.name, b.workload.name)),
    );
  }
  const identities = new Set(all.flatMap((workload) => identitiesOf(workload, context.trustDomains)));
  return { byPort, identities: [...identities].sort() };
}

function endpointOf(workload: Workload, port: ServicePort, context: EndpointContext): Endpoint {
  const isPipe = workload.address.startsWith('unix://');
  return {
    address: workload.address,
    port: isPipe ? 0 : (workload.ports[port.name] ?? port.targetPort),
    labels: workload.labels,
    weight: workload.weight,
    locality: workload.locality,
    network: workload.network,
    tlsMode: tlsModeFor(workload, port, context),
    workload: {
      name: workload.name,
      namespace: workload.namespace,
      canonicalService: canonicalService(workload.labels, workload.name),
      canonicalRevision: canonicalRevision(workload.labels),
    },
  };
}

// Source: istio pilot/pkg/xds/endpoints/mtls_checker.go (1.32 dev).
function tlsModeFor(workload: Workload, port: ServicePort, context: EndpointContext): TlsMode {
  if (workload.tlsMode === 'disabled') return 'disabled';
  const policy = resolvePeerAuthentication(context.peerAuthentications, workload);
  const number = workloadPortNumber(port, {
    namespace: workload.namespace,
    group: workload.group,
    groupPorts: context.groupPorts,
    ports: workload.ports,
  });
  return mtlsModeOf(policy, number) === 'disable' ? 'disabled' : 'istio';
}

/**
 * The number by which policies name a workload's port. A registered workload's entry carries the port that its proxy happens to listen
 * on, which no policy can know; its WorkloadGroup carries the one that people write.
 */
export function workloadPortNumber(
  port: ServicePort,
  workload: {
    namespace: string;
    group: string;
    groupPorts: ReadonlyMap<string, Readonly<Record<string, number>>>;
    ports: Readonly<Record<string, number>>;
  },
): number {
  if (workload.group === '') return workload.ports[port.name] ?? port.targetPort;
  return workload.groupPorts.get(`${workload.namespace}/${workload.group}`)?.[port.name] ?? port.targetPort;
}

function identitiesOf(workload: Workload, trustDomains: readonly string[]): string[] {
  if (workload.serviceAccount === '') return [];
  return trustDomains.map((trustDomain) => `spiffe://${trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}`);
}
