/** Addresses of services that nobody has: the proxy knows them. */
export const VIP = { web: '10.9.9.1', database: '10.9.9.2', self: '10.9.9.3' } as const;
/** Addresses in the network, unknown to the proxy. */
export const OUTSIDE = { ipv4: '10.9.8.1', ipv6: 'fd00:9::1' } as const;

type Message = Readonly<Record<string, unknown>>;

const EXTENSION = 'type.googleapis.com/envoy.extensions';
/** Begins a line of the access log. */
export const LOG_MARK = 'captured:';

/** Capture as Istio configures it, by hand: a workload at 10.8.0.2 with a web server on 9080, in a network at 10.8.0.1. */
export function captureBootstrap(adminPort: number): Message {
  return {
    node: { id: 'capture', cluster: 'capture' },
    admin: { address: socketAddress('127.0.0.1', adminPort) },
    static_resources: {
      listeners: [virtualOutbound(), httpOutbound(), tcpOutbound(VIP.database, 3306, 'database'), virtualInbound()],
      clusters: [
        { name: 'BlackHoleCluster', type: 'STATIC', connect_timeout: '5s' },
        originalDestination('PassthroughCluster', {}),
        originalDestination('InboundPassthroughCluster', bindTo('127.0.0.6')),
        originalDestination('InboundPassthroughClusterIpv6', bindTo('::6')),
        originalDestination('inbound|9080||', bindTo('127.0.0.6')),
        originalDestination('inbound6|9080||', bindTo('::6')),
        toAddress('web', '10.8.0.1', 8080),
        toAddress('database', '10.8.0.1', 3307),
        toAddress('self', '10.8.0.2', 9080),
      ],
    },
  };
}

function virtualOutbound(): Message {
  return {
    name: 'virtualOutbound',
    ...addresses(15001),
    traffic_direction: 'OUTBOUND',
    use_original_dst: true,
    listener_filters: [listenerFilter('original_dst.v3.OriginalDst')],
    filter_chains: [
      { name: 'virtualOutbound-blackhole', filter_chain_match: { destination_port: 15001 }, filters: [tcp('BlackHoleCluster')] },
      { name: 'virtualOutbound-catchall-tcp', filters: [tcp('PassthroughCluster')] },
    ],
  };
}

/** Port 80 of everybody, of whichever protocol. */
function httpOutbound(): Message {
  const virtualHosts = [
    virtualHost('web', [VIP.web], 'web'),
    virtualHost('self', [VIP.self], 'self'),
    virtualHost('allow_any', ['*'], 'PassthroughCluster'),
  ];
  return {
    name: '0.0.0.0_80',
    ...addresses(80),
    bind_to_port: false,
    traffic_direction: 'OUTBOUND',
    ...inspectors(),
    filter_chains: [{ filter_chain_match: HTTP, filters: [http('80', virtualHosts)] }],
    default_filter_chain: { filters: [tcp('PassthroughCluster')] },
  };
}

function tcpOutbound(host: string, port: number, cluster: string): Message {
  return {
    name: `${host}_${port}`,
    address: socketAddress(host, port),
    bind_to_port: false,
    traffic_direction: 'OUTBOUND',
    filter_chains: [{ filters: [tcp(cluster)] }],
  };
}

function virtualInbound(): Message {
  const ipv4 = { prefix_ranges: [{ address_prefix: '0.0.0.0', prefix_len: 0 }] };
  const ipv6 = { prefix_ranges: [{ address_prefix: '::', prefix_len: 0 }] };
  const to = (cluster: string): readonly Message[] => [virtualHost('all', ['*'], cluster)];
  return {
    name: 'virtualInbound',
    ...addresses(15006),
    traffic_direction: 'INBOUND',
    ...inspectors([listenerFilter('original_dst.v3.OriginalDst')]),
    filter_chains: [
      { name: 'virtualInbound-blackhole', filter_chain_match: { destination_port: 15006 }, filters: [tcp('BlackHoleCluster')] },
      {
        name: 'http',
        filter_chain_match: { ...ipv4, ...HTTP, destination_port: 9080 },
        filters: [http('inbound|9080||', to('inbound|9080||'))],
      },
      {
        name: 'http6',
        filter_chain_match: { ...ipv6, ...HTTP, destination_port: 9080 },
        filters: [http('inbound6|9080||', to('inbound6|9080||'))],
      },
      {
        name: 'tcp',
        filter_chain_match: { ...ipv4, transport_protocol: 'raw_buffer', destination_port: 9080 },
        filters: [tcp('inbound|9080||')],
      },
      {
        name: 'tcp6',
        filter_chain_match: { ...ipv6, transport_protocol: 'raw_buffer', destination_port: 9080 },
        filters: [tcp('inbound6|9080||')],
      },
      { name: 'passthrough', filter_chain_match: ipv4, filters: [tcp('InboundPassthroughCluster')] },
      { name: 'passthrough6', filter_chain_match: ipv6, filters: [tcp('InboundPassthroughClusterIpv6')] },
    ],
  };
}

const HTTP: Message = { transport_protocol: 'raw_buffer', application_protocols: ['http/1.1', 'h2c'] };

function inspectors(before: readonly Message[] = []): Message {
  return {
    listener_filters: [...before, listenerFilter('tls_inspector.v3.TlsInspector'), listenerFilter('http_inspector.v3.HttpInspector')],
    listener_filters_timeout: '0s',
    continue_on_listener_filters_timeout: true,
  };
}

function listenerFilter(type: string): Message {
  return { name: type, typed_config: { '@type': `${EXTENSION}.filters.listener.${type}` } };
}

function addresses(port: number): Message {
  return { address: socketAddress('0.0.0.0', port), additional_addresses: [{ address: socketAddress('::', port) }] };
}

function socketAddress(address: string, port: number): Message {
  return { socket_address: { address, port_value: port } };
}

function accessLog(): readonly Message[] {
  const format = `${LOG_MARK} %UPSTREAM_CLUSTER% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% %RESPONSE_FLAGS%\n`;
  const typed = { '@type': `${EXTENSION}.access_loggers.file.v3.FileAccessLog`, path: '/dev/stdout' };
  return [{ name: 'log', typed_config: { ...typed, log_format: { text_format_source: { inline_string: format } } } }];
}

function tcp(cluster: string): Message {
  const typed = { '@type': `${EXTENSION}.filters.network.tcp_proxy.v3.TcpProxy`, stat_prefix: cluster, cluster, access_log: accessLog() };
  return { name: 'envoy.filters.network.tcp_proxy', typed_config: typed };
}

function http(name: string, virtualHosts: readonly Message[]): Message {
  const router = { name: 'envoy.filters.http.router', typed_config: { '@type': `${EXTENSION}.filters.http.router.v3.Router` } };
  const typed = {
    '@type': `${EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    route_config: { name, virtual_hosts: virtualHosts },
    http_filters: [router],
    access_log: accessLog(),
  };
  return { name: 'envoy.filters.network.http_connection_manager', typed_config: typed };
}

function virtualHost(name: string, domains: readonly string[], cluster: string): Message {
  return { name, domains, routes: [{ match: { prefix: '/' }, route: { cluster } }] };
}

function originalDestination(name: string, extra: Message): Message {
  return { name, type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED', connect_timeout: '5s', ...extra };
}

function bindTo(address: string): Message {
  return { upstream_bind_config: { source_address: { address, port_value: 0 } } };
}

function toAddress(name: string, host: string, port: number): Message {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: socketAddress(host, port) } }] }];
  return { name, type: 'STATIC', connect_timeout: '5s', load_assignment: { cluster_name: name, endpoints } };
}
