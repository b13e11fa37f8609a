import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { HttpInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/http_inspector/v3/http_inspector';
import { LocalRateLimitSchema as ListenerRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/local_ratelimit/v3/local_ratelimit';
import { OriginalSrcSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_src/v3/original_src';
import { ProxyProtocolSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { ConnectionLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/connection_limit/v3/connection_limit';
import { LocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit';
import { SniClusterSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { encodeProxyHeader } from './listener/proxy-protocol.ts';
import { any, Cleanup, exchange, type RunningProxy, startEcho, startProxy } from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const LOG_FORMAT =
  '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_CLUSTER% %ACCESS_LOG_TYPE%';

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function tcpProxy(fields: JsonObject): JsonObject {
  const log = any(FileAccessLogSchema, {
    path: '/dev/stdout',
    log_format: { text_format_source: { inline_string: `${LOG_FORMAT}\n` } },
  });
  return {
    name: 'tcp',
    typed_config: any(TcpProxySchema, { stat_prefix: 'test', access_log: [{ name: 'log', typed_config: log }], ...fields }),
  };
}

function cluster(name: string, ...ports: number[]): JsonValue {
  const endpoints = [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: address(port) } })) }];
  return { name, type: 'STATIC', connect_timeout: '10s', load_assignment: { cluster_name: name, endpoints } };
}

function echoListener(filters: readonly JsonValue[], more: JsonObject = {}): JsonValue {
  return { address: address(0), filter_chains: [{ filters: [...filters, tcpProxy({ cluster: 'echo' })] }], ...more };
}

async function startEchoProxy(listener: JsonValue): Promise<RunningProxy> {
  const running = await startProxy(cleanup, '');
  running.apply('cluster', { echo: cluster('echo', await startEcho(cleanup)) });
  expect(running.apply('listener', { l: listener })).toEqual([]);
  return running;
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  cleanup.add(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Writes and waits for the echo. */
async function echoOf(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  const [data] = await once(socket, 'data');
  return String(data);
}

async function statOf(running: RunningProxy, name: string): Promise<number | undefined> {
  const { body } = await running.admin('/stats');
  const line = body.split('\n').find((each) => each.startsWith(`${name}: `));
  return line === undefined ? undefined : Number(line.slice(name.length + 2));
}

describe('connection_limit', () => {
  it('closes what comes above it, logs that, and takes new ones once others went', async () => {
    const running = await startEchoProxy(
      echoListener([{ name: 'limit', typed_config: any(ConnectionLimitSchema, { stat_prefix: 'two', max_connections: '2' }) }]),
    );
    const port = running.portOf('l');
    const [first, second] = [await open(port), await open(port)];
    expect([await echoOf(first, 'a'), await echoOf(second, 'b')]).toEqual(['a', 'b']);
    expect(await exchange(port, 'c')).toBe('');
    expect((await running.logged()).at(-1)).toMatch(/ - connection_limit - TcpConnectionEnd$/m);
    expect(await statOf(running, 'connection_limit.two.limited_connections')).toBe(1);
    expect(await statOf(running, 'connection_limit.two.active_connections')).toBe(2);
    first.end();
    await once(first.resume(), 'close');
    expect(await exchange(port, 'd')).toBe('d');
  });
});

describe('local rate limit', () => {
  const bucket = { max_tokens: 2, tokens_per_fill: 1, fill_interval: '3600s' };

  it('lets so many connections through as there are tokens, as a network filter', async () => {
    const running = await startEchoProxy(
      echoListener([{ name: 'rl', typed_config: any(LocalRateLimitSchema, { stat_prefix: 'slow', token_bucket: bucket }) }]),
    );
    const port = running.portOf('l');
    expect([await exchange(port, 'a'), await exchange(port, 'b'), await exchange(port, 'c')]).toEqual(['a', 'b', '']);
    expect(await statOf(running, 'local_rate_limit.slow.rate_limited')).toBe(1);
  });

  it('does the same as a listener filter', async () => {
    const filter = { name: 'rl', typed_config: any(ListenerRateLimitSchema, { stat_prefix: 'early', token_bucket: bucket }) };
    const running = await startEchoProxy(echoListener([], { listener_filters: [filter] }));
    const port = running.portOf('l');
    expect([await exchange(port, 'a'), await exchange(port, 'b'), await exchange(port, 'c')]).toEqual(['a', 'b', '']);
    expect(await statOf(running, 'listener_local_ratelimit.early.rate_limited')).toBe(1);
  });
});

describe('limits of connections', () => {
  const overload = (limit: number): string => `
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: ${limit}
layered_runtime:
  layers: [{name: static, static_layer: {envoy: {resource_limits: {listener: {small: {connection_limit: 1}}}}}}]
`;

  it('holds for one listener and for all of them, and not for one that is exempt', async () => {
    const running = await startProxy(cleanup, overload(2));
    running.apply('cluster', { echo: cluster('echo', await startEcho(cleanup)) });
    const exempt = echoListener([], { ignore_global_conn_limit: true });
    expect(running.apply('listener', { small: echoListener([]), other: echoListener([]), exempt })).toEqual([]);
    expect(await echoOf(await open(running.portOf('small')), 'a')).toBe('a');
    expect(await exchange(running.portOf('small'), 'b')).toBe('');
    expect(await echoOf(await open(running.portOf('other')), 'c')).toBe('c');
    expect(await exchange(running.portOf('other'), 'd')).toBe('');
    expect(await exchange(running.portOf('exempt'), 'e')).toBe('e');
    const port = (name: string): number => running.portOf(name);
    expect(await statOf(running, `listener.127.0.0.1_${port('small')}.downstream_cx_overflow`)).toBe(1);
    expect(await statOf(running, `listener.127.0.0.1_${port('other')}.downstream_global_cx_overflow`)).toBe(1);
  });

  it('refuses other resource monitors by name', async () => {
    const monitor = 'overload_manager: {resource_monitors: [{name: envoy.resource_monitors.fixed_heap}]}';
    await expect(startProxy(cleanup, monitor)).rejects.toThrow(
      'overload_manager.resource_monitors[0]: envoy.resource_monitors.fixed_heap is not a resource monitor that this proxy has',
    );
  });
});

describe('PROXY protocol', () => {
  const filter = (fields: JsonObject = {}): JsonValue => ({ name: 'pp', typed_config: any(ProxyProtocolSchema, fields) });
  const listener = (fields: JsonObject = {}, more: readonly JsonValue[] = []): JsonValue =>
    echoListener([], { listener_filters: [filter(fields), ...more] });
  const ends = {
    source: { kind: 'ip', host: '192.0.2.7', port: 4711 },
    destination: { kind: 'ip', host: '192.0.2.1', port: 443 },
  } as const;

  it('says where a connection is from and went to, in both versions, and is not passed on', async () => {
    const running = await startEchoProxy(listener());
    const port = running.portOf('l');
    expect(await exchange(port, 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nhello')).toBe('hello');
    const second = await open(port);
    second.write(encodeProxyHeader({ addresses: ends, tlvs: [] }, 'v2'));
    expect(await echoOf(second, 'again')).toBe('again');
    second.end();
    await once(second.resume(), 'close');
    expect((await running.logged(2)).map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
      '192.0.2.7:4711 192.0.2.1:443',
      '192.0.2.7:4711 192.0.2.1:443',
    ]);
    expect(await statOf(running, 'proxy_proto.versions.v1.found')).toBe(1);
    expect(await statOf(running, 'proxy_proto.versions.v2.found')).toBe(1);
  });

  it('closes connections without a header, with a broken one, and of a disallowed version', async () => {
    const running = await startEchoProxy(listener({ disallowed_versions: ['V2'], stat_prefix: 'edge' }));
    const port = running.portOf('l');
    expect(await exchange(port, 'GET / HTTP/1.1\r\n\r\n')).toBe('');
    expect(await exchange(port, 'PROXY TCP4 192.0.2.7 999.0.2.1 4711 443\r\nhello')).toBe('');
    expect(await exchange(port, encodeProxyHeader({ addresses: ends, tlvs: [] }, 'v2').toString('latin1'))).toBe('');
    expect(await statOf(running, 'proxy_proto.edge.not_found_disallowed')).toBe(1);
    expect(await statOf(running, 'proxy_proto.edge.versions.v1.error')).toBe(1);
    expect(await statOf(running, `listener.127.0.0.1_${port}.downstream_cx_proxy_proto_error`)).toBeGreaterThan(0);
  });

  it('is optional where that is said, and inspectors look behind it', async () => {
    const inspector = { name: 'http', typed_config: any(HttpInspectorSchema) };
    const chains = [
      { filter_chain_match: { application_protocols: ['http/1.1'] }, filters: [tcpProxy({ cluster: 'echo' })] },
      { filters: [tcpProxy({ cluster: 'none' })] },
    ];
    const running = await startEchoProxy({
      address: address(0),
      listener_filters: [filter({ allow_requests_without_proxy_protocol: true }), inspector],
      filter_chains: chains,
    });
    const request = 'GET / HTTP/1.1\r\n\r\n';
    expect(await exchange(running.portOf('l'), `PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n${request}`)).toBe(request);
    expect(await exchange(running.portOf('l'), request)).toBe(request);
    expect(await exchange(running.portOf('l'), 'PROXY UNKNOWN\r\nSSH-2.0\r\n')).toBe('');
    expect((await running.logged(3)).at(-1)).toMatch(/ NC - - TcpConnectionEnd$/m);
  });

  it('matches the filter chain by the address in it, and by that of the socket where asked', async () => {
    const chain = (match: JsonObject, name: string): JsonValue => ({ filter_chain_match: match, filters: [tcpProxy({ cluster: name })] });
    const running = await startEchoProxy({
      address: address(0),
      listener_filters: [filter()],
      filter_chains: [
        chain({ source_prefix_ranges: [{ address_prefix: '192.0.2.0', prefix_len: 24 }] }, 'by-header'),
        chain({ direct_source_prefix_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] }, 'by-socket'),
      ],
    });
    for (const name of ['by-header', 'by-socket']) running.apply('cluster', { [name]: cluster(name, await startEcho(cleanup)) });
    await exchange(running.portOf('l'), 'PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n');
    // The direct source comes before the source in Envoy's order.
    expect((await running.logged()).at(-1)).toMatch(/by-socket TcpConnectionEnd$/m);
  });

  it('cannot stand behind an inspector', async () => {
    const running = await startProxy(cleanup, '');
    const inspector = { name: 'tls', typed_config: any(TlsInspectorSchema) };
    const [rejection] = running.apply('listener', { l: echoListener([], { listener_filters: [inspector, filter()] }) });
    expect(rejection?.reason).toBe('listener_filters[1]: proxy_protocol must stand before tls_inspector and http_inspector');
  });
});

describe('listener filters', () => {
  it('refuses original_src by name', async () => {
    const running = await startProxy(cleanup, '');
    const filter = { name: 'os', typed_config: any(OriginalSrcSchema, { mark: 123 }) };
    const [rejection] = running.apply('listener', { l: echoListener([], { listener_filters: [filter] }) });
    expect(rejection?.reason).toMatch(/^listener_filters\[0\]\.typed_config: original_src is not supported by this proxy/);
  });

  it('refuses a field of an inspector that it does not have', async () => {
    const running = await startProxy(cleanup, '');
    const filter = { name: 'tls', typed_config: any(TlsInspectorSchema, { enable_ja3_fingerprinting: true }) };
    const [rejection] = running.apply('listener', { l: echoListener([], { listener_filters: [filter] }) });
    expect(rejection?.reason).toBe('listener_filters[0].typed_config.enable_ja3_fingerprinting: is not supported by this proxy; remove it');
  });

  it('serves a protocol in which the server speaks first, once the inspectors have waited in vain', async () => {
    const running = await startProxy(cleanup, '');
    running.apply('cluster', { echo: cluster('echo', await startEcho(cleanup, '5.7.1-mysql ')) });
    const inspectors = [TlsInspectorSchema, HttpInspectorSchema].map((schema) => ({ name: schema.typeName, typed_config: any(schema) }));
    const listener = echoListener([], {
      listener_filters: inspectors,
      listener_filters_timeout: '0.05s',
      continue_on_listener_filters_timeout: true,
    });
    expect(running.apply('listener', { l: listener })).toEqual([]);
    const socket = await open(running.portOf('l'));
    const [greeting] = await once(socket, 'data');
    expect(String(greeting)).toBe('5.7.1-mysql ');
    expect(await echoOf(socket, 'login')).toBe('login');
    expect(await statOf(running, `listener.127.0.0.1_${running.portOf('l')}.downstream_pre_cx_timeout`)).toBe(1);
    expect(await statOf(running, `listener.127.0.0.1_${running.portOf('l')}.downstream_pre_cx_active`)).toBe(0);
  });
});

describe('a listener at a socket in the file system', () => {
  it('has the permissions that are asked for', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mizzen-pipe-'));
    cleanup.add(() => rm(folder, { recursive: true }));
    const path = join(folder, 'l.sock');
    await startEchoProxy(echoListener([], { address: { pipe: { path, mode: 0o600 } } }));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });
});

describe('tcp_proxy', () => {
  it('goes to the cluster that is named as the SNI', async () => {
    const running = await startEchoProxy(
      echoListener([{ name: 'sni', typed_config: any(SniClusterSchema) }], {
        listener_filters: [{ name: 'tls', typed_config: any(TlsInspectorSchema) }],
      }),
    );
    running.apply('cluster', { 'a.example': cluster('a.example', await startEcho(cleanup)) });
    const client = tlsConnect({ port: running.portOf('l'), host: '127.0.0.1', servername: 'a.example' });
    client.on('error', () => {});
    await new Promise((resolve) => client.once('close', resolve));
    expect((await running.logged()).at(-1)).toMatch(/ a\.example TcpConnectionEnd$/m);
  });

  it('spreads connections over clusters by weight', async () => {
    const clusters = [
      { name: 'echo', weight: 1 },
      { name: 'none', weight: 3 },
    ];
    const running = await startProxy(cleanup, '', { random: () => 0.2 });
    running.apply('cluster', { echo: cluster('echo', await startEcho(cleanup)) });
    const listener = { address: address(0), filter_chains: [{ filters: [tcpProxy({ weighted_clusters: { clusters } })] }] };
    expect(running.apply('listener', { l: listener })).toEqual([]);
    expect(await exchange(running.portOf('l'), 'a')).toBe('a');
  });

  it('ends an idle connection, and one that is too old', async () => {
    const running = await startProxy(cleanup, '');
    running.apply('cluster', { echo: cluster('echo', await startEcho(cleanup)) });
    const listener = (fields: JsonObject): JsonValue => ({
      address: address(0),
      filter_chains: [{ filters: [tcpProxy({ cluster: 'echo', ...fields })] }],
    });
    const idle = listener({ idle_timeout: '0.05s' });
    const old = listener({ max_downstream_connection_duration: '0.05s' });
    expect(running.apply('listener', { idle, old })).toEqual([]);
    for (const name of ['idle', 'old']) await once((await open(running.portOf(name))).resume(), 'end');
    expect((await running.logged(2)).map((line) => line.trim().split(' ')[2])).toEqual(['-', 'DT']);
    expect(await statOf(running, 'tcp.test.idle_timeout')).toBe(1);
    expect(await statOf(running, 'tcp.test.max_downstream_connection_duration')).toBe(1);
  });

  it('logs when connected and every so often, and at the end', async () => {
    const running = await startProxy(cleanup, '');
    running.apply('cluster', { echo: cluster('echo', await startEcho(cleanup)) });
    const options = { flush_access_log_on_connected: true, access_log_flush_interval: '0.02s' };
    const listener = { address: address(0), filter_chains: [{ filters: [tcpProxy({ cluster: 'echo', access_log_options: options })] }] };
    expect(running.apply('listener', { l: listener })).toEqual([]);
    const socket = await open(running.portOf('l'));
    expect(await echoOf(socket, 'a')).toBe('a');
    await running.logged(3);
    socket.end();
    await once(socket.resume(), 'close');
    const types = (await running.logged(/TcpConnectionEnd/)).map((line) => line.trim().split(' ').at(-1));
    expect([types[0], types[1], types.at(-1)]).toEqual(['TcpUpstreamConnected', 'TcpPeriodic', 'TcpConnectionEnd']);
  });

  it('keeps connections of one address on one endpoint', async () => {
    const running = await startProxy(cleanup, '');
    const ports = [await startEcho(cleanup, 'one'), await startEcho(cleanup, 'two'), await startEcho(cleanup, 'three')];
    const hashed = { ...(cluster('echo', ...ports) as JsonObject), lb_policy: 'MAGLEV' };
    expect(running.apply('cluster', { echo: hashed })).toEqual([]);
    const filter = tcpProxy({ cluster: 'echo', hash_policy: [{ source_ip: {} }] });
    expect(running.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [filter] }] } })).toEqual([]);
    const answers = new Set<string>();
    for (let round = 0; round < 8; round++) answers.add(await exchange(running.portOf('l'), ''));
    expect(answers.size).toBe(1);
  });

  it.each([
    [{ on_demand: {} }, 'on_demand'],
    [{ hash_policy: [{ filter_state: { key: 'k' } }] }, 'hash_policy[0].filter_state'],
    [{ max_connect_attempts: 0 }, 'max_connect_attempts'],
    [
      { weighted_clusters: { clusters: [{ name: 'a', weight: 0 }] }, cluster: undefined as unknown as string },
      'weighted_clusters.clusters[0].weight',
    ],
  ])('refuses %j with its place', async (fields, path) => {
    const running = await startProxy(cleanup, '');
    const { cluster: _, ...rest } = { cluster: 'echo', ...fields };
    const filter = tcpProxy('cluster' in fields ? rest : { cluster: 'echo', ...fields });
    const [rejection] = running.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [filter] }] } });
    expect(rejection?.reason).toContain(`filter_chains[0].filters[0].typed_config.${path}: `);
  });
});
