export interface DifferentialPorts {
  /** A proxy within the mesh: believes what it is told of where a request came from. */
  readonly inside: number;
  /** A proxy at the edge. */
  readonly edge: number;
  /** A proxy that puts paths and hosts in order before it looks at them, as Istio's do. */
  readonly normalizing: number;
  readonly first: number;
  readonly second: number;
  /** Where nobody listens. */
  readonly dead: number;
}

/** One static bootstrap with the routes that the cases need, for whichever proxy. */
export function differentialBootstrap(ports: DifferentialPorts): Record<string, unknown> {
  return {
    node: { id: 'differential', cluster: 'differential' },
    static_resources: {
      listeners: [
        listener('inside', ports.inside, {}),
        listener('edge', ports.edge, { use_remote_address: true }),
        listener('normalizing', ports.normalizing, NORMALIZING),
      ],
      clusters: [cluster('first', ports.first), cluster('second', ports.second), cluster('dead', ports.dead)],
    },
  };
}

const NORMALIZING = {
  normalize_path: true,
  merge_slashes: true,
  path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT',
  strip_any_host_port: true,
};

function listener(name: string, port: number, options: Record<string, unknown>): Record<string, unknown> {
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: hcm(options) }] }],
  };
}

function cluster(name: string, port: number): Record<string, unknown> {
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}

/** Begins a line of the access log, among whatever else a process prints. */
export const LOG_MARK = 'exchange:';
const LOG_FORMAT = `${LOG_MARK} "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %ROUTE_NAME% %RESP(LOCATION)%\n`;

function hcm(options: Record<string, unknown>): Record<string, unknown> {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'differential',
    access_log: [
      {
        name: 'envoy.access_loggers.file',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
          path: '/dev/stdout',
          log_format: { text_format_source: { inline_string: LOG_FORMAT } },
        },
      },
    ],
    ...options,
    http_filters: [
      filter('cors', 'cors.v3.Cors', {}),
      filter('fault', 'fault.v3.HTTPFault', {}),
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    route_config: {
      name: 'local',
      validate_clusters: false,
      virtual_hosts: [
        { name: 'a', domains: ['a.example'], routes: ROUTES },
        { name: 'suffix', domains: ['*.wild.example'], routes: [directAnswer('wild')] },
        { name: 'prefix', domains: ['begin.*'], routes: [directAnswer('begin')] },
      ],
    },
  };
}

function filter(name: string, type: string, config: Record<string, unknown>): Record<string, unknown> {
  return {
    name: `envoy.filters.http.${name}`,
    typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.http.${type}`, ...config },
  };
}

const FIRST = { cluster: 'first' };

function directAnswer(text: string): Record<string, unknown> {
  return { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: text } } };
}

const ROUTES: readonly Record<string, unknown>[] = [
  { match: { path: '/redirect' }, redirect: { host_redirect: 'there.example', path_redirect: '/moved', response_code: 'FOUND' } },
  { match: { prefix: '/https' }, redirect: { https_redirect: true } },
  { match: { prefix: '/swap' }, redirect: { prefix_rewrite: '/swapped', strip_query: true, response_code: 'PERMANENT_REDIRECT' } },
  { match: { path: '/port' }, redirect: { port_redirect: 8443, scheme_redirect: 'https' } },
  {
    match: { path: '/direct' },
    direct_response: { status: 418, body: { inline_string: 'short and stout' } },
    response_headers_to_add: [{ header: { key: 'x-pot', value: 'tea' } }],
  },
  { match: { path: '/empty' }, direct_response: { status: 204 } },
  {
    match: { path: '/headers' },
    route: FIRST,
    request_headers_to_add: [
      { header: { key: 'x-set', value: 'new' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
      { header: { key: 'x-append', value: 'more' }, append_action: 'APPEND_IF_EXISTS_OR_ADD' },
      { header: { key: 'x-if-absent', value: 'filled' }, append_action: 'ADD_IF_ABSENT' },
      { header: { key: 'x-formatted', value: '%REQ(x-set)% %PROTOCOL% 100%%' } },
    ],
    request_headers_to_remove: ['x-gone'],
    response_headers_to_add: [{ header: { key: 'x-served-by', value: 'nobody' }, append_action: 'OVERWRITE_IF_EXISTS' }],
    response_headers_to_remove: ['content-type'],
  },
  { match: { prefix: '/old/' }, route: { ...FIRST, prefix_rewrite: '/new/' } },
  { match: { path: '/case', case_sensitive: false }, route: { ...FIRST, host_rewrite_literal: 'rewritten.example' } },
  { match: { path_separated_prefix: '/api' }, route: FIRST },
  { match: { safe_regex: { regex: '/r/[a-z]+' } }, route: FIRST },
  {
    match: { prefix: '/user/' },
    route: { ...FIRST, regex_rewrite: { pattern: { regex: '^/user/([0-9]+)' }, substitution: '/u\\1/x' } },
  },
  { match: { prefix: '/q', query_parameters: [{ name: 'v', string_match: { exact: '2' } }] }, route: { cluster: 'second' } },
  { match: { prefix: '/q', query_parameters: [{ name: 'p', present_match: true }] }, route: FIRST },
  { match: { prefix: '/h', headers: [{ name: 'x-n', range_match: { start: 1, end: 10 } }] }, route: FIRST },
  { match: { prefix: '/h', headers: [{ name: ':method', string_match: { exact: 'POST' } }] }, route: { cluster: 'second' } },
  { match: { prefix: '/h', headers: [{ name: 'x-no', present_match: true, invert_match: true }] }, route: FIRST },
  { match: { path: '/missing' }, route: { cluster: 'missing' } },
  { match: { path: '/dead' }, route: { cluster: 'dead' } },
  {
    match: { path: '/unhealthy' },
    route: { cluster: 'dead', retry_policy: { retry_on: 'connect-failure', num_retries: 1, retry_back_off: { base_interval: '0.001s' } } },
  },
  {
    match: { path: '/weighted' },
    route: {
      weighted_clusters: {
        clusters: [
          { name: 'first', weight: 30 },
          { name: 'second', weight: 70, request_headers_to_add: [{ header: { key: 'x-weighted', value: 'yes' } }] },
        ],
      },
    },
  },
  {
    match: { path: '/cors' },
    route: FIRST,
    typed_per_filter_config: {
      'envoy.filters.http.cors': {
        '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
        allow_origin_string_match: [{ exact: 'https://a.example' }, { suffix: '.b.example' }],
        allow_methods: 'GET,PUT',
        allow_headers: 'x-a',
        expose_headers: 'x-b',
        max_age: '60',
        allow_credentials: true,
      },
    },
  },
  {
    match: { prefix: '/fault' },
    route: FIRST,
    typed_per_filter_config: {
      'envoy.filters.http.fault': {
        '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
        abort: { http_status: 555, percentage: { numerator: 100 } },
        headers: [{ name: 'x-abort', present_match: true }],
      },
    },
  },
  { match: { prefix: '/echo' }, route: FIRST },
];
