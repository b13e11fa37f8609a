import {
  type GatewayConfig,
  type GatewayPorts,
  type GatewayServer,
  hostsOverlap,
  isHostWithin,
  type OutboundScope,
  parseGatewayHost,
  parseProtocol,
  type VirtualServiceConfig,
} from '@mizzen/model';

/** A server of a Gateway with the port that this proxy binds for it. */
export interface BoundServer {
  readonly gateway: GatewayConfig;
  readonly server: GatewayServer;
  readonly boundPort: number;
  /** What clients reach it by. */
  readonly publicPort: number;
  readonly kind: 'http' | 'https' | 'passthrough' | 'tls' | 'tcp';
}

/** All servers that a gateway proxy serves, oldest Gateway first. */
export function boundServers(scope: OutboundScope, ports: GatewayPorts): BoundServer[] {
  return scope.gateways.flatMap((gateway) =>
    gateway.servers.map((server) => ({
      gateway,
      server,
      boundPort: ports.bound.get(server.port.number) ?? server.port.number,
      publicPort: publicPort(server.port.number, ports),
      kind: serverKind(server),
    })),
  );
}

/** The port of a server as clients call it: its own where a Service publishes it, otherwise the one that is bound. */
export function publicPort(port: number, { bound, published }: GatewayPorts): number {
  return published.has(port) ? port : (bound.get(port) ?? port);
}

/** What is done with the connections of a server: by its protocol, and by TLS that is ended here or passed through. */
export function serverKind({ port, tls }: GatewayServer): BoundServer['kind'] {
  const protocol = parseProtocol(port.protocol);
  switch (protocol) {
    case 'http':
    case 'http2':
    case 'grpc':
    case 'grpc-web':
    case 'http-proxy':
      return 'http';
    case 'https':
      return tls?.mode === 'PASSTHROUGH' || tls?.mode === 'AUTO_PASSTHROUGH' ? 'passthrough' : 'https';
    case 'tls':
      return tls?.mode === 'PASSTHROUGH' || tls?.mode === 'AUTO_PASSTHROUGH' || tls === undefined ? 'passthrough' : 'tls';
    default:
      return 'tcp';
  }
}

/** What can share a port: plaintext HTTP, TLS of any use, or the bytes of one server. */
export function listenerKind(kind: BoundServer['kind']): 'http' | 'tls' | 'tcp' {
  return kind === 'http' || kind === 'tcp' ? kind : 'tls';
}

/** The listener that serves a server: one for each address and port. */
export function gatewayListenerName({ server, boundPort }: Pick<BoundServer, 'server' | 'boundPort'>): string {
  return `${server.bind || '0.0.0.0'}_${boundPort}`;
}

/** `http.8080`: one for all plaintext servers of a port. */
export function httpRouteName(boundPort: number): string {
  return `http.${boundPort}`;
}

/** One for each server that ends TLS. Source: istio pilot/pkg/model/gateway.go GatewayRDSRouteName (1.32 dev). */
export function httpsRouteName({ gateway, server }: BoundServer): string {
  return `https.${server.port.number}.${server.port.name}.${gateway.name}.${gateway.namespace}`;
}

/** Hosts of a server without namespaces. */
export function serverHosts({ gateway, server }: BoundServer): string[] {
  return [...new Set(server.hosts.map((text) => parseGatewayHost(text, gateway.namespace).host))];
}

/** Hosts that a VirtualService has on a server: of each overlapping pair the narrower. */
export function sharedHosts({ gateway, server }: BoundServer, virtualService: VirtualServiceConfig): string[] {
  const shared = new Set<string>();
  for (const text of server.hosts) {
    const { namespace, host } = parseGatewayHost(text, gateway.namespace);
    if (namespace !== '*' && namespace !== virtualService.namespace) continue;
    for (const own of virtualService.hosts) if (hostsOverlap(own, host)) shared.add(isHostWithin(own, host) ? own : host);
  }
  return [...shared];
}
