import type { Resource } from '@mizzen/mesh-api';
import { workloadPortNumber } from './endpoints.ts';
import { selects } from './labels.ts';
import type { MeshSnapshot } from './mesh-snapshot.ts';
import { type MtlsMode, mtlsModeOf, resolvePeerAuthentication } from './peer-authentication.ts';
import { type Protocol, parseProtocol } from './protocol.ts';
import type { InboundPort, ProxyNode } from './proxy-node.ts';
import type { Service } from './service.ts';

/** One port of the workload as its proxy serves it. */
export interface InboundService extends InboundPort {
  readonly protocol: Protocol;
  readonly mtls: MtlsMode;
  /** The services that have this port, by host. */
  readonly services: readonly Service[];
}

/**
 * The inbound ports of a sidecar. A Sidecar with `ingress` decides which there are and where the application listens; where the proxy
 * listens for them is still the node's to say.
 */
export function buildInbound(snapshot: MeshSnapshot, node: ProxyNode, sidecar: Resource<'Sidecar'> | undefined): InboundService[] {
  const policy = resolvePeerAuthentication(snapshot.peerAuthentications, node);
  const own = servicesOf(snapshot, node);
  const declared = sidecar?.spec.ingress ?? [];
  const ports =
    declared.length === 0
      ? node.inbound.map((port) => ({ port, protocol: undefined, endsTls: false }))
      : declared.flatMap((ingress) => ingressPort(ingress, node) ?? []);
  return ports.flatMap(({ port, protocol, endsTls }) => {
    const mtls = mtlsModeOf(policy, port.port);
    // TLS of a Sidecar's ingress is not supported yet, and the port must not serve plaintext instead. With mutual TLS it does not apply.
    if (endsTls && mtls === 'disable') return [];
    const served = own.filter(({ ports }) => ports.has(port.port));
    return [
      {
        ...port,
        protocol: protocol ?? served[0]?.ports.get(port.port) ?? 'auto',
        mtls,
        services: served.map(({ service }) => service),
      },
    ];
  });
}

type Ingress = NonNullable<Resource<'Sidecar'>['spec']['ingress']>[number];

function ingressPort(ingress: Ingress, node: ProxyNode): { port: InboundPort; protocol: Protocol; endsTls: boolean } | undefined {
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
  return { port, protocol: parseProtocol(ingress.port?.protocol), endsTls: ingress.tls !== undefined };
}

/** The services that the node's workload stands behind, oldest host first, with protocol by workload port. */
function servicesOf(snapshot: MeshSnapshot, node: ProxyNode): { service: Service; ports: ReadonlyMap<number, Protocol> }[] {
  const found: { service: Service; ports: ReadonlyMap<number, Protocol> }[] = [];
  const { groupPorts } = snapshot.workloads.context;
  for (const sameHost of snapshot.services.values()) {
    for (const service of sameHost) {
      if (service.namespace !== node.namespace || service.workloadSelector === undefined || !selects(service.workloadSelector, node.labels))
        continue;
      const workload = { namespace: node.namespace, group: node.autoRegisterGroup, groupPorts, ports: {} };
      found.push({ service, ports: new Map(service.ports.map((port) => [workloadPortNumber(port, workload), port.protocol])) });
    }
  }
  return found;
}
