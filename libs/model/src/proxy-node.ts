import { isIP } from 'node:net';
import type { Labels } from './labels.ts';

export type ProxyType = 'sidecar' | 'router';
/** What a client can do: ours knows the istio.* filters, any other is treated as a stock Envoy. */
export type ClientKind = 'mizzen' | 'envoy';

/** One port of the workload, as its agent announced it. */
export interface InboundPort {
  /** The workload's port as services and policies name it. */
  readonly port: number;
  readonly bind: string;
  /** Where the proxy listens for it. */
  readonly listenPort: number;
  /** Where the application listens: `127.0.0.1:5000` or `unix:///path`. */
  readonly defaultEndpoint: string;
}

/** A port that a container of the pod names. */
export interface PodPort {
  readonly name: string;
  readonly containerPort: number;
}

/** Addresses that a proxy can use; decides which virtual addresses it is told of, and what it binds. */
export type IpFamily = 'ipv4' | 'ipv6' | 'dual';

/** A connected proxy, read from the Node of its stream. */
export interface ProxyNode {
  readonly id: string;
  readonly type: ProxyType;
  readonly ip: string;
  readonly ipFamily: IpFamily;
  /** `<instance>.<namespace>`. */
  readonly name: string;
  readonly namespace: string;
  /** DNS domain of the node: `default.svc.cluster.local`. */
  readonly domain: string;
  readonly client: ClientKind;
  readonly labels: Labels;
  readonly serviceAccount: string;
  readonly workloadName: string;
  readonly instanceName: string;
  readonly clusterId: string;
  readonly meshId: string;
  readonly interceptionMode: 'NONE' | 'REDIRECT' | 'TPROXY';
  /** Its applications ask the proxy for names, so that services may have addresses which only the mesh knows. */
  readonly hasDnsCapture: boolean;
  readonly podPorts: readonly PodPort[];
  /** Machine that it runs on. */
  readonly nodeName: string;
  /** URL of what made the workload: `kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1`. */
  readonly owner: string;
  readonly httpProxyPort: number | undefined;
  readonly autoRegisterGroup: string;
  readonly inbound: readonly InboundPort[];
  /** Port of a Gateway's server → port that the proxy binds for it. */
  readonly portMap: ReadonlyMap<number, number>;
}

/** The network leads the workload's connections to the proxy. */
export function isCaptured({ type, interceptionMode }: Pick<ProxyNode, 'type' | 'interceptionMode'>): boolean {
  return type === 'sidecar' && interceptionMode !== 'NONE';
}

/** The parts of envoy.config.core.v3.Node that are read here. */
export interface EnvoyNode {
  readonly id: string;
  readonly cluster?: string;
  readonly userAgentName?: string;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Reads the Node of a stream. Never throws: what is missing or of another type counts as absent, so that any client can be answered.
 * Source: istio pilot/pkg/model/context.go ParseServiceNodeWithMetadata (1.32 dev), and docs/architecture for the keys that are ours.
 */
export function parseProxyNode(node: EnvoyNode): ProxyNode {
  const [type = '', ip = '', name = '', domain = ''] = node.id.split('~');
  const metadata = node.metadata ?? {};
  const namespace = text(metadata['NAMESPACE']) || name.slice(name.lastIndexOf('.') + 1) || 'default';
  const labels = stringMap(metadata['LABELS']);
  const mode = text(metadata['INTERCEPTION_MODE']);
  const addresses = [ip, ...text(metadata['INSTANCE_IPS']).split(',')].filter((address) => isIP(address) !== 0);
  return {
    id: node.id,
    type: type === 'router' ? 'router' : 'sidecar',
    ip: ip || addresses[0] || '127.0.0.1',
    ipFamily: ipFamily(addresses),
    name: name || node.id,
    namespace,
    domain: domain || `${namespace}.svc.cluster.local`,
    client: node.userAgentName === 'mizzen' ? 'mizzen' : 'envoy',
    labels,
    serviceAccount: text(metadata['SERVICE_ACCOUNT']),
    workloadName: text(metadata['WORKLOAD_NAME']),
    instanceName: text(metadata['INSTANCE_NAME']) || name.slice(0, Math.max(name.lastIndexOf('.'), 0)),
    clusterId: text(metadata['CLUSTER_ID']),
    meshId: text(metadata['MESH_ID']),
    interceptionMode: mode === 'REDIRECT' || mode === 'TPROXY' ? mode : 'NONE',
    hasDnsCapture: flag(metadata['DNS_CAPTURE']),
    podPorts: podPorts(metadata['POD_PORTS']),
    nodeName: text(metadata['NODE_NAME']),
    owner: text(metadata['OWNER']),
    httpProxyPort: port(metadata['HTTP_PROXY_PORT']),
    autoRegisterGroup: text(metadata['AUTO_REGISTER_GROUP']),
    inbound: inboundPorts(metadata['INBOUND']),
    portMap: portMap(metadata['PORT_MAP']),
  };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '';
}

function flag(value: unknown): boolean {
  return value === true || value === 'true' || value === '1';
}

function ipFamily(addresses: readonly string[]): IpFamily {
  const hasIpv4 = addresses.some((address) => isIP(address) === 4);
  const hasIpv6 = addresses.some((address) => isIP(address) === 6);
  return hasIpv6 ? (hasIpv4 ? 'dual' : 'ipv6') : 'ipv4';
}

/** A list, or the JSON text of one: `[{"name":"http","containerPort":9080}]`. Source: istio pkg/model/proxy.go PodPortList (1.32 dev). */
function podPorts(value: unknown): PodPort[] {
  const list = typeof value === 'string' ? parseJson(value) : value;
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: unknown) => {
    const containerPort = isRecord(entry) ? port(entry['containerPort']) : undefined;
    return isRecord(entry) && containerPort !== undefined ? [{ name: text(entry['name']), containerPort }] : [];
  });
}

function parseJson(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}

/** A port given as number or text, or undefined. */
function port(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) && number > 0 && number <= 65_535 ? number : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function stringMap(value: unknown): Labels {
  if (!isRecord(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

function inboundPorts(value: unknown): InboundPort[] {
  if (!Array.isArray(value)) return [];
  const ports: InboundPort[] = [];
  for (const entry of value) {
    if (!isRecord(entry)) continue;
    const number = port(entry['port']);
    if (number === undefined) continue;
    ports.push({
      port: number,
      bind: text(entry['bind']) || '127.0.0.1',
      listenPort: port(entry['listenPort']) ?? number,
      defaultEndpoint: text(entry['defaultEndpoint']) || `127.0.0.1:${number}`,
    });
  }
  return ports;
}

function portMap(value: unknown): ReadonlyMap<number, number> {
  const map = new Map<number, number>();
  if (!isRecord(value)) return map;
  for (const [from, to] of Object.entries(value)) {
    const [key, bound] = [port(from), port(to)];
    if (key !== undefined && bound !== undefined) map.set(key, bound);
  }
  return map;
}
