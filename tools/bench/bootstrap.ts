import type { JsonObject } from '@bufbuild/protobuf';

/** Files of a certificate and of the root that it comes from. */
export interface TlsFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly rootFile: string;
}

export interface Ports {
  readonly port: number;
  readonly adminPort: number;
}

export interface HttpShape {
  readonly virtualHosts: number;
  readonly routesPerHost: number;
  /** Clusters with endpoints that no route names: what a proxy of a large mesh has to know. */
  readonly idleClusters?: number;
  readonly endpointsPerCluster?: number;
  /** Towards the client; `mutual` wants a certificate of it. */
  readonly downstreamTls?: TlsFiles & { readonly isMutual: boolean };
  /** Towards the back end, with a certificate of our own. */
  readonly upstreamTls?: TlsFiles;
  readonly isUpstreamHttp2?: boolean;
  /** An ALLOW policy in front of the router, as an AuthorizationPolicy becomes. */
  readonly hasRbac?: boolean;
}

const TYPE = 'type.googleapis.com/envoy.extensions';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** The virtual host that the load is for: not the first one, so that it has to be found. */
export function loadHost(virtualHosts: number): string {
  return hostName(Math.floor(virtualHosts * 0.75));
}

/** A bootstrap that Envoy and our proxy both read: one HTTP listener, many virtual hosts, one cluster that is used. */
export function httpBootstrap(shape: HttpShape, { port, adminPort, backendPort }: Ports & { readonly backendPort: number }): JsonObject {
  const { idleClusters = 0, endpointsPerCluster = 0 } = shape;
  return bootstrap(adminPort, {
    listeners: [listener(port, { filters: [connectionManager(shape)], ...downstreamTransport(shape.downstreamTls) })],
    clusters: [
      {
        ...staticCluster('backend', [socketAddress('127.0.0.1', backendPort)]),
        ...upstreamTransport(shape.upstreamTls),
        ...(shape.isUpstreamHttp2 === true ? HTTP2_UPSTREAM : {}),
      },
      ...Array.from({ length: idleClusters }, (_, index) =>
        staticCluster(
          `outbound|80||${hostName(index)}`,
          Array.from({ length: endpointsPerCluster }, (_, endpoint) => socketAddress(idleAddress(index, endpoint), 8080)),
        ),
      ),
    ],
  });
}

/** One listener that carries bytes. */
export function tcpBootstrap({ port, adminPort, backendPort }: Ports & { readonly backendPort: number }): JsonObject {
  const config = { '@type': `${TYPE}.filters.network.tcp_proxy.v3.TcpProxy`, stat_prefix: 'tcp', cluster: 'backend' };
  return bootstrap(adminPort, {
    listeners: [listener(port, { filters: [{ name: 'envoy.filters.network.tcp_proxy', typed_config: config }] })],
    clusters: [staticCluster('backend', [socketAddress('127.0.0.1', backendPort)])],
  });
}

function bootstrap(adminPort: number, resources: JsonObject): JsonObject {
  return {
    node: { id: 'bench', cluster: 'bench' },
    admin: { address: socketAddress('127.0.0.1', adminPort) },
    static_resources: resources,
  };
}

function listener(port: number, chain: JsonObject): JsonObject {
  return { name: 'in', address: socketAddress('127.0.0.1', port), filter_chains: [chain] };
}

function hostName(index: number): string {
  return `service-${index}.bench.svc.cluster.local`;
}

function idleAddress(cluster: number, endpoint: number): string {
  return `10.${Math.floor(cluster / 250)}.${cluster % 250}.${endpoint + 1}`;
}

function socketAddress(address: string, port: number): JsonObject {
  return { socket_address: { address, port_value: port } };
}

function connectionManager({ virtualHosts, routesPerHost, hasRbac = false }: HttpShape): JsonObject {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: 'http',
      route_config: {
        name: 'bench',
        virtual_hosts: Array.from({ length: virtualHosts }, (_, index) => virtualHost(index, routesPerHost)),
      },
      http_filters: [
        ...(hasRbac ? [{ name: 'envoy.filters.http.rbac', typed_config: ALLOW_BENCH }] : []),
        { name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } },
      ],
    },
  };
}

/** The namespace of the caller and two paths: what a usual AuthorizationPolicy asks. */
const ALLOW_BENCH: JsonObject = {
  '@type': `${TYPE}.filters.http.rbac.v3.RBAC`,
  rules: {
    action: 'ALLOW',
    policies: {
      bench: {
        permissions: [
          {
            and_rules: {
              rules: [
                { header: { name: ':method', string_match: { exact: 'GET' } } },
                {
                  or_rules: {
                    rules: ['/reviews', '/productpage'].map((prefix) => ({ url_path: { path: { prefix } } })),
                  },
                },
              ],
            },
          },
        ],
        principals: [{ authenticated: { principal_name: { exact: 'localhost' } } }],
      },
    },
  },
};

/** The last route takes what the ones before do not match: each of them is looked at for every request. */
function virtualHost(index: number, routes: number): JsonObject {
  const route = (prefix: string): JsonObject => ({ match: { prefix }, route: { cluster: 'backend', timeout: '15s' } });
  return {
    name: `service-${index}`,
    domains: [hostName(index), `service-${index}`],
    routes: [...Array.from({ length: routes - 1 }, (_, route_) => route(`/version-${route_}/`)), route('/')],
  };
}

function downstreamTransport(tls: HttpShape['downstreamTls']): JsonObject {
  if (tls === undefined) return {};
  const { isMutual, rootFile } = tls;
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
        ...(isMutual && { require_client_certificate: true }),
        common_tls_context: {
          ...certificate(tls),
          ...(isMutual && { validation_context: { trusted_ca: { filename: rootFile } } }),
        },
      },
    },
  };
}

function upstreamTransport(tls: TlsFiles | undefined): JsonObject {
  if (tls === undefined) return {};
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': `${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext`,
        common_tls_context: { ...certificate(tls), validation_context: { trusted_ca: { filename: tls.rootFile } } },
      },
    },
  };
}

function certificate({ certificateFile, keyFile }: TlsFiles): JsonObject {
  return { tls_certificates: [{ certificate_chain: { filename: certificateFile }, private_key: { filename: keyFile } }] };
}

const HTTP2_UPSTREAM: JsonObject = {
  typed_extension_protocol_options: {
    [HTTP_OPTIONS]: {
      '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

function staticCluster(name: string, addresses: readonly JsonObject[]): JsonObject {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: addresses.map((address) => ({ endpoint: { address } })) }],
    },
  };
}
