export interface SpanPorts {
  readonly listener: number;
  readonly app: number;
  readonly dead: number;
}

type Json = Readonly<Record<string, unknown>>;

const any = (name: string, type: string, fields: Json = {}): Json => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.${type}`, ...fields },
});
const address = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });

/** A span for every try of a request, and routes with their own way to trace; traced to Zipkin at the application. */
export function spansBootstrap(ports: SpanPorts): Record<string, unknown> {
  return {
    node: { id: 'n1', cluster: 'c1' },
    layered_runtime: { layers: [{ name: 'static', static_layer: { tracing: { zipkin: { min_flush_spans: 1 } } } }] },
    static_resources: {
      listeners: [
        {
          name: 'spans',
          traffic_direction: 'OUTBOUND',
          address: address(ports.listener),
          filter_chains: [{ filters: [manager()] }],
        },
      ],
      clusters: [cluster('app', ports.app), cluster('dead', ports.dead), cluster('zipkin', ports.app)],
    },
  };
}

function manager(): Json {
  const collector = {
    collector_cluster: 'zipkin',
    collector_endpoint: '/api/v2/spans',
    collector_endpoint_version: 'HTTP_JSON',
    trace_id_128bit: true,
    shared_span_context: false,
  };
  return any('hcm', 'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'spans',
    tracing: {
      spawn_upstream_span: true,
      max_path_tag_length: 10,
      custom_tags: [
        { tag: 'first', literal: { value: 'of the manager' } },
        { tag: 'second', literal: { value: 'of the manager' } },
        { tag: 'case', request_header: { name: 'x-case' } },
        { tag: 'home', environment: { name: 'HOME', default_value: 'none' } },
        { tag: 'meta', metadata: { kind: { request: {} }, metadata_key: { key: 'none', path: [{ key: 'k' }] }, default_value: 'default' } },
        { tag: 'route', metadata: { kind: { route: {} }, metadata_key: { key: 'rm', path: [{ key: 'k' }] } } },
        { tag: 'cluster', metadata: { kind: { cluster: {} }, metadata_key: { key: 'cm', path: [{ key: 'k' }] } } },
        { tag: 'host', metadata: { kind: { host: {} }, metadata_key: { key: 'hm', path: [{ key: 'k' }] } } },
      ],
      provider: any('envoy.tracers.zipkin', 'config.trace.v3.ZipkinConfig', collector),
    },
    route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes: routes() }] },
    http_filters: [any('router', 'extensions.filters.http.router.v3.Router')],
  });
}

function routes(): readonly Json[] {
  const never = { numerator: 0 };
  return [
    { match: { prefix: '/dead' }, route: { cluster: 'dead', retry_policy: { retry_on: 'connect-failure', num_retries: 1 } } },
    {
      match: { prefix: '/off' },
      tracing: { random_sampling: never, client_sampling: never, overall_sampling: never },
      route: { cluster: 'app' },
    },
    {
      match: { prefix: '/tags' },
      metadata: { filter_metadata: { rm: { k: 'of the route' } } },
      tracing: {
        custom_tags: [
          { tag: 'first', literal: { value: 'of the route' } },
          { tag: 'third', literal: { value: 'of the route' } },
        ],
      },
      route: { cluster: 'app' },
    },
    { match: { prefix: '/direct' }, direct_response: { status: 404 } },
    { match: { prefix: '/named' }, decorator: { operation: 'an operation' }, route: { cluster: 'app' } },
    { match: { prefix: '/' }, route: { cluster: 'app', retry_policy: { retry_on: '5xx', num_retries: 1 } } },
  ];
}

function cluster(name: string, port: number): Json {
  const endpoint = { metadata: { filter_metadata: { hm: { k: 'of the host' } } }, endpoint: { address: address(port) } };
  return {
    name,
    alt_stat_name: `alias_of_${name}`,
    type: 'STATIC',
    connect_timeout: '1s',
    metadata: { filter_metadata: { cm: { k: 'of the cluster' } } },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
  };
}
