import { compareText } from './age.ts';
import { canonicalRevision, canonicalService, type Labels } from './labels.ts';
import { mtlsModeOf, type PeerAuthenticationIndex, resolvePeerAuthentication } from './peer-authentication.ts';
import type { Service, ServicePort } from './service.ts';
import type { EndpointMembership, TlsMode, Workload } from './workload.ts';
import type { WorkloadIndex } from './workload-index.ts';

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
  /** Its own name below a headless service, or ''. */
  readonly hostname: string;
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
  /** SPIFFE ids of the service accounts behind the service, sorted; those of endpoints that get no requests yet among them. */
  readonly identities: readonly string[];
  /** Ports whose endpoints all serve the mesh's mutual TLS: all that can be known where clients choose the endpoint. */
  readonly mutualPorts: readonly number[];
}

export interface EndpointContext {
  readonly trustDomains: readonly string[];
  readonly peerAuthentications: PeerAuthenticationIndex;
  /** Number of a registered workload's port, by `namespace/group` and port name. */
  readonly groupPorts: ReadonlyMap<string, Readonly<Record<string, number>>>;
}

/** A workload that may stand behind a service, and the port of it that a service port means; undefined where it has none. */
interface Candidate {
  readonly workload: Workload;
  readonly isReady: boolean;
  readonly hostname: string;
  readonly portOf: (portName: string) => number | undefined;
}

/**
 * The endpoints of a service: those it lists itself, those it selects and those that its registry lists, in the order of address and port.
 * `contributors`: the service, and other services of the same host and namespace, whose endpoints count as its own by the port's name.
 * Source: istio pilot/pkg/model/endpointshards.go CopyEndpoints (1.32 dev).
 */
export function buildEndpoints(
  service: Service,
  contributors: readonly Service[],
  { workloads, context }: { workloads: WorkloadIndex; context: EndpointContext },
): ServiceEndpoints {
  const candidates = contributors.flatMap((contributor) => candidatesOf(contributor, workloads));
  const byPort = new Map<number, Endpoint[]>();
  for (const port of service.ports) {
    const endpoints = candidates.flatMap((candidate) => endpointOf(candidate, port, context) ?? []);
    byPort.set(
      port.number,
      endpoints.sort((a, b) => compareText(a.address, b.address) || a.port - b.port || compareText(a.workload.name, b.workload.name)),
    );
  }
  const identities = new Set(candidates.flatMap(({ workload }) => identitiesOf(workload, context.trustDomains)));
  const mutualPorts = [...byPort]
    .filter(([, endpoints]) => endpoints.length > 0 && endpoints.every(({ tlsMode }) => tlsMode === 'istio'))
    .map(([port]) => port);
  return { byPort, identities: [...identities].sort(), mutualPorts };
}

function candidatesOf(service: Service, workloads: WorkloadIndex): Candidate[] {
  const selected = service.workloadSelector === undefined ? [] : workloads.select(service.namespace, service.workloadSelector);
  if (service.endpointSource === 'registry') {
    const listed = workloads.membersOf(service.host).map(({ workload, membership }) => listedCandidate(workload, membership));
    // What no registry lists (a WorkloadEntry) is there by its labels.
    const others = selected.filter(({ endpointOf: lists }) => lists === undefined);
    return [...listed, ...others.map((workload) => selectedCandidate(workload, service))];
  }
  return [...service.ownWorkloads, ...selected].map((workload) => selectedCandidate(workload, service));
}

function listedCandidate(workload: Workload, { ports, isReady, hostname = '' }: EndpointMembership): Candidate {
  return { workload, isReady, hostname, portOf: (name) => ports[name] };
}

function selectedCandidate(workload: Workload, service: Service): Candidate {
  return {
    workload,
    isReady: isReady(workload),
    hostname: '',
    portOf: (name) => {
      const port = service.ports.find((candidate) => candidate.name === name);
      return port && declaredPort(port, workload.ports);
    },
  };
}

// A registry says of a workload that it is ready with each service it lists it for, and of itself where it stands behind none.
function isReady({ endpointOf: lists, isReady: isReadyItself = true }: Workload): boolean {
  if (!isReadyItself) return false;
  return lists === undefined || lists.length === 0 || lists.some((membership) => membership.isReady);
}

function endpointOf(candidate: Candidate, port: ServicePort, context: EndpointContext): Endpoint | undefined {
  const { workload, hostname } = candidate;
  const number = candidate.portOf(port.name);
  if (!candidate.isReady || workload.address === '' || number === undefined) return undefined;
  const isPipe = workload.address.startsWith('unix://');
  return {
    address: workload.address,
    port: isPipe ? 0 : number,
    labels: workload.labels,
    weight: workload.weight,
    locality: workload.locality,
    network: workload.network,
    tlsMode: tlsModeFor(workload, { port, number }, context),
    hostname,
    workload: {
      name: workload.name,
      namespace: workload.namespace,
      canonicalService: canonicalService(workload.labels, workload.name),
      canonicalRevision: canonicalRevision(workload.labels),
    },
  };
}

// Source: istio pilot/pkg/xds/endpoints/mtls_checker.go (1.32 dev).
function tlsModeFor(workload: Workload, at: { port: ServicePort; number: number }, context: EndpointContext): TlsMode {
  if (workload.tlsMode === 'disabled') return 'disabled';
  const policy = resolvePeerAuthentication(context.peerAuthentications, workload);
  const { namespace, group } = workload;
  const number = group === '' ? at.number : workloadPortNumber(at.port, { namespace, group, groupPorts: context.groupPorts, ports: {} });
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
  if (workload.group === '') return declaredPort(port, workload.ports);
  return workload.groupPorts.get(`${workload.namespace}/${workload.group}`)?.[port.name] ?? port.targetPort;
}

/** By the name that the service gives the workload's port, then by the service port's own. */
function declaredPort({ name, targetPort, targetPortName }: ServicePort, ports: Readonly<Record<string, number>>): number {
  return (targetPortName === undefined ? undefined : ports[targetPortName]) ?? ports[name] ?? targetPort;
}

function identitiesOf(workload: Workload, trustDomains: readonly string[]): string[] {
  if (workload.serviceAccount === '') return [];
  return trustDomains.map((trustDomain) => `spiffe://${trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}`);
}
