/** Marks the lines of the access log that are compared. */
export const OBSERVED_MARK = 'observed ';

/** Operators whose values are the same for two proxies that did the same. */
const COMPARED_OPERATORS = [
  'REQ(:METHOD)',
  'REQ(X-ENVOY-ORIGINAL-PATH?:PATH)',
  'REQ(X-NONE)',
  'REQ(USER-AGENT):3',
  'REQ_WITHOUT_QUERY(:PATH)',
  'PATH(NQ:ORIG_OR_PATH)',
  'PATH(WQ:PATH)',
  'QUERY_PARAM(a)',
  'QUERY_PARAMS',
  'PROTOCOL',
  'RESPONSE_CODE',
  'RESPONSE_CODE_DETAILS',
  'RESPONSE_FLAGS',
  'RESPONSE_FLAGS_LONG',
  'RESP(CONTENT-TYPE)',
  'TRAILER(GRPC-STATUS)',
  'GRPC_STATUS',
  'BYTES_RECEIVED',
  'BYTES_SENT',
  'DOWNSTREAM_WIRE_BYTES_RECEIVED',
  'UPSTREAM_HOST',
  'UPSTREAM_REMOTE_ADDRESS',
  'UPSTREAM_CLUSTER',
  'UPSTREAM_REQUEST_ATTEMPT_COUNT',
  'UPSTREAM_TRANSPORT_FAILURE_REASON',
  'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT',
  'DOWNSTREAM_TLS_VERSION',
  'REQUESTED_SERVER_NAME',
  'ROUTE_NAME',
  'VIRTUAL_CLUSTER_NAME',
  'DYNAMIC_METADATA(a:b)',
  'CONNECTION_TERMINATION_DETAILS',
  'ACCESS_LOG_TYPE',
] as const;

export interface ObservedPorts {
  readonly listener: number;
  readonly app: number;
  readonly dead: number;
  readonly zipkin: number;
}

/** One listener whose requests are logged by every operator, filtered logs beside it, traced to Zipkin. */
export function observationBootstrap(ports: ObservedPorts): Record<string, unknown> {
  return {
    node: { id: 'n1', cluster: 'c1' },
    layered_runtime: {
      layers: [
        { name: 'static', static_layer: { tracing: { zipkin: { min_flush_spans: 1 } }, foo: { bar: 7 } } },
        { name: 'admin', admin_layer: {} },
      ],
    },
    static_resources: {
      listeners: [listener(ports)],
      clusters: [cluster('app', ports.app), cluster('dead', ports.dead), cluster('zipkin', ports.zipkin)],
    },
  };
}

function listener(ports: ObservedPorts): object {
  const stdout = (format: object, filter?: object): object => ({
    name: 'stdout',
    ...(filter === undefined ? {} : { filter }),
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog', log_format: format },
  });
  const text = COMPARED_OPERATORS.map((operator) => `${operator}=%${operator}%`).join(' ; ');
  const withoutQuery = {
    name: 'envoy.formatter.req_without_query',
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery' },
  };
  const json = { code: '%RESPONSE_CODE%', none: '%REQ(X-NONE)%', mixed: 'a%RESPONSE_CODE%', nested: { path: '%REQ(:PATH)%' } };
  return {
    name: 'observed',
    traffic_direction: 'OUTBOUND',
    address: address(ports.listener),
    filter_chains: [
      {
        filters: [
          {
            name: 'hcm',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              stat_prefix: 'ingress',
              access_log: [
                stdout({ text_format_source: { inline_string: `${OBSERVED_MARK}text ${text}\n` }, formatters: [withoutQuery] }),
                stdout({ json_format: { mark: `${OBSERVED_MARK}json`, ...json }, json_format_options: { sort_properties: true } }),
                stdout(
                  {
                    json_format: { mark: `${OBSERVED_MARK}full`, ...json },
                    omit_empty_values: true,
                    json_format_options: { sort_properties: true },
                  },
                  { status_code_filter: { comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'x' } } } },
                ),
                stdout(
                  { text_format_source: { inline_string: `${OBSERVED_MARK}flags %RESPONSE_FLAGS% %REQ(:PATH)%\n` } },
                  {
                    or_filter: {
                      filters: [
                        { response_flag_filter: { flags: ['UF'] } },
                        { header_filter: { header: { name: 'x-log', present_match: true } } },
                      ],
                    },
                  },
                ),
              ],
              tracing: {
                custom_tags: [
                  { tag: 'literal', literal: { value: 'v' } },
                  { tag: 'header', request_header: { name: 'x-h', default_value: 'none' } },
                ],
                provider: {
                  name: 'envoy.tracers.zipkin',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.config.trace.v3.ZipkinConfig',
                    collector_cluster: 'zipkin',
                    collector_endpoint: '/api/v2/spans',
                    collector_endpoint_version: 'HTTP_JSON',
                    trace_id_128bit: true,
                    shared_span_context: false,
                  },
                },
              },
              route_config: {
                name: 'r',
                virtual_hosts: [
                  {
                    name: 'v',
                    domains: ['*'],
                    virtual_clusters: [{ name: 'plains', headers: [{ name: ':path', string_match: { prefix: '/plain' } }] }],
                    routes: [
                      { name: 'dead', match: { prefix: '/dead' }, route: { cluster: 'dead' } },
                      {
                        name: 'named',
                        match: { prefix: '/named' },
                        decorator: { operation: 'op', propagate: false },
                        route: { cluster: 'app' },
                      },
                      { name: 'direct', match: { prefix: '/direct' }, direct_response: { status: 404, body: { inline_string: 'no' } } },
                      {
                        name: 'rewritten',
                        match: { prefix: '/before/' },
                        stat_prefix: 'before',
                        route: { cluster: 'app', prefix_rewrite: '/after/' },
                      },
                      { name: 'rest', match: { prefix: '/' }, route: { cluster: 'app' } },
                    ],
                  },
                ],
              },
              http_filters: [
                { name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } },
              ],
            },
          },
        ],
      },
    ],
  };
}

function cluster(name: string, port: number): object {
  const endpoint = { endpoint: { address: address(port) } };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
  };
}

function address(port: number): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}
