export interface FilterPorts {
  /** Port of each listener, by the name in FILTER_LISTENERS. */
  readonly listeners: Readonly<Record<string, number>>;
  readonly backend: number;
  /** Speaks HTTP/2. */
  readonly grpc: number;
}

type Json = Readonly<Record<string, unknown>>;

const PREFIX = 'type.googleapis.com/envoy.extensions.filters.http';

function filter(name: string, type: string, config: Json): Json {
  return { name: `envoy.filters.http.${name}`, typed_config: { '@type': `${PREFIX}.${type}`, ...config } };
}

function perRoute(name: string, type: string, config: Json): Json {
  return { typed_per_filter_config: { [`envoy.filters.http.${name}`]: { '@type': `${PREFIX}.${type}`, ...config } } };
}

const ALWAYS = { default_value: { numerator: 100, denominator: 'HUNDRED' } };
const BACKEND = { cluster: 'backend' };
const GRPC = { cluster: 'grpc' };
const ONE_AN_HOUR = { max_tokens: 2, tokens_per_fill: 1, fill_interval: '3600s' };

function library(name: string, coding: string): Json {
  const type = { gzip: 'gzip.compressor.v3.Gzip', br: 'brotli.compressor.v3.Brotli', zstd: 'zstd.compressor.v3.Zstd' }[coding];
  return { name, typed_config: { '@type': `type.googleapis.com/envoy.extensions.compression.${type}` } };
}

function compressor(name: string, coding: string, config: Json = {}): Json {
  return {
    name: `compressor_${name}`,
    typed_config: { '@type': `${PREFIX}.compressor.v3.Compressor`, compressor_library: library(name, coding), ...config },
  };
}

interface FilterListener {
  readonly filters: readonly Json[];
  /** In front of the one that sends everything to the back end. */
  readonly routes?: readonly Json[];
  readonly virtualHost?: Json;
}

/** One listener for each filter (or pair of filters) that is compared, each with its own stat prefix. */
export const FILTER_LISTENERS: Readonly<Record<string, FilterListener>> = {
  buffer: {
    filters: [filter('buffer', 'buffer.v3.Buffer', { max_request_bytes: 10 })],
    routes: [
      { match: { path: '/disabled' }, route: BACKEND, ...perRoute('buffer', 'buffer.v3.BufferPerRoute', { disabled: true }) },
      {
        match: { path: '/more' },
        route: BACKEND,
        ...perRoute('buffer', 'buffer.v3.BufferPerRoute', { buffer: { max_request_bytes: 20 } }),
      },
      {
        match: { path: '/off' },
        route: BACKEND,
        typed_per_filter_config: {
          'envoy.filters.http.buffer': { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true },
        },
      },
    ],
  },
  compressor: {
    filters: [compressor('g', 'gzip'), compressor('b', 'br', { response_direction_config: { disable_on_etag_header: true } })],
    routes: [
      {
        match: { path: '/none' },
        route: BACKEND,
        typed_per_filter_config: {
          compressor_g: { '@type': `${PREFIX}.compressor.v3.CompressorPerRoute`, disabled: true },
          compressor_b: { '@type': `${PREFIX}.compressor.v3.CompressorPerRoute`, disabled: true },
        },
      },
    ],
  },
  zstd: {
    filters: [
      compressor('z', 'zstd', {
        response_direction_config: {
          common_config: { min_content_length: 100, content_type: ['text/html'] },
          remove_accept_encoding_header: true,
        },
        request_direction_config: { common_config: { min_content_length: 5, content_type: ['text/plain'] } },
      }),
    ],
  },
  decompressor: {
    filters: [
      {
        name: 'decompressor',
        typed_config: {
          '@type': `${PREFIX}.decompressor.v3.Decompressor`,
          decompressor_library: {
            name: 'g',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip' },
          },
        },
      },
    ],
  },
  fault: {
    filters: [
      filter('fault', 'fault.v3.HTTPFault', {
        abort: { header_abort: {}, percentage: { numerator: 100 } },
        delay: { header_delay: {}, percentage: { numerator: 100 } },
        response_rate_limit: { header_limit: {}, percentage: { numerator: 100 } },
        downstream_nodes: ['node-a'],
      }),
    ],
    routes: [
      {
        match: { path: '/grpc' },
        route: BACKEND,
        ...perRoute('fault', 'fault.v3.HTTPFault', { abort: { grpc_status: 5, percentage: { numerator: 100 } } }),
      },
      {
        match: { path: '/full' },
        route: BACKEND,
        ...perRoute('fault', 'fault.v3.HTTPFault', {
          abort: { http_status: 555, percentage: { numerator: 100 } },
          max_active_faults: 0,
        }),
      },
    ],
  },
  limited: {
    filters: [filter('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', { stat_prefix: 'off' })],
    routes: [
      {
        match: { path: '/two' },
        route: BACKEND,
        ...perRoute('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', {
          stat_prefix: 'two',
          token_bucket: ONE_AN_HOUR,
          filter_enabled: ALWAYS,
          filter_enforced: ALWAYS,
          status: { code: 'ServiceUnavailable' },
          response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes %PROTOCOL%' } }],
          enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
        }),
      },
      {
        match: { path: '/shadow' },
        route: BACKEND,
        ...perRoute('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', {
          stat_prefix: 'shadow',
          token_bucket: ONE_AN_HOUR,
          filter_enabled: ALWAYS,
          request_headers_to_add_when_not_enforced: [{ header: { key: 'x-would-limit', value: 'yes' } }],
        }),
      },
      {
        match: { path: '/described' },
        route: {
          ...BACKEND,
          rate_limits: [
            {
              actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }, { generic_key: { descriptor_value: 'g' } }],
            },
            { actions: [{ header_value_match: { descriptor_value: 'paid', headers: [{ name: 'x-paid', present_match: true }] } }] },
            { actions: [{ remote_address: {} }] },
            { actions: [{ masked_remote_address: { v4_prefix_mask_len: 8 } }] },
            {
              actions: [{ query_parameter_value_match: { descriptor_value: 'q', query_parameters: [{ name: 'q', present_match: true }] } }],
            },
          ],
        },
        ...perRoute('local_ratelimit', 'local_ratelimit.v3.LocalRateLimit', {
          stat_prefix: 'described',
          token_bucket: { ...ONE_AN_HOUR, max_tokens: 1000 },
          filter_enabled: ALWAYS,
          filter_enforced: ALWAYS,
          enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
          descriptors: [
            {
              entries: [
                { key: 'user', value: 'a' },
                { key: 'generic_key', value: 'g' },
              ],
              token_bucket: { ...ONE_AN_HOUR, max_tokens: 1 },
            },
            { entries: [{ key: 'header_match', value: 'paid' }], token_bucket: { ...ONE_AN_HOUR, max_tokens: 3 } },
            { entries: [{ key: 'query_match', value: 'q' }], token_bucket: { ...ONE_AN_HOUR, max_tokens: 4 } },
            { entries: [{ key: 'masked_remote_address', value: '10.0.0.0/8' }], token_bucket: { ...ONE_AN_HOUR, max_tokens: 5 } },
          ],
        }),
      },
    ],
  },
  mutation: {
    filters: [
      filter('header_mutation', 'header_mutation.v3.HeaderMutation', {
        mutations: {
          request_mutations: [
            { append: { header: { key: 'x-first', value: 'filter' } } },
            { append: { header: { key: 'x-second', value: '%REQ(x-first)%' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } },
            { remove: 'x-gone' },
          ],
          response_mutations: [
            { append: { header: { key: 'x-answer', value: 'filter' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } },
            { remove: 'x-unwanted' },
          ],
        },
      }),
      filter('header_to_metadata', 'header_to_metadata.v3.Config', {
        request_rules: [
          { header: 'x-version', on_header_present: { metadata_namespace: 'lb', key: 'version' }, remove: true },
          { header: 'x-none', on_header_missing: { metadata_namespace: 'lb', key: 'none', value: 'absent' } },
          {
            header: 'x-rewritten',
            on_header_present: {
              metadata_namespace: 'lb',
              key: 'rewritten',
              regex_value_rewrite: { pattern: { regex: '^/(\\w+)/.*' }, substitution: '\\1' },
            },
          },
          { cookie: 'session', on_header_present: { metadata_namespace: 'lb', key: 'session' } },
        ],
      }),
      filter('set_metadata', 'set_metadata.v3.Config', {
        metadata: [
          { metadata_namespace: 'lb', value: { extra: 'set' }, allow_overwrite: true },
          { metadata_namespace: 'lb', value: { version: 'denied' } },
        ],
      }),
      // Shows on the way back what was put into the metadata.
      filter('rbac', 'rbac.v3.RBAC', {
        rules: {
          action: 'DENY',
          policies: {
            two: { permissions: [{ any: true }], principals: [metadataIs('version', 'two')] },
            rewritten: { permissions: [{ any: true }], principals: [metadataIs('rewritten', 'api')] },
            session: { permissions: [{ any: true }], principals: [metadataIs('session', 'abc')] },
          },
        },
      }),
    ],
    virtualHost: {
      ...perRoute('header_mutation', 'header_mutation.v3.HeaderMutationPerRoute', {
        mutations: { request_mutations: [{ append: { header: { key: 'x-first', value: 'host' } } }] },
      }),
    },
    routes: [
      {
        match: { path: '/levels' },
        route: BACKEND,
        ...perRoute('header_mutation', 'header_mutation.v3.HeaderMutationPerRoute', {
          mutations: { request_mutations: [{ append: { header: { key: 'x-first', value: 'route' } } }] },
        }),
      },
    ],
  },
  preferred: {
    filters: [compressor('g', 'gzip'), compressor('b', 'br', { choose_first: true })],
  },
  cors: {
    filters: [filter('cors', 'cors.v3.Cors', {})],
    virtualHost: perRoute('cors', 'cors.v3.CorsPolicy', {
      allow_origin_string_match: [{ exact: 'https://a.example' }],
      allow_methods: 'GET',
      allow_private_network_access: true,
      forward_not_matching_preflights: false,
    }),
    routes: [
      {
        match: { path: '/merged' },
        route: BACKEND,
        ...perRoute('cors', 'cors.v3.CorsPolicy', { allow_headers: 'x-route', allow_credentials: true }),
      },
      {
        match: { path: '/shadow' },
        route: BACKEND,
        ...perRoute('cors', 'cors.v3.CorsPolicy', {
          allow_origin_string_match: [{ exact: 'https://a.example' }],
          filter_enabled: { default_value: { numerator: 0 } },
          shadow_enabled: ALWAYS,
        }),
      },
    ],
  },
  csrf: {
    filters: [
      filter('csrf', 'csrf.v3.CsrfPolicy', {
        filter_enabled: ALWAYS,
        additional_origins: [{ suffix: '.friend.example' }],
      }),
    ],
  },
  grpcWeb: {
    filters: [
      filter('grpc_web', 'grpc_web.v3.GrpcWeb', {}),
      filter('grpc_stats', 'grpc_stats.v3.FilterConfig', { stats_for_all_methods: true }),
    ],
    routes: [
      { match: { path: '/direct' }, direct_response: { status: 503, body: { inline_string: 'not now' } } },
      { match: { prefix: '/echo.Echo/' }, route: GRPC },
    ],
  },
  asked: {
    filters: [rateLimit({ enable_x_ratelimit_headers: 'DRAFT_VERSION_03', failure_mode_deny: true })],
    virtualHost: { rate_limits: [limitedBy('x-host')] },
    routes: [
      { match: { path: '/own' }, route: { ...BACKEND, rate_limits: [limitedBy('x-route')] } },
      { match: { path: '/both' }, route: { ...BACKEND, rate_limits: [limitedBy('x-route')], include_vh_rate_limits: true } },
      {
        match: { path: '/ignored' },
        route: BACKEND,
        ...perRoute('ratelimit', 'ratelimit.v3.RateLimitPerRoute', { vh_rate_limits: 'IGNORE' }),
      },
      {
        match: { path: '/domain' },
        route: BACKEND,
        ...perRoute('ratelimit', 'ratelimit.v3.RateLimitPerRoute', { domain: 'other' }),
      },
      {
        match: { path: '/clusters' },
        route: {
          ...BACKEND,
          rate_limits: [{ actions: [{ source_cluster: {} }, { destination_cluster: {} }, limitedBy('x-route').actions[0]] }],
        },
      },
      { match: { path: '/stage' }, route: { ...BACKEND, rate_limits: [{ ...limitedBy('x-route'), stage: 3 }] } },
    ],
  },
  askedIfThere: {
    filters: [rateLimit({ rate_limited_status: { code: 'Forbidden' }, disable_x_envoy_ratelimited_header: true })],
    virtualHost: { rate_limits: [limitedBy('x-host')] },
  },
  healthThrough: {
    filters: [
      filter('health_check', 'health_check.v3.HealthCheck', {
        pass_through_mode: true,
        headers: [{ name: ':path', string_match: { exact: '/health' } }],
      }),
    ],
  },
  health: {
    filters: [
      filter('health_check', 'health_check.v3.HealthCheck', {
        pass_through_mode: false,
        headers: [{ name: ':path', string_match: { exact: '/health' } }],
      }),
    ],
  },
};

function limitedBy(header: string): { readonly actions: readonly Json[] } {
  return { actions: [{ request_headers: { header_name: header, descriptor_key: header } }] };
}

function rateLimit(config: Json): Json {
  const grpc_service = { envoy_grpc: { cluster_name: 'grpc' } };
  return filter('ratelimit', 'ratelimit.v3.RateLimit', {
    domain: 'differential',
    timeout: '10s',
    rate_limit_service: { grpc_service, transport_api_version: 'V3' },
    response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
    ...config,
  });
}

function metadataIs(key: string, value: string): Json {
  return { metadata: { filter: 'lb', path: [{ key }], value: { string_match: { exact: value } } } };
}

/** One static bootstrap with a listener for each filter, for whichever proxy. */
export function filterBootstrap(ports: FilterPorts): Record<string, unknown> {
  return {
    node: { id: 'differential', cluster: 'differential' },
    static_resources: {
      listeners: Object.entries(FILTER_LISTENERS).map(([name, listener]) => ({
        name,
        address: { socket_address: { address: '127.0.0.1', port_value: ports.listeners[name] } },
        filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: hcm(name, listener) }] }],
      })),
      clusters: [cluster('backend', ports.backend), { ...cluster('grpc', ports.grpc), typed_extension_protocol_options: HTTP2 }],
    },
  };
}

const HTTP2 = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  },
};

function cluster(name: string, port: number): Json {
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}

function hcm(name: string, { filters, routes = [], virtualHost = {} }: FilterListener): Json {
  return {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: name,
    generate_request_id: false,
    http_filters: [...filters, { name: 'envoy.filters.http.router', typed_config: { '@type': `${PREFIX}.router.v3.Router` } }],
    route_config: {
      name: 'local',
      virtual_hosts: [{ name: 'all', domains: ['*'], ...virtualHost, routes: [...routes, { match: { prefix: '/' }, route: BACKEND }] }],
    },
  };
}
