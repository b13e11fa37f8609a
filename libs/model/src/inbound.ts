import type { Resource } from '@mizzen/mesh-api';
import { capturedPorts } from './captured-inbound.ts';
import { workloadPortNumber } from './endpoints.ts';
import { selects } from './labels.ts';
import type { MeshSnapshot } from './mesh-snapshot.ts';
import { type MtlsMode, mtlsModeOf, resolvePeerAuthentication } from './peer-authentication.ts';
import { type Protocol, parseProtocol } from './protocol.ts';
import { type InboundPort, isCaptured, type ProxyNode } from './proxy-node.ts';
import type { Service } from './service.ts';

/** One port of the workload as its proxy serves it. */
export interface InboundService extends InboundPort {
  /** The network leads connections to the proxy, which binds nothing for the port; `defaultEndpoint` '': they go where they wanted to. */
  readonly isCaptured: boolean;
  readonly protocol: Protocol;
  readonly mtls: MtlsMode;
  /** The services that have this port, by host; of a captured proxy the oldest first. */
  readonly services: readonly Service[];
}

/** A port of a captured workload that no service has; 0 stands for all others. */
export interface PassthroughPort {
  readonly port: number;
  readonly mtls: MtlsMode;
}

/** A port that a proxy serves, before it is known what it accepts. */
export interface ServedPort {
  readonly port: InboundPort;
  readonly isCaptured: boolean;
  readonly protocol: Protocol | undefined;
  /** A Sidecar wants TLS of its own ended there. */
  readonly endsTls: boolean;
}

/** A service that stands for the workload, with its protocol by workload port. */
export interface OwnService {
  readonly service: Service;
  readonly ports: ReadonlyMap<number, Protocol>;
}

/**
 * The inbound ports of a sidecar. A Sidecar with `ingress` decides which there are and where the application listens. Without one, a
 * captured proxy serves the ports of the services that select it, any other what its node announces; where such a proxy listens is the
 * node's to say.
 */
export function buildInbound(snapshot: MeshSnapshot, node: ProxyNode, sidecar: Resource<'Sidecar'> | undefined): InboundService[] {
  const policy = resolvePeerAuthentication(snapshot.peerAuthentications, node);
  const own = servicesOf(snapshot, node);
  const ports = servedPorts(node, { own, mesh: snapshot.mesh, ingress: sidecar?.spec.ingress ?? [] });
  return ports.flatMap(({ port, isCaptured: isPortCaptured, protocol, endsTls }) => {
    const mtls = mtlsModeOf(policy, port.port);
    // TLS of a Sidecar's ingress is not supported yet, and the port must not serve plaintext instead. With mutual TLS it does not apply.
    if (endsTls && mtls === 'disable') return [];
    const served = own.filter((candidate) => candidate.ports.has(port.port));
    return [
      {
        ...port,
        isCaptured: isPortCaptured,
        protocol: protocol ?? served[0]?.ports.get(port.port) ?? 'auto',
        mtls,
        services: served.map(({ service }) => service),
      },
    ];
  });
}

/**
 * What a captured workload accepts at ports that no service has: its policy, and that of ports which have one of their own. A port whose
 * TLS is not supported lets nothing in that is not the mesh's.
 * Source: istio pilot/pkg/networking/plugin/authn/authentication.go ForPassthrough (1.32 dev).
 */
export function buildPassthrough(
  snapshot: MeshSnapshot,
  node: ProxyNode,
  { inbound, sidecar }: { inbound: readonly InboundService[]; sidecar: Resource<'Sidecar'> | undefined },
): PassthroughPort[] {
  const policy = resolvePeerAuthentication(snapshot.peerAuthentications, node);
  const served = new Set(inbound.filter((port) => port.isCaptured).map(({ port }) => port));
  const withOwnTls = (sidecar?.spec.ingress ?? []).filter(({ tls }) => tls !== undefined).flatMap(({ port }) => port?.number ?? []);
  const modes = new Map<number, MtlsMode>([...policy.byPort, ...withOwnTls.map((port) => [port, 'strict'] as const)]);
  const others = [...modes].filter(([port]) => !served.has(port)).sort(([a], [b]) => a - b);
  return [{ port: 0, mtls: policy.mode }, ...others.map(([port, mtls]) => ({ port, mtls }))];
}

interface ServedPortsContext {
  readonly own: readonly OwnService[];
  readonly mesh: MeshSnapshot['mesh'];
  readonly ingress: readonly Ingress[];
}

function servedPorts(node: ProxyNode, { own, mesh, ingress }: ServedPortsContext): ServedPort[] {
  if (isCaptured(node)) return capturedPorts(node, { own, ingress, isLocalhost: mesh.inboundTrafficPolicy?.mode === 'LOCALHOST' });
  if (ingress.length > 0) return ingress.flatMap((entry) => ingressPort(entry, node) ?? []);
  return node.inbound.map((port) => ({ port, isCaptured: false, protocol: undefined, endsTls: false }));
}

type Ingress = NonNullable<Resource<'Sidecar'>['spec']['ingress']>[number];

function ingressPort(ingress: Ingress, node: ProxyNode): ServedPort | undefined {
  const number = ingress.port?.number;
  if (number === undefined) return undefined;
  const announced = node.inbound.find((inbound) => inbound.port === number);
  const defaultEndpoint =
    ingress.defaultEndpoint?.replace(/^(0\.0\.0\.0|\[::\]):/, '127.0.0.1:') ?? announced?.defaultEndpoint ?? `127.0.0.1:${number}`;
  const port = {
    port: number,
    bind: announced?.bind ?? ingress.bind ?? node.ip,
    listenPort: announced?.listenPort ?? number,
    defaultEndpoint,
  };
  return { port, isCaptured: false, protocol: parseProtocol(ingress.port?.protocol), endsTls: ingress.tls !== undefined };
}

/** The services that the node's workload stands behind, oldest first, with protocol by workload port. */
function servicesOf(snapshot: MeshSnapshot, node: ProxyNode): OwnService[] {
  const selecting = (snapshot.selectingServices.get(node.namespace) ?? []).filter(({ workloadSelector }) =>
    selects(workloadSelector, node.labels),
  );
  if (selecting.length === 0) return [];
  const { groupPorts } = snapshot.workloads.context;
  const workload = { namespace: node.namespace, group: node.autoRegisterGroup, groupPorts, ports: namedPorts(snapshot, node) };
  return selecting.map((service) => {
    const ports = new Map<number, Protocol>();
    for (const port of service.ports) {
      const number = workloadPortNumber(port, workload);
      if (port.protocol !== 'udp' && !ports.has(number)) ports.set(number, port.protocol);
    }
    return { service, ports };
  });
}

/** Ports of the workload by name: those of its pod, or of the WorkloadEntry that somebody wrote for it. */
function namedPorts(snapshot: MeshSnapshot, node: ProxyNode): Readonly<Record<string, number>> {
  if (!isCaptured(node)) return {};
  const entry = snapshot.workloads.declared.find(({ address, namespace }) => address === node.ip && namespace === node.namespace);
  return { ...entry?.ports, ...Object.fromEntries(node.podPorts.map(({ name, containerPort }) => [name, containerPort])) };
}
