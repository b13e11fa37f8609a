import type { KeyObject } from 'node:crypto';

export interface SecurityPorts {
  readonly rbac: number;
  readonly jwt: number;
  readonly authz: number;
  /** JWT and RBAC as Istio makes them of RequestAuthentication and AuthorizationPolicy. */
  readonly mesh: number;
  /** RBAC by the client's certificate. */
  readonly tls: number;
  /** TCP that RBAC lets through, and closes. */
  readonly tcpAllowed: number;
  readonly tcpDenied: number;
  /** TCP that the gRPC authorization server lets through; that nobody decides of; and that passes then. */
  readonly tcpAsked: number;
  readonly tcpUnanswered: number;
  readonly tcpOpen: number;
  readonly echo: number;
  /** Serves /keys, a JWKS, and /broken. */
  readonly keys: number;
  /** An HTTP authorization server, and a gRPC one. */
  readonly authzHttp: number;
  readonly authzGrpc: number;
  /** Where nobody listens. */
  readonly dead: number;
}

/** PEM. */
export interface SecurityCertificates {
  readonly root: string;
  readonly chain: string;
  readonly key: string;
}

/** The public keys that the tokens of the cases are signed for. */
export interface SecurityKeys {
  readonly rsa: KeyObject;
  readonly ec: KeyObject;
  readonly ed: KeyObject;
}

type Json = Record<string, unknown>;

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http.';
export const SECURITY_LOG_MARK = 'decision:';
const METADATA = ['jwt_authn', 'rbac', 'ext_authz'].map((name) => ` | %DYNAMIC_METADATA(envoy.filters.http.${name})%`).join('');
const LOG_FORMAT = `${SECURITY_LOG_MARK} %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%${METADATA}\n`;

const TCP_LOG_FORMAT = `${SECURITY_LOG_MARK} %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%\n`;

/** One static bootstrap with the security filters, for whichever proxy. */
export function securityBootstrap(ports: SecurityPorts, keys: SecurityKeys, certificates: SecurityCertificates): Json {
  return {
    node: { id: 'differential', cluster: 'differential' },
    static_resources: {
      listeners: [
        listener('rbac', ports.rbac, { filters: [filter('rbac', 'rbac.v3.RBAC', {})], routes: rbacRoutes() }),
        listener('jwt', ports.jwt, {
          filters: [filter('jwt_authn', 'jwt_authn.v3.JwtAuthentication', jwtConfig(keys, ports.keys))],
          routes: jwtRoutes(),
        }),
        listener('mesh', ports.mesh, { filters: meshFilters(keys), routes: [{ match: { prefix: '/' }, route: { cluster: 'echo' } }] }),
        withTls(listener('tls', ports.tls, { filters: [filter('rbac', 'rbac.v3.RBAC', {})], routes: principalRoutes() }), certificates),
        listener('authz', ports.authz, { filters: authzFilters(), routes: authzRoutes() }),
        tcpListener('tcp-allowed', ports.tcpAllowed, networkRbac('tcp-allowed', 'DENY')),
        tcpListener('tcp-denied', ports.tcpDenied, networkRbac('tcp-denied', 'ALLOW')),
        tcpListener('tcp-asked', ports.tcpAsked, networkAuthz('tcp-asked', 'authz-grpc')),
        tcpListener('tcp-unanswered', ports.tcpUnanswered, networkAuthz('tcp-unanswered', 'dead')),
        tcpListener('tcp-open', ports.tcpOpen, { ...networkAuthz('tcp-open', 'dead'), failure_mode_allow: true }),
      ],
      clusters: [
        cluster('echo', ports.echo),
        cluster('keys', ports.keys),
        cluster('authz-http', ports.authzHttp),
        { ...cluster('authz-grpc', ports.authzGrpc), ...SPEAKS_HTTP2 },
        cluster('dead', ports.dead),
      ],
    },
  };
}

function listener(name: string, port: number, options: { readonly filters: readonly Json[]; readonly routes: readonly Json[] }): Json {
  const hcm = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: name,
    normalize_path: true,
    access_log: accessLog(LOG_FORMAT),
    http_filters: [...options.filters, filter('router', 'router.v3.Router', {})],
    route_config: { name, virtual_hosts: [{ name: 'all', domains: ['*'], routes: options.routes }] },
  };
  return {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: hcm }] }],
  };
}

const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network.';

function networkRbac(name: string, action: string): Json {
  const anyone = { permissions: [ANYONE], principals: [{ direct_remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } }] };
  const rules = { action, policies: { 'from afar': anyone } };
  return { '@type': `${NETWORK}rbac.v3.RBAC`, stat_prefix: `${name}.`, rules, shadow_rules: rules, shadow_rules_stat_prefix: 'dry_' };
}

function networkAuthz(name: string, cluster: string): Json {
  const grpc_service = { envoy_grpc: { cluster_name: cluster }, timeout: '10s' };
  return { '@type': `${NETWORK}ext_authz.v3.ExtAuthz`, stat_prefix: name, transport_api_version: 'V3', grpc_service };
}

function tcpListener(name: string, port: number, gate: Json): Json {
  const filters = [
    { name: 'gate', typed_config: gate },
    {
      name: 'envoy.filters.network.tcp_proxy',
      typed_config: {
        '@type': `${NETWORK}tcp_proxy.v3.TcpProxy`,
        stat_prefix: name,
        cluster: 'echo',
        access_log: accessLog(TCP_LOG_FORMAT),
      },
    },
  ];
  return { name, address: { socket_address: { address: '127.0.0.1', port_value: port } }, filter_chains: [{ filters }] };
}

function accessLog(format: string): Json[] {
  const typed_config = {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path: '/dev/stdout',
    log_format: { text_format_source: { inline_string: format } },
  };
  return [{ name: 'envoy.access_loggers.file', typed_config }];
}

export function filter(name: string, type: string, config: Json): Json {
  return { name: `envoy.filters.http.${name}`, typed_config: { '@type': `${FILTERS}${type}`, ...config } };
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

const ANYONE = { any: true };
const header = (name: string, match: Json): Json => ({ header: { name, ...match } });
const role = (match: Json): Json => header('x-role', { string_match: match });

function template(pathTemplate: string): Json {
  const type = 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig';
  const name = 'envoy.path.match.uri_template.uri_template_matcher';
  return { permission: { uri_template: { name, typed_config: { '@type': type, path_template: pathTemplate } } } };
}

/** By the path of the route that has them; the templates are for what follows. */
export const URI_TEMPLATES: Readonly<Record<string, RbacCase>> = {
  'one-segment': template('/one-segment/*/b'),
  'many-segments': template('/many-segments/**'),
  'many-in-between': template('/many-in-between/a/**/b'),
  variables: template('/variables/{one}/x/{two=a/*}'),
  suffix: template('/suffix/**.txt'),
  'trailing-slash': template('/trailing-slash/*/'),
};

interface RbacCase {
  readonly action?: 'ALLOW' | 'DENY' | 'LOG';
  readonly permission?: Json;
  readonly principal?: Json;
}

/** By the path of the route that has them. */
export const RBAC_RULES: Readonly<Record<string, RbacCase>> = {
  'allow-exact': { permission: role({ exact: 'admin' }) },
  'deny-exact': { action: 'DENY', permission: role({ exact: 'admin' }) },
  'log-exact': { action: 'LOG', permission: role({ exact: 'admin' }) },
  'deny-prefix': { action: 'DENY', permission: role({ prefix: 'ADM', ignore_case: true }) },
  'deny-suffix': { action: 'DENY', permission: role({ suffix: 'min' }) },
  'deny-contains': { action: 'DENY', permission: role({ contains: 'dmi' }) },
  'deny-regex': { action: 'DENY', permission: role({ safe_regex: { regex: 'ad.*' } }) },
  'deny-inverted': { action: 'DENY', permission: header('x-role', { string_match: { exact: 'admin' }, invert_match: true }) },
  'allow-inverted': { permission: header('x-role', { string_match: { exact: 'admin' }, invert_match: true }) },
  'allow-not': { permission: { not_rule: role({ exact: 'admin' }) } },
  'allow-joined': { permission: role({ exact: 'user,admin' }) },
  'allow-range': { permission: header('x-role', { range_match: { start: 1, end: 5 } }) },
  'allow-present': { permission: header('x-role', { present_match: true }) },
  'allow-absent': { permission: header('x-role', { present_match: true, invert_match: true }) },
  'allow-empty': { permission: header('x-role', { string_match: { exact: '' }, treat_missing_header_as_empty: true }) },
  'allow-method': { permission: header(':method', { string_match: { exact: 'GET' } }) },
  'allow-host': { permission: header(':authority', { string_match: { exact: 'A.EXAMPLE', ignore_case: true } }) },
  'allow-url': { permission: { url_path: { path: { suffix: '/in' } } } },
  'allow-text': { permission: role({ exact: 'größe' }) },
  'allow-ip': { permission: { destination_ip: { address_prefix: '127.0.0.0', prefix_len: 8 } } },
  'deny-other-ip': { action: 'DENY', principal: { direct_remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } } },
  'deny-source-ip': { action: 'DENY', principal: { source_ip: { address_prefix: '127.0.0.1', prefix_len: 32 } } },
  'deny-remote-ip': { action: 'DENY', principal: { remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } } },
  'allow-ports': { permission: { destination_port_range: { start: 1, end: 65536 } } },
  'allow-port': { permission: { destination_port: 1 } },
  'allow-sni': { permission: { requested_server_name: { exact: '' } } },
  'allow-authenticated': { principal: { authenticated: {} } },
  'allow-metadata': {
    permission: { metadata: { filter: 'nobody', path: [{ key: 'k' }], value: { present_match: true } } },
  },
  'allow-no-metadata': {
    permission: { metadata: { filter: 'nobody', path: [{ key: 'k' }], value: { present_match: true }, invert: true } },
  },
  'allow-and': { permission: { and_rules: { rules: [role({ exact: 'admin' }), header('x-two', { present_match: true })] } } },
  'allow-or': { permission: { or_rules: { rules: [role({ exact: 'admin' }), header('x-two', { present_match: true })] } } },
  'allow-url-principal': { principal: { url_path: { path: { prefix: '/allow-url-principal/in' } } } },
  'allow-principals': { principal: { or_ids: { ids: [role({ exact: 'admin' }), { not_id: header('x-two', { present_match: true }) }] } } },
};

function rbacRoutes(): Json[] {
  const perRoute = (rbac: Json | undefined): Json => ({
    'envoy.filters.http.rbac': { '@type': `${FILTERS}rbac.v3.RBACPerRoute`, ...(rbac === undefined ? {} : { rbac }) },
  });
  const answer = { direct_response: { status: 200, body: { inline_string: 'in' } } };
  const routes = Object.entries({ ...RBAC_RULES, ...URI_TEMPLATES }).map(
    ([name, { action = 'ALLOW', permission = ANYONE, principal = ANYONE }]) => {
      const policies = { 'a policy': { permissions: [permission], principals: [principal] } };
      return { match: { prefix: `/${name}/` }, ...answer, typed_per_filter_config: perRoute({ rules: { action, policies } }) };
    },
  );
  return [
    ...routes,
    { match: { prefix: '/deny-all' }, ...answer, typed_per_filter_config: perRoute({ rules: {} }) },
    { match: { prefix: '/nothing-denied' }, ...answer, typed_per_filter_config: perRoute({ rules: { action: 'DENY' } }) },
    { match: { prefix: '/off' }, ...answer, typed_per_filter_config: perRoute(undefined) },
    {
      match: { prefix: '/shadow' },
      ...answer,
      typed_per_filter_config: perRoute({ shadow_rules: {}, shadow_rules_stat_prefix: 'dry_' }),
    },
    { match: { prefix: '/' }, ...answer },
  ];
}

/** What a claim must be, as Istio writes it. Source: istio security/authz/matcher/metadata.go (1.32 dev). */
function claim(path: readonly string[], value: Json): Json {
  return { metadata: { filter: 'envoy.filters.http.jwt_authn', path: ['payload', ...path].map((key) => ({ key })), value } };
}

const listed = (exact: string): Json => ({
  or_match: { value_matchers: [{ list_match: { one_of: { string_match: { exact } } } }, { string_match: { exact } }] },
});

/** By the beginning of the path that it is for. */
export const MESH_PRINCIPALS: Readonly<Record<string, Json>> = {
  '/principal/': {
    and_ids: { ids: [claim(['iss'], { string_match: { exact: 'issuer' } }), claim(['sub'], { string_match: { prefix: 'user-' } })] },
  },
  '/any-principal/': claim(['iss'], { string_match: { safe_regex: { regex: '.+' } } }),
  '/group/': claim(['groups'], listed('admins')),
  '/scope/': claim(['scope'], listed('write')),
  '/nested/': claim(['nested', 'deep'], { string_match: { exact: 'd' } }),
  '/flag/': claim(['flag'], { bool_match: true }),
  '/number/': claim(['number'], { double_match: { range: { start: 5, end: 8 } } }),
  '/nothing/': claim(['nothing'], { null_match: {} }),
  '/absent/': { not_id: claim(['iss'], { present_match: true }) },
};

function meshFilters(keys: SecurityKeys): Json[] {
  const jwks = localJwks(keys);
  const provider = (issuer: string): Json => ({
    issuer,
    forward: issuer === 'issuer',
    payload_in_metadata: 'payload',
    header_in_metadata: 'header',
    normalize_payload_in_metadata: { space_delimited_claims: ['scope', 'permission'] },
    failed_status_in_metadata: 'failed',
    ...jwks,
  });
  const named = ['origins-0', 'origins-1'].map((provider_name) => ({ provider_name }));
  const requires = { requires_any: { requirements: [...named, { allow_missing: {} }] } };
  const policies = Object.entries(MESH_PRINCIPALS).map(([path, principal]) => [
    path,
    { permissions: [{ and_rules: { rules: [{ url_path: { path: { prefix: path } } }] } }], principals: [principal] },
  ]);
  return [
    filter('jwt_authn', 'jwt_authn.v3.JwtAuthentication', {
      providers: { 'origins-0': provider('issuer'), 'origins-1': provider('other') },
      rules: [{ match: { prefix: '/' }, requires }],
      bypass_cors_preflight: true,
      strip_failure_response: true,
    }),
    filter('rbac', 'rbac.v3.RBAC', {
      rules: { action: 'ALLOW', policies: Object.fromEntries(policies) },
      shadow_rules: { action: 'DENY', policies: Object.fromEntries(policies) },
      rules_stat_prefix: 'enforced_by_us_',
      shadow_rules_stat_prefix: 'istio_dry_run_deny_',
    }),
  ];
}

function localJwks({ rsa, ec, ed }: SecurityKeys): Json {
  const jwk = (key: KeyObject, members: Json): Json => ({ ...key.export({ format: 'jwk' }), ...members });
  return {
    local_jwks: {
      inline_string: JSON.stringify({
        keys: [
          jwk(rsa, { kid: 'rsa', alg: 'RS256' }),
          jwk(ec, { kid: 'ec' }),
          jwk(ed, { kid: 'ed' }),
          { kty: 'oct', kid: 'mac', k: 'c2VjcmV0' },
        ],
      }),
    },
  };
}

/** Names of the client, by the path of the route that only they may take; the client of the comparison is `sa/client`. */
export const PRINCIPALS: Readonly<Record<string, Json>> = {
  anyone: {},
  client: { principal_name: { exact: 'spiffe://cluster.local/ns/a/sa/client' } },
  namespace: { principal_name: { safe_regex: { regex: '.*/ns/a/.*' } } },
  prefix: { principal_name: { prefix: 'spiffe://cluster.local/' } },
  'dns-name': { principal_name: { exact: 'client.example' } },
  other: { principal_name: { exact: 'spiffe://cluster.local/ns/a/sa/other' } },
  nobody: { principal_name: { exact: '' } },
  somebody: { principal_name: { safe_regex: { regex: '.+' } } },
};

function principalRoutes(): Json[] {
  return Object.entries(PRINCIPALS).flatMap(([name, authenticated]) =>
    (['ALLOW', 'DENY'] as const).map((action) => {
      const policies = { p: { permissions: [ANYONE], principals: [{ authenticated }] } };
      const rbac = { '@type': `${FILTERS}rbac.v3.RBACPerRoute`, rbac: { rules: { action, policies } } };
      return {
        match: { path: `/${action}/${name}` },
        direct_response: { status: 200, body: { inline_string: 'in' } },
        typed_per_filter_config: { 'envoy.filters.http.rbac': rbac },
      };
    }),
  );
}

function withTls(message: Json, { root, chain, key }: SecurityCertificates): Json {
  const pem = (inline_string: string): Json => ({ inline_string });
  const typed_config = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    common_tls_context: {
      tls_certificates: [{ certificate_chain: pem(chain), private_key: pem(key) }],
      validation_context: { trusted_ca: pem(root) },
    },
  };
  const chains = message['filter_chains'] as Json[];
  return {
    ...message,
    filter_chains: chains.map((each) => ({ ...each, transport_socket: { name: 'envoy.transport_sockets.tls', typed_config } })),
  };
}

function jwtConfig(keys: SecurityKeys, keysPort: number): Json {
  const local = localJwks(keys);
  const remote = (path: string): Json => ({
    remote_jwks: {
      http_uri: { uri: `http://keys.example:${keysPort}${path}`, cluster: 'keys', timeout: '10s' },
      cache_duration: '300s',
      retry_policy: { num_retries: 1 },
    },
  });
  const provider = { issuer: 'issuer', audiences: ['us'], forward: true, ...local };
  const requires = (prefix: string, requirement: Json): Json => ({ match: { prefix }, requires: requirement });
  const named = { provider_name: 'plain' };
  return {
    bypass_cors_preflight: true,
    providers: {
      plain: provider,
      hiding: { ...provider, forward: false, forward_payload_header: 'x-payload', pad_forward_payload_header: true },
      places: {
        ...provider,
        forward: false,
        from_headers: [{ name: 'x-token', value_prefix: 'T ' }, { name: 'x-bare' }],
        from_params: ['token'],
        from_cookies: ['jwt'],
      },
      claims: {
        ...provider,
        clear_route_cache: true,
        jwt_cache_config: { jwt_cache_size: 10 },
        claim_to_headers: ['sub', 'number', 'part', 'flag', 'nested.deep', 'list', 'nested'].map((claim) => ({
          header_name: `x-claim-${claim.replace('.', '-')}`,
          claim_name: claim,
        })),
      },
      skewed: { ...provider, clock_skew_seconds: 5 },
      tolerant: { ...provider, clock_skew_seconds: 3600 },
      'remote-ahead': { issuer: 'issuer', forward: true, remote_jwks: { ...(remote('/keys')['remote_jwks'] as Json), async_fetch: {} } },
      strict: { ...provider, require_expiration: true },
      short: { ...provider, max_lifetime: '60s' },
      subjects: { ...provider, subjects: { prefix: 'user-' } },
      anyone: { forward: true, ...local },
      other: { ...provider, issuer: 'other' },
      remote: { issuer: 'issuer', forward: true, ...remote('/keys') },
      'remote-broken': { issuer: 'issuer', forward: true, ...remote('/broken') },
      'remote-missing': { issuer: 'issuer', forward: true, ...remote('/missing') },
    },
    rules: [
      ...[
        'plain',
        'hiding',
        'places',
        'claims',
        'strict',
        'short',
        'subjects',
        'anyone',
        'remote',
        'remote-broken',
        'remote-missing',
        'remote-ahead',
        'skewed',
        'tolerant',
      ].map((name) => requires(`/${name}/`, { provider_name: name })),
      requires('/audience/', { provider_and_audiences: { provider_name: 'plain', audiences: ['https://them/'] } }),
      requires('/any/', { requires_any: { requirements: [{ provider_name: 'other' }, named] } }),
      requires('/any-or-missing/', { requires_any: { requirements: [{ provider_name: 'other' }, named, { allow_missing: {} }] } }),
      requires('/any-or-failed/', { requires_any: { requirements: [{ provider_name: 'other' }, named, { allow_missing_or_failed: {} }] } }),
      requires('/all/', { requires_all: { requirements: [named, { provider_name: 'subjects' }] } }),
      requires('/allow-missing/', { allow_missing: {} }),
      requires('/allow-failed/', { allow_missing_or_failed: {} }),
      { match: { prefix: '/named/' }, requirement_name: 'by name' },
    ],
    requirement_map: { 'by name': named },
  };
}

function jwtRoutes(): Json[] {
  const perRoute = (config: Json): Json => ({
    typed_per_filter_config: { 'envoy.filters.http.jwt_authn': { '@type': `${FILTERS}jwt_authn.v3.PerRouteConfig`, ...config } },
  });
  const route = { route: { cluster: 'echo' } };
  return [
    { match: { prefix: '/plain/off' }, ...route, ...perRoute({ disabled: true }) },
    {
      match: { prefix: '/claims/', headers: [{ name: 'x-claim-flag', string_match: { exact: 'true' } }] },
      route: { cluster: 'echo', prefix_rewrite: '/another-route/' },
    },
    { match: { prefix: '/route-named/' }, ...route, ...perRoute({ requirement_name: 'by name' }) },
    { match: { prefix: '/route-wrong/' }, ...route, ...perRoute({ requirement_name: 'nobody' }) },
    { match: { prefix: '/' }, ...route },
  ];
}

const SPEAKS_HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

const exactly = (...names: readonly string[]): Json => ({ patterns: names.map((exact) => ({ exact })) });

function httpService(cluster: string, more: Json = {}): Json {
  return { http_service: { server_uri: { uri: 'http://authz.example', cluster, timeout: '2s' }, path_prefix: '/check', ...more } };
}

const GRPC_SERVICE = { grpc_service: { envoy_grpc: { cluster_name: 'authz-grpc' }, timeout: '2s' } };

function metadataIs(exact: string): Json {
  return { filter: 'mine', path: [{ key: 'asks' }], value: { string_match: { exact } } };
}

/** By the first part of the path: each filter is off but for the routes of its name. */
export const AUTHZ_SERVICES: Readonly<Record<string, Json>> = {
  http: httpService('authz-http'),
  'http-lists': {
    ...httpService('authz-http', {
      authorization_request: {
        allowed_headers: { patterns: [{ exact: 'cookie' }, { prefix: 'x-shown' }] },
        headers_to_add: [{ key: 'x-added', value: 'always' }],
      },
      authorization_response: {
        allowed_upstream_headers: exactly('x-set', 'x-asked'),
        allowed_upstream_headers_to_append: exactly('x-append'),
        allowed_client_headers: exactly('x-reason'),
        allowed_client_headers_on_success: exactly('x-client'),
        dynamic_metadata_from_headers: exactly('x-reason'),
      },
    }),
  },
  'http-body': { ...httpService('authz-http'), with_request_body: { max_request_bytes: 10 } },
  'http-partial': { ...httpService('authz-http'), with_request_body: { max_request_bytes: 10, allow_partial_message: true } },
  'http-dead': { ...httpService('dead'), status_on_error: { code: 'ServiceUnavailable' } },
  'http-open': { ...httpService('dead'), failure_mode_allow: true, failure_mode_allow_header_add: true },
  'http-unknown': httpService('nobody'),
  'http-disabled': { ...httpService('authz-http'), filter_enabled: { default_value: { numerator: 0 } } },
  'http-deny-disabled': {
    ...httpService('authz-http'),
    filter_enabled: { default_value: { numerator: 0 } },
    deny_at_disable: { default_value: true, runtime_key: 'nobody.sets.this' },
  },
  grpc: GRPC_SERVICE,
  'grpc-body': { ...GRPC_SERVICE, with_request_body: { max_request_bytes: 100, pack_as_bytes: true } },
  'http-named': { ...httpService('authz-http'), stat_prefix: 'named', charge_cluster_response_stats: false },
  'http-by-metadata': { ...httpService('authz-http'), filter_enabled_metadata: metadataIs('yes') },
  'http-by-other-metadata': { ...httpService('authz-http'), filter_enabled_metadata: metadataIs('no') },
  'grpc-more': {
    ...GRPC_SERVICE,
    encode_raw_headers: true,
    metadata_context_namespaces: ['mine', 'nobody'],
    include_peer_certificate: true,
    include_tls_session: true,
    enable_dynamic_metadata_ingestion: false,
  },
  'grpc-clear': { ...GRPC_SERVICE, clear_route_cache: true },
  'grpc-valid': { ...GRPC_SERVICE, validate_mutations: true },
  'grpc-lists': { ...GRPC_SERVICE, allowed_headers: exactly('x-shown', 'x-hidden'), disallowed_headers: exactly('x-hidden') },
};

function authzFilters(): Json[] {
  const metadata = filter('set_metadata', 'set_metadata.v3.Config', { metadata: [{ metadata_namespace: 'mine', value: { asks: 'yes' } }] });
  const services = Object.entries(AUTHZ_SERVICES).map(([name, config]) => ({
    ...filter('ext_authz', 'ext_authz.v3.ExtAuthz', { transport_api_version: 'V3', ...config }),
    name: `authz-${name}`,
  }));
  return [metadata, ...services];
}

function authzRoutes(): Json[] {
  const names = Object.keys(AUTHZ_SERVICES);
  const off = { '@type': `${FILTERS}ext_authz.v3.ExtAuthzPerRoute`, disabled: true };
  const allOff = names.map((name) => [`authz-${name}`, off] as const);
  const routes = names.map((name) => ({
    match: { prefix: `/${name}/` },
    route: { cluster: 'echo' },
    typed_per_filter_config: Object.fromEntries(allOff.filter(([filterName]) => filterName !== `authz-${name}`)),
  }));
  const extensions = {
    '@type': `${FILTERS}ext_authz.v3.ExtAuthzPerRoute`,
    check_settings: { context_extensions: { from: 'the route' } },
  };
  const only = (name: string, settings: Json): Json => ({
    ...Object.fromEntries(allOff),
    [`authz-${name}`]: { '@type': `${FILTERS}ext_authz.v3.ExtAuthzPerRoute`, check_settings: settings },
  });
  const echo = { route: { cluster: 'echo' } };
  const changed = [{ name: 'x-set', string_match: { exact: 'theirs' } }];
  return [
    {
      match: { prefix: '/override-body/' },
      ...echo,
      typed_per_filter_config: only('http', { with_request_body: { max_request_bytes: 8 } }),
    },
    { match: { prefix: '/no-body/' }, ...echo, typed_per_filter_config: only('http-body', { disable_request_body_buffering: true }) },
    { match: { prefix: '/grpc-clear/', headers: changed }, direct_response: { status: 200, body: { inline_string: 'another route' } } },
    {
      match: { prefix: '/extended/' },
      route: { cluster: 'echo' },
      typed_per_filter_config: { ...Object.fromEntries(allOff), 'authz-grpc': extensions },
    },
    ...routes,
    { match: { prefix: '/' }, route: { cluster: 'echo' }, typed_per_filter_config: Object.fromEntries(allOff) },
  ];
}
