import type { Resource } from '@mizzen/mesh-api';
import type { OwnService, ServedPort } from './inbound.ts';
import { parseProtocol } from './protocol.ts';
import type { ProxyNode } from './proxy-node.ts';

type Ingress = NonNullable<Resource<'Sidecar'>['spec']['ingress']>[number];

export interface CapturedPortsContext {
  /** Oldest first: of two services with the same workload port the older decides. */
  readonly own: readonly OwnService[];
  readonly ingress: readonly Ingress[];
  /** Applications listen on the loopback address only (`inboundTrafficPolicy: LOCALHOST`). */
  readonly isLocalhost: boolean;
}

/**
 * The ports of a captured workload: those of the services that select it, or those that its Sidecar lists.
 * Source: istio pilot/pkg/networking/core/listener_inbound.go buildInboundChainConfigs (1.32 dev).
 */
export function capturedPorts(node: ProxyNode, { own, ingress, isLocalhost }: CapturedPortsContext): ServedPort[] {
  const served =
    ingress.length > 0 ? ingress.flatMap((entry) => ingressPort(entry, node) ?? []) : serviceNumbers(own).map((port) => servicePort(port));
  return served.map((entry) =>
    isLocalhost && entry.port.defaultEndpoint === ''
      ? { ...entry, port: { ...entry.port, defaultEndpoint: `127.0.0.1:${entry.port.port}` } }
      : entry,
  );
}

function serviceNumbers(own: readonly OwnService[]): number[] {
  const numbers = new Set(own.flatMap(({ ports }) => [...ports.keys()]));
  return [...numbers].filter((port) => port > 0).sort((a, b) => a - b);
}

function servicePort(number: number): ServedPort {
  return {
    port: { port: number, bind: '0.0.0.0', listenPort: number, defaultEndpoint: '' },
    isCaptured: true,
    protocol: undefined,
    endsTls: false,
  };
}

function ingressPort(ingress: Ingress, node: ProxyNode): ServedPort | undefined {
  const number = ingress.port?.number;
  if (number === undefined) return undefined;
  return {
    port: {
      port: number,
      bind: ingress.bind || (ingress.captureMode === 'NONE' ? node.ip : '0.0.0.0'),
      listenPort: number,
      defaultEndpoint: defaultEndpoint(ingress.defaultEndpoint ?? '', node.ip),
    },
    isCaptured: ingress.captureMode !== 'NONE',
    protocol: parseProtocol(ingress.port?.protocol),
    endsTls: ingress.tls !== undefined,
  };
}

/** `0.0.0.0` and `[::]` stand for the address of the workload. Source: istio cluster.go buildInboundClustersFromSidecar (1.32 dev). */
function defaultEndpoint(text: string, ip: string): string {
  const own = ip.includes(':') ? `[${ip}]` : ip;
  return text.replace(/^(0\.0\.0\.0|\[::\]):/, () => `${own}:`);
}
