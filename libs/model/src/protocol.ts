/** What a service port speaks. `auto` means that nothing was declared and the bytes decide. */
export type Protocol =
  | 'http'
  | 'http2'
  | 'grpc'
  | 'grpc-web'
  | 'http-proxy'
  | 'https'
  | 'tls'
  | 'tcp'
  | 'udp'
  | 'mongo'
  | 'redis'
  | 'mysql'
  | 'auto';

const BY_NAME: Readonly<Record<string, Protocol>> = {
  http: 'http',
  http2: 'http2',
  grpc: 'grpc',
  'grpc-web': 'grpc-web',
  http_proxy: 'http-proxy',
  https: 'https',
  tls: 'tls',
  tcp: 'tcp',
  udp: 'udp',
  mongo: 'mongo',
  redis: 'redis',
  mysql: 'mysql',
};

/** Kubernetes' own values of `appProtocol`. Source: istio pkg/config/kube/conversion.go (1.32 dev). */
const BY_KUBERNETES_APP_PROTOCOL: Readonly<Record<string, Protocol>> = {
  'kubernetes.io/h2c': 'http2',
  'kubernetes.io/ws': 'http',
  'kubernetes.io/wss': 'https',
};

/** Ports where the server speaks first, so that detection would wait for ever. Source: istio pkg/config/kube/conversion.go (1.32 dev). */
const SERVER_FIRST_PORTS: ReadonlySet<number> = new Set([25, 53, 3306, 27017]);

/** The protocol that a text names (`HTTP`, `grpc-web`), or `auto` where it names none. */
export function parseProtocol(text: string | undefined): Protocol {
  return BY_NAME[(text ?? '').toLowerCase()] ?? 'auto';
}

/**
 * The protocol of a service port: `appProtocol` before the prefix of the port's name (`http-web`), before well-known port numbers.
 * Source: istio pkg/config/kube/conversion.go ConvertProtocol (1.32 dev).
 */
export function selectProtocol(port: { number: number; name: string; appProtocol?: string; transport?: string }): Protocol {
  if (port.transport?.toUpperCase() === 'UDP') return 'udp';
  if (port.appProtocol !== undefined) {
    const declared = BY_KUBERNETES_APP_PROTOCOL[port.appProtocol] ?? parseProtocol(port.appProtocol);
    if (declared !== 'auto') return declared;
  }
  const fromName = protocolOfPortName(port.name);
  if (fromName !== 'auto') return fromName;
  return SERVER_FIRST_PORTS.has(port.number) ? 'tcp' : 'auto';
}

function protocolOfPortName(name: string): Protocol {
  if (/^grpc-web(-|$)/i.test(name)) return 'grpc-web';
  return parseProtocol(name.split('-', 1)[0]);
}

/** Requests can be routed one by one. */
export function isHttp(protocol: Protocol): boolean {
  return protocol === 'http' || isHttp2(protocol) || protocol === 'http-proxy';
}

/** The upstream is spoken to in HTTP/2. */
export function isHttp2(protocol: Protocol): boolean {
  return protocol === 'http2' || protocol === 'grpc' || protocol === 'grpc-web';
}

/** The application itself does TLS: only its server name can be read. */
export function isTls(protocol: Protocol): boolean {
  return protocol === 'https' || protocol === 'tls';
}
