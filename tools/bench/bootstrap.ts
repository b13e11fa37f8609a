import type { JsonObject } from '@bufbuild/protobuf';

export interface BenchBootstrapOptions {
  readonly port: number;
  readonly adminPort: number;
  readonly backendPort: number;
  readonly virtualHosts: number;
  readonly routesPerHost: number;
  /** Clusters with endpoints that no route names: what a proxy of a large mesh has to know. */
  readonly idleClusters: number;
  readonly endpointsPerCluster: number;
  /** TLS towards the client. */
  readonly tls: { readonly certificateFile: string; readonly keyFile: string } | undefined;
}

const TYPE = 'type.googleapis.com/envoy.extensions';

/** The virtual host that the load is for: not the first one, so that it has to be found. */
export function loadHost(virtualHosts: number): string {
  return hostName(Math.floor(virtualHosts * 0.75));
}

/** A bootstrap that Envoy and our proxy both read: one listener, many virtual hosts, one cluster that is used. */
export function benchBootstrap(options: BenchBootstrapOptions): JsonObject {
  const { idleClusters, endpointsPerCluster } = options;
  return {
    admin: { address: socketAddress('127.0.0.1', options.adminPort) },
    static_resources: {
      listeners: [
        {
          name: 'http',
          address: socketAddress('127.0.0.1', options.port),
          filter_chains: [{ filters: [connectionManager(options)], ...transportSocket(options.tls) }],
        },
      ],
      clusters: [
        staticCluster('backend', [socketAddress('127.0.0.1', options.backendPort)]),
        ...Array.from({ length: idleClusters }, (_, index) =>
          staticCluster(
            `outbound|80||${hostName(index)}`,
            Array.from({ length: endpointsPerCluster }, (_, endpoint) => socketAddress(idleAddress(index, endpoint), 8080)),
          ),
        ),
      ],
    },
  };
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

function connectionManager({ virtualHosts, routesPerHost }: BenchBootstrapOptions): JsonObject {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: 'http',
      route_config: {
        name: 'bench',
        virtual_hosts: Array.from({ length: virtualHosts }, (_, index) => virtualHost(index, routesPerHost)),
      },
      http_filters: [{ name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } }],
    },
  };
}

/** The last route takes what the ones before do not match: each of them is looked at for every request. */
function virtualHost(index: number, routes: number): JsonObject {
  const route = (prefix: string): JsonObject => ({ match: { prefix }, route: { cluster: 'backend', timeout: '15s' } });
  return {
    name: `service-${index}`,
    domains: [hostName(index), `service-${index}`],
    routes: [...Array.from({ length: routes - 1 }, (_, route_) => route(`/version-${route_}/`)), route('/')],
  };
}

function transportSocket(tls: BenchBootstrapOptions['tls']): JsonObject {
  if (tls === undefined) return {};
  const certificate = { certificate_chain: { filename: tls.certificateFile }, private_key: { filename: tls.keyFile } };
  return {
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
        common_tls_context: { tls_certificates: [certificate] },
      },
    },
  };
}

function staticCluster(name: string, addresses: readonly JsonObject[]): JsonObject {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: addresses.map((address) => ({ endpoint: { address } })) }],
    },
  };
}
