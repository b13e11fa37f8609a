export interface RoutingPorts {
  /** A proxy within the mesh that believes addresses of 10.0.0.0/8 to be inside. */
  readonly inside: number;
  /** The same behind an edge that says the client's address in a header of its own; answers in its own words. */
  readonly styled: number;
  /** A proxy that says what went wrong, in capitals. */
  readonly telling: number;
  readonly echo: number;
  /** Where nobody listens. */
  readonly dead: number;
}

type Json = Record<string, unknown>;

/** One static bootstrap with every kind of route, for whichever proxy. */
export function routingBootstrap(ports: RoutingPorts): Json {
  return {
    node: { id: 'routing', cluster: 'routing' },
    static_resources: {
      listeners: [
        listener('inside', ports.inside, { internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } }),
        listener('styled', ports.styled, STYLED),
        listener('telling', ports.telling, TELLING),
      ],
      clusters: [
        cluster('echo', ports.echo),
        cluster('other', ports.echo),
        cluster('dead', ports.dead),
        { name: 'empty', type: 'STATIC', connect_timeout: '10s', load_assignment: { cluster_name: 'empty' } },
        {
          ...cluster('few', ports.echo),
          circuit_breakers: { thresholds: [{ max_requests: 0 }] },
        },
        { ...cluster('budget', ports.echo), circuit_breakers: { thresholds: [{ max_retries: 0 }] } },
      ],
    },
  };
}

function listener(name: string, port: number, options: Json): Json {
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: hcm(options) }] }],
  };
}

function cluster(name: string, port: number): Json {
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}

/** Begins a line of the access log, among whatever else a process prints. */
export const ROUTING_LOG_MARK = 'routed:';
const LOG_FORMAT = `${ROUTING_LOG_MARK} "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% %ROUTE_NAME%\n`;

const TELLING: Json = {
  add_user_agent: true,
  http_protocol_options: { header_key_format: { proper_case_words: {} } },
  proxy_status_config: { literal_proxy_name: 'teller', set_recommended_response_code: true },
};

const STYLED: Json = {
  server_name: 'styled',
  via: 'styled',
  always_set_request_id_in_response: true,
  original_ip_detection_extensions: [
    {
      name: 'envoy.http.original_ip_detection.custom_header',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig',
        header_name: 'x-client',
        reject_with_status: { code: 'Unauthorized' },
      },
    },
  ],
  early_header_mutation_extensions: [
    {
      name: 'envoy.http.early_header_mutation.header_mutation',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation',
        mutations: [
          { remove: 'x-early-gone' },
          { append: { header: { key: 'x-early', value: '%REQ(:path)%' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } },
        ],
      },
    },
  ],
  local_reply_config: {
    mappers: [
      {
        filter: { status_code_filter: { comparison: { op: 'EQ', value: { default_value: 404, runtime_key: 'x' } } } },
        status_code: 410,
        body: { inline_string: 'gone for good' },
        headers_to_add: [{ header: { key: 'x-mapped', value: '%RESPONSE_CODE_DETAILS%' } }],
        body_format_override: { text_format_source: { inline_string: '<%LOCAL_REPLY_BODY%>' }, content_type: 'text/html' },
      },
      {
        filter: { response_flag_filter: { flags: ['NC', 'UH'] } },
        status_code: 500,
      },
      {
        filter: {
          and_filter: {
            filters: [
              { header_filter: { header: { name: 'x-plain', present_match: true } } },
              { status_code_filter: { comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'x' } } } },
            ],
          },
        },
        body_format_override: { text_format_source: { inline_string: '%RESPONSE_CODE% %PROTOCOL% %REQ(x-plain)%: %LOCAL_REPLY_BODY%' } },
      },
    ],
    body_format: {
      json_format: {
        status: '%RESPONSE_CODE%',
        message: '%LOCAL_REPLY_BODY%',
        path: '%REQ(:path)%',
        nested: { flags: '%RESPONSE_FLAGS%' },
      },
    },
  },
};

function hcm(options: Json): Json {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'routing',
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
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    route_config: {
      name: 'local',
      validate_clusters: false,
      ignore_port_in_host_matching: true,
      ignore_path_parameters_in_path_matching: true,
      response_headers_to_add: [header('x-level', 'configuration', 'OVERWRITE_IF_EXISTS_OR_ADD')],
      request_headers_to_add: [header('x-level', 'configuration', 'OVERWRITE_IF_EXISTS_OR_ADD')],
      virtual_hosts: [
        {
          name: 'a',
          domains: ['a.example'],
          include_request_attempt_count: true,
          include_attempt_count_in_response: true,
          include_is_timeout_retry_header: true,
          request_headers_to_add: [header('x-level', 'host', 'OVERWRITE_IF_EXISTS_OR_ADD')],
          request_headers_to_remove: ['x-host-gone'],
          routes: ROUTES,
        },
        { name: 'tls', domains: ['tls.example'], require_tls: 'ALL', routes: [{ match: { prefix: '/' }, route: ECHO }] },
        {
          name: 'external',
          domains: ['external.example'],
          require_tls: 'EXTERNAL_ONLY',
          routes: [{ match: { prefix: '/' }, route: ECHO }],
        },
      ],
    },
  };
}

function header(key: string, value: string, append_action = 'APPEND_IF_EXISTS_OR_ADD'): Json {
  return { header: { key, value }, append_action };
}

const ECHO = { cluster: 'echo' };
const BACK_OFF = { retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' } };

/** Retries of whatever `retry_on` says, twice at most. */
function retrying(path: string, retry_on: string, more: Json = {}, route: Json = ECHO): Json {
  return { match: { path }, route: { ...route, retry_policy: { retry_on, num_retries: 2, ...BACK_OFF, ...more } } };
}

const ROUTES: readonly Json[] = [
  { match: { path: '/grpc', grpc: {} }, name: 'grpc', route: ECHO },
  { match: { path: '/grpc' }, name: 'no-grpc', route: ECHO },
  { match: { prefix: '/regex', headers: [{ name: 'x-a', string_match: { safe_regex: { regex: 'a+b' } } }] }, name: 'regex', route: ECHO },
  {
    match: { prefix: '/missing', headers: [{ name: 'x-m', string_match: { exact: '' }, treat_missing_header_as_empty: true }] },
    name: 'missing-as-empty',
    route: ECHO,
  },
  {
    match: { prefix: '/inverted', headers: [{ name: 'x-i', string_match: { exact: 'no' }, invert_match: true }] },
    name: 'inverted',
    route: ECHO,
  },
  {
    match: {
      prefix: '/inverted',
      headers: [{ name: 'x-i', string_match: { exact: 'no' }, invert_match: true, treat_missing_header_as_empty: true }],
    },
    name: 'inverted-as-empty',
    route: ECHO,
  },
  {
    match: { prefix: '/contains', headers: [{ name: 'x-c', string_match: { contains: 'MID', ignore_case: true } }] },
    name: 'contains',
    route: ECHO,
  },
  { match: { prefix: '/range', headers: [{ name: 'x-r', range_match: { start: -5, end: 5 } }] }, name: 'range', route: ECHO },
  {
    match: { prefix: '/query', query_parameters: [{ name: 'k', string_match: { safe_regex: { regex: '[0-9]+' } } }] },
    name: 'query',
    route: ECHO,
  },
  { match: { prefix: '/query', query_parameters: [{ name: 'k', string_match: { exact: 'a%20b' } }] }, name: 'encoded', route: ECHO },
  { match: { prefix: '/query', query_parameters: [{ name: 'gone', present_match: false }] }, name: 'absent', route: ECHO },
  { match: { prefix: '/never', runtime_fraction: { default_value: { numerator: 0 } } }, name: 'never', route: ECHO },
  { match: { prefix: '/never' }, name: 'otherwise', route: ECHO },
  { match: { prefix: '/certificate', tls_context: { presented: false } }, name: 'without-certificate', route: ECHO },
  {
    match: { prefix: '/metadata', dynamic_metadata: [{ filter: 'f', path: [{ key: 'k' }], value: { present_match: true }, invert: true }] },
    name: 'without-metadata',
    route: ECHO,
  },
  { match: { path: '/parameters' }, name: 'parameters', route: ECHO },
  { match: { path: '/by-header' }, route: { cluster_header: 'x-cluster' } },
  {
    match: { path: '/by-weight-header' },
    route: {
      weighted_clusters: {
        header_name: 'x-draw',
        clusters: [
          { name: 'echo', weight: 3, request_headers_to_add: [header('x-target', 'echo')] },
          {
            cluster_header: 'x-cluster',
            weight: 7,
            request_headers_to_add: [header('x-target', 'named')],
            host_rewrite_literal: 'named.example',
          },
        ],
      },
    },
  },
  { match: { path: '/redirect-regex' }, redirect: { regex_rewrite: { pattern: { regex: 'redirect-(.*)' }, substitution: 'to/\\1' } } },
  { match: { path: '/redirect-query' }, redirect: { path_redirect: '/new?fixed=1' } },
  { match: { path: '/redirect-scheme' }, redirect: { scheme_redirect: 'HTTPS', host_redirect: 'other.example:80' } },
  { match: { path: '/redirect-default-port' }, redirect: { scheme_redirect: 'https', port_redirect: 443, response_code: 'SEE_OTHER' } },
  { match: { path: '/redirect-temporary' }, redirect: { response_code: 'TEMPORARY_REDIRECT', strip_query: true } },
  { match: { prefix: '/same' }, route: { ...ECHO, prefix_rewrite: '/same' } },
  { match: { safe_regex: { regex: '/whole/.*' } }, route: { ...ECHO, prefix_rewrite: '/replaced' } },
  { match: { path: '/host-header' }, route: { ...ECHO, host_rewrite_header: 'x-to', append_x_forwarded_host: true } },
  {
    match: { prefix: '/host-path' },
    route: { ...ECHO, host_rewrite_path_regex: { pattern: { regex: '^/host-path/([a-z]+).*' }, substitution: '\\1.example' } },
  },
  {
    match: { path: '/operators' },
    route: ECHO,
    name: 'operators',
    request_headers_to_add: [
      header('x-method', '%REQ(:method)%|%REQ(nope?:authority)%'),
      header('x-names', '%ROUTE_NAME% %UPSTREAM_CLUSTER% %PROTOCOL%'),
      header('x-query', '%QUERY_PARAM(q)%'),
      header('x-addresses', '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%'),
      header('x-short', '%REQ(x-long):3%'),
      header('x-empty', '%REQ(nope)%'),
      { header: { key: 'x-kept-empty', value: '%REQ(nope)%' }, keep_empty_value: true },
      header('x-metadata', '[%DYNAMIC_METADATA(none:at:all)%]'),
      header('x-twice', 'one'),
      header('x-twice', 'two'),
      header('x-absent-only', 'added', 'ADD_IF_ABSENT'),
      header('x-present-only', 'changed', 'OVERWRITE_IF_EXISTS'),
    ],
    response_headers_to_add: [header('x-code', '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQ(x-long)%')],
    response_headers_to_remove: ['x-served-by'],
  },
  { match: { path: '/timeout' }, route: { ...ECHO, timeout: '0.1s' } },
  { match: { path: '/no-timeout' }, route: { ...ECHO, timeout: '0s' } },
  retrying('/per-try', '5xx', { per_try_timeout: '0.5s' }),
  retrying('/per-try-only-connect', 'connect-failure', { per_try_timeout: '0.5s' }),
  retrying('/per-try-idle', 'reset', { per_try_idle_timeout: '0.5s', num_retries: 1 }),
  { match: { path: '/grpc-timeout' }, route: { ...ECHO, timeout: '7s', max_grpc_timeout: '5s', grpc_timeout_offset: '0.5s' } },
  {
    match: { path: '/stream-duration' },
    route: { ...ECHO, max_stream_duration: { grpc_timeout_header_max: '5s', grpc_timeout_header_offset: '1s' } },
  },
  { match: { path: '/stream-limit' }, route: { ...ECHO, max_stream_duration: { max_stream_duration: '0.2s' } } },
  retrying('/retry-5xx', '5xx'),
  retrying('/retry-gateway', 'gateway-error'),
  retrying('/retry-4xx', 'retriable-4xx'),
  retrying('/retry-codes', 'retriable-status-codes', { retriable_status_codes: [418] }),
  retrying('/retry-headers', 'retriable-headers', { retriable_headers: [{ name: 'x-again', present_match: true }] }),
  retrying('/retry-some', '5xx', { retriable_request_headers: [{ name: 'x-may', present_match: true }] }),
  retrying('/retry-reset', 'reset'),
  retrying('/retry-grpc', 'cancelled,unavailable'),
  retrying('/retry-limited', 'envoy-ratelimited'),
  retrying('/retry-asked', '5xx', {
    rate_limited_retry_back_off: { reset_headers: [{ name: 'retry-after', format: 'SECONDS' }], max_interval: '1s' },
  }),
  retrying('/retry-dead', 'connect-failure,5xx', {}, { cluster: 'dead' }),
  retrying('/retry-budget', '5xx', {}, { cluster: 'budget' }),
  { match: { path: '/no-retry' }, route: ECHO },
  { match: { path: '/empty' }, route: { cluster: 'empty' } },
  { match: { path: '/overflow' }, route: { cluster: 'few' } },
  { match: { path: '/nowhere' }, route: { cluster: 'nowhere', cluster_not_found_response_code: 'NOT_FOUND' } },
  { match: { path: '/nowhere-500' }, route: { cluster: 'nowhere', cluster_not_found_response_code: 'INTERNAL_SERVER_ERROR' } },
  {
    match: { prefix: '/follow' },
    route: {
      ...ECHO,
      internal_redirect_policy: {
        max_internal_redirects: 2,
        redirect_response_codes: [302, 303],
        response_headers_to_copy: ['x-copy'],
        allow_cross_scheme_redirect: true,
        predicates: [
          {
            name: 'envoy.internal_redirect_predicates.safe_cross_scheme',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig',
            },
          },
        ],
      },
    },
  },
  { match: { prefix: '/target' }, name: 'target', route: ECHO, request_headers_to_add: [header('x-target', 'yes')] },
  { match: { prefix: '/direct' }, direct_response: { status: 429, body: { inline_string: 'slow down' } } },
  { match: { connect_matcher: {} }, name: 'connect', route: { ...ECHO, upgrade_configs: [{ upgrade_type: 'CONNECT' }] } },
  { match: { prefix: '/plain' }, route: ECHO },
];
