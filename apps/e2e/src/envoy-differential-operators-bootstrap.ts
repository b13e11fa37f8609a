/** Every command operator of access logs that both proxies have, by what is compared of it. */
export const OPERATORS = {
  /** Word for word. */
  values: [
    'REQ(:METHOD)',
    'REQ(:PATH)',
    'REQ(:AUTHORITY)',
    'REQ(:SCHEME)',
    'REQ(X-NONE?X-CASE)',
    'REQ(X-CASE):2',
    'RESP(X-UP)',
    'RESP(CONTENT-LENGTH)',
    'TRAILER(X-NONE)',
    'PROTOCOL',
    'UPSTREAM_PROTOCOL',
    'RESPONSE_CODE',
    'RESPONSE_CODE_DETAILS',
    'CONNECTION_TERMINATION_DETAILS',
    'RESPONSE_FLAGS',
    'RESPONSE_FLAGS_LONG',
    'BYTES_RECEIVED',
    'BYTES_SENT',
    'BYTES_RETRANSMITTED',
    'PACKETS_RETRANSMITTED',
    'ROUNDTRIP_DURATION',
    'UPSTREAM_WIRE_BYTES_SENT',
    'UPSTREAM_WIRE_BYTES_RECEIVED',
    'UPSTREAM_HEADER_BYTES_SENT',
    'UPSTREAM_HEADER_BYTES_RECEIVED',
    'DOWNSTREAM_WIRE_BYTES_SENT',
    'DOWNSTREAM_WIRE_BYTES_RECEIVED',
    'DOWNSTREAM_HEADER_BYTES_SENT',
    'DOWNSTREAM_HEADER_BYTES_RECEIVED',
    'REQUEST_HEADERS_BYTES',
    'RESPONSE_TRAILERS_BYTES',
    'UPSTREAM_HOST',
    'UPSTREAM_HOST_NAME',
    'UPSTREAM_HOST_NAME_WITHOUT_PORT',
    'UPSTREAM_HOSTS_ATTEMPTED',
    'UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT',
    'UPSTREAM_HOST_NAMES_ATTEMPTED',
    'UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT',
    'UPSTREAM_REMOTE_ADDRESS',
    'UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT',
    'UPSTREAM_REMOTE_PORT',
    'UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT',
    'UPSTREAM_CLUSTER',
    'UPSTREAM_CLUSTER_RAW',
    'UPSTREAM_TRANSPORT_FAILURE_REASON',
    'UPSTREAM_REQUEST_ATTEMPT_COUNT',
    'UPSTREAM_SERVER_NAME',
    'UPSTREAM_TLS_VERSION',
    'UPSTREAM_TLS_CIPHER',
    'UPSTREAM_PEER_ISSUER',
    'UPSTREAM_PEER_SUBJECT',
    'UPSTREAM_PEER_CERT',
    'UPSTREAM_PEER_CERT_V_START(%F %T)',
    'UPSTREAM_PEER_CERT_V_END(%F %T)',
    'UPSTREAM_PEER_URI_SAN',
    'UPSTREAM_PEER_DNS_SAN',
    'UPSTREAM_PEER_IP_SAN',
    'UPSTREAM_LOCAL_URI_SAN',
    'UPSTREAM_LOCAL_DNS_SAN',
    'UPSTREAM_LOCAL_IP_SAN',
    'DOWNSTREAM_TRANSPORT_FAILURE_REASON',
    'DOWNSTREAM_LOCAL_ADDRESS',
    'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT',
    'DOWNSTREAM_LOCAL_PORT',
    'DOWNSTREAM_DIRECT_LOCAL_ADDRESS',
    'DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT',
    'DOWNSTREAM_DIRECT_LOCAL_PORT',
    'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT',
    'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT',
    'DOWNSTREAM_TLS_VERSION',
    'DOWNSTREAM_TLS_CIPHER',
    'DOWNSTREAM_PEER_SUBJECT',
    'DOWNSTREAM_PEER_ISSUER',
    'DOWNSTREAM_PEER_SERIAL',
    'DOWNSTREAM_PEER_FINGERPRINT_1',
    'DOWNSTREAM_PEER_FINGERPRINT_256',
    'DOWNSTREAM_PEER_CERT',
    'DOWNSTREAM_PEER_CERT_V_START(%F %T)',
    'DOWNSTREAM_PEER_CERT_V_END(%F %T)',
    'DOWNSTREAM_PEER_URI_SAN',
    'DOWNSTREAM_PEER_DNS_SAN',
    'DOWNSTREAM_PEER_IP_SAN',
    'DOWNSTREAM_PEER_EMAIL_SAN',
    'DOWNSTREAM_LOCAL_SUBJECT',
    'DOWNSTREAM_LOCAL_URI_SAN',
    'DOWNSTREAM_LOCAL_DNS_SAN',
    'DOWNSTREAM_LOCAL_IP_SAN',
    'DOWNSTREAM_LOCAL_EMAIL_SAN',
    'REQUESTED_SERVER_NAME',
    'ROUTE_NAME',
    'VIRTUAL_CLUSTER_NAME',
    'FILTER_CHAIN_NAME',
    'DYNAMIC_METADATA(none)',
    'CLUSTER_METADATA(cm)',
    'CLUSTER_METADATA(cm:k)',
    'CLUSTER_METADATA(cm:o:a)',
    'UPSTREAM_METADATA(em)',
    'UPSTREAM_METADATA(em:k)',
    'UPSTREAM_METADATA(envoy.lb:z)',
    'METADATA(CLUSTER:cm:k)',
    'METADATA(ROUTE:rm:k)',
    'METADATA(UPSTREAM_HOST:em:k)',
    'METADATA(LISTENER:lm:k)',
    'METADATA(VIRTUAL_HOST:vm:k)',
    'METADATA(DYNAMIC:none)',
    'FILTER_STATE(none)',
    'FILTER_STATE(none:PLAIN)',
    'GRPC_STATUS',
    'GRPC_STATUS(NUMBER)',
    'GRPC_STATUS_NUMBER',
    'ACCESS_LOG_TYPE',
    'HOSTNAME',
    'ENVIRONMENT(HOME)',
    'ENVIRONMENT(MIZZEN_NOT_SET)',
    'PATH',
    'PATH(NQ)',
    'PATH(NQ:PATH)',
    'PATH(WQ:ORIG)',
    'PATH(WQ:ORIG_OR_PATH)',
    'QUERY_PARAM(a)',
    'QUERY_PARAM(z)',
    'QUERY_PARAMS',
    'QUERY_PARAMS(ORIG)',
    'QUERY_PARAMS(DECODED)',
    'TRACE_ID',
    'SPAN_ID',
    'START_TIME(%Y-%m)',
    'START_TIME_LOCAL(%Y-%m)',
    'EMIT_TIME(%Y-%m)',
    'EMIT_TIME_LOCAL(%Y-%m)',
  ],
  /** Whether there is something, and of which type: times and ids. */
  kinds: [
    'START_TIME',
    'START_TIME(%s.%3f)',
    'EMIT_TIME',
    'DURATION',
    'REQUEST_DURATION',
    'REQUEST_TX_DURATION',
    'RESPONSE_DURATION',
    'RESPONSE_TX_DURATION',
    'COMMON_DURATION(DS_RX_BEG:DS_RX_END:ms)',
    'COMMON_DURATION(US_CX_BEG:US_CX_END:us)',
    'COMMON_DURATION(US_TX_BEG:US_TX_END:ns)',
    'COMMON_DURATION(US_RX_BEG:US_RX_END:us)',
    'COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)',
    'CONNECTION_ID',
    'STREAM_ID',
    'UNIQUE_ID',
    'UPSTREAM_CONNECTION_ID',
    'UPSTREAM_CONNECTION_IDS_ATTEMPTED',
    'UPSTREAM_TLS_GROUP',
  ],
} as const;

/** Envoy's, which this proxy refuses by name. */
export const REFUSED_OPERATORS = [
  'DOWNSTREAM_CX_RTT',
  'DOWNSTREAM_HANDSHAKE_DURATION',
  'DOWNSTREAM_DETECTED_CLOSE_TYPE',
  'DOWNSTREAM_LOCAL_CLOSE_REASON',
  'DOWNSTREAM_PEER_CHAIN_SERIALS',
  'DOWNSTREAM_PEER_OTHERNAME_SAN',
  'DOWNSTREAM_TLS_GROUP',
  'TLS_JA3_FINGERPRINT',
  'TLS_JA4_FINGERPRINT',
  'UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT',
  'UPSTREAM_DETECTED_CLOSE_TYPE',
  'UPSTREAM_LOCAL_CLOSE_REASON',
  'UPSTREAM_FILTER_STATE(a)',
] as const;

export interface OperatorPorts {
  readonly http: number;
  readonly mtls: number;
  readonly inner: number;
  readonly tcp: number;
  readonly tcpDead: number;
  readonly app: number;
  readonly dead: number;
  readonly echo: number;
}

export interface OperatorCertificates {
  readonly root: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
}

type Json = Readonly<Record<string, unknown>>;

const TYPE = 'type.googleapis.com/envoy.extensions';
const any = (name: string, type: string, fields: Json = {}): Json => ({ name, typed_config: { '@type': `${TYPE}.${type}`, ...fields } });
const address = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });
const metadata = (namespace: string, values: Json): Json => ({ metadata: { filter_metadata: { [namespace]: values } } });

/** HTTP, TCP and HTTP over mTLS both ways, logged by every operator: as text and as JSON. */
export function operatorsBootstrap(ports: OperatorPorts, certificates: OperatorCertificates): Record<string, unknown> {
  const { server, client, root } = certificates;
  return {
    node: { id: 'n1', cluster: 'c1' },
    static_resources: {
      listeners: [
        { ...listener('plain', ports.http, [manager(routes())]), ...metadata('lm', { k: 'of the listener' }) },
        withTls(listener('mtls', ports.mtls, [manager([route('secure', '/', { cluster: 'secure' })])]), { ...server, root }),
        withTls(listener('inner', ports.inner, [manager([{ ...direct('/'), name: 'inner' }], [])]), { ...server, root }),
        listener('tcp', ports.tcp, [tcpProxy('echo')]),
        listener('tcp-dead', ports.tcpDead, [tcpProxy('dead')]),
      ],
      clusters: [
        cluster('app', ports.app),
        cluster('dead', ports.dead),
        cluster('echo', ports.echo),
        {
          ...cluster('secure', ports.inner),
          transport_socket: any('tls', 'transport_sockets.tls.v3.UpstreamTlsContext', {
            sni: 'inner.example',
            common_tls_context: tlsContext({ ...client, root }),
          }),
        },
      ],
    },
  };
}

function listener(name: string, port: number, filters: readonly Json[]): Json & { readonly filter_chains: readonly Json[] } {
  return { name, address: address(port), filter_chains: [{ name: `chain of ${name}`, filters }] };
}

type Pem = { readonly cert: string; readonly key: string; readonly root: string };

function withTls(plain: ReturnType<typeof listener>, pem: Pem): Json {
  const context = { require_client_certificate: true, common_tls_context: tlsContext(pem) };
  const transport_socket = any('tls', 'transport_sockets.tls.v3.DownstreamTlsContext', context);
  const listener_filters = [any('inspector', 'filters.listener.tls_inspector.v3.TlsInspector')];
  return { ...plain, listener_filters, filter_chains: plain.filter_chains.map((chain) => ({ ...chain, transport_socket })) };
}

function tlsContext({ cert, key, root }: Pem): Json {
  const inline = (text: string): Json => ({ inline_string: text });
  return {
    tls_certificates: [{ certificate_chain: inline(cert), private_key: inline(key) }],
    validation_context: { trusted_ca: inline(root) },
    tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
  };
}

function manager(each: readonly Json[], access_log: readonly Json[] = logs()): Json {
  const virtual_clusters = [{ name: 'group', headers: [{ name: ':path', string_match: { prefix: '/group' } }] }];
  const host = { name: 'v', domains: ['*'], virtual_clusters, routes: each, ...metadata('vm', { k: 'of the host' }) };
  return any('hcm', 'filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'operators',
    access_log,
    // Answers would tell how long they took, by one digit or by two.
    route_config: { name: 'r', virtual_hosts: [host], response_headers_to_remove: ['x-envoy-upstream-service-time'] },
    http_filters: [any('router', 'filters.http.router.v3.Router')],
  });
}

function routes(): readonly Json[] {
  return [
    route('dead', '/dead', { cluster: 'dead', retry_policy: { retry_on: 'connect-failure', num_retries: 1 } }),
    direct('/direct'),
    route('rewritten', '/before/', { cluster: 'app', prefix_rewrite: '/after/' }),
    { ...route('rest', '/', { cluster: 'app' }), ...metadata('rm', { k: 'of the route' }) },
  ];
}

function route(name: string, prefix: string, action: Json): Json {
  return { name, match: { prefix }, route: action };
}

function direct(prefix: string): Json {
  return { name: 'direct', match: { prefix }, direct_response: { status: 404, body: { inline_string: 'no' } } };
}

function tcpProxy(name: string): Json {
  return any('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', { stat_prefix: 'operators', cluster: name, access_log: logs() });
}

function logs(): readonly Json[] {
  const all = [...OPERATORS.values, ...OPERATORS.kinds];
  const json = { mark: 'json', ...Object.fromEntries(all.map((operator) => [operator, `%${operator}%`])) };
  // One line each, so that a value with spaces is told from the next one.
  const text = all.map((operator, index) => `"${index}":"<%${operator}%>"`).join(',');
  const stdout = (log_format: Json): Json => any('stdout', 'access_loggers.stream.v3.StdoutAccessLog', { log_format });
  return [stdout({ json_format: json }), stdout({ text_format_source: { inline_string: `{"mark":"text",${text}}\n` } })];
}

function cluster(name: string, port: number): Json {
  const endpoint = {
    ...{ metadata: { filter_metadata: { em: { k: 'of the endpoint' }, 'envoy.lb': { z: 'y' } } } },
    endpoint: { hostname: 'host.name:81', address: address(port) },
  };
  return {
    name,
    alt_stat_name: `alias_of_${name}`,
    type: 'STATIC',
    connect_timeout: '10s',
    ...metadata('cm', { k: 'of the cluster', o: { a: 1 } }),
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
  };
}
