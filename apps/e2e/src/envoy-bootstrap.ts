/** Who an Envoy says that it is, as our agents say it (user_agent_name apart, which Envoy fills in). */
export interface EnvoyNode {
  readonly type: 'sidecar' | 'router';
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface MeshBootstrapOptions {
  readonly node: EnvoyNode;
  readonly protocol: 'DELTA_GRPC' | 'GRPC';
  readonly xdsAddress: string;
  readonly sdsAddress: string;
}

/** The bootstrap of a stock Envoy that joins the mesh: what Istio's agent writes, less what only telemetry needs. */
export function meshBootstrap({ node, protocol, xdsAddress, sdsAddress }: MeshBootstrapOptions): Record<string, unknown> {
  const { type, name, namespace, serviceAccount, labels, metadata } = node;
  const fromAds = { ads: {}, resource_api_version: 'V3' };
  return {
    node: {
      id: `${type}~127.0.0.1~${name}.${namespace}~${namespace}.svc.cluster.local`,
      cluster: `${name}.${namespace}`,
      metadata: {
        NAMESPACE: namespace,
        SERVICE_ACCOUNT: serviceAccount,
        LABELS: labels,
        WORKLOAD_NAME: name,
        INSTANCE_NAME: name,
        CLUSTER_ID: 'local',
        MESH_ID: 'cluster.local',
        INSTANCE_IPS: '127.0.0.1',
        INTERCEPTION_MODE: 'NONE',
        ISTIO_VERSION: '1.32.0',
        ...metadata,
      },
    },
    // The tunnel back into the HTTP proxy is an internal listener.
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener' },
      },
    ],
    dynamic_resources: {
      cds_config: fromAds,
      lds_config: fromAds,
      ads_config: {
        api_type: protocol,
        transport_api_version: 'V3',
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
      },
    },
    static_resources: { clusters: [grpcCluster('xds-grpc', xdsAddress), grpcCluster('sds-grpc', sdsAddress)] },
  };
}

function grpcCluster(name: string, address: string): Record<string, unknown> {
  const [host, port] = address.split(':');
  const protocolOptions = {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  };
  const endpoint = { address: { socket_address: { address: host, port_value: Number(port) } } };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': protocolOptions },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}
