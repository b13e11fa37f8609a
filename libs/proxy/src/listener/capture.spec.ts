import { once } from 'node:events';
import { closeSync, readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type NetConnectOpts } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { freePort } from '@mizzen/testing';
import type { DownstreamConnection } from '../contract.ts';
import { boundSockets } from '../system/bound-socket.ts';
import { Cleanup, exchange, startEcho, startProxy } from '../testing/harness.ts';
import { inspectHttp } from './client-hello.ts';
import { ConnectionLimits } from './connection-limits.ts';
import type { LiveFilterChain } from './filter-chain.ts';
import { LiveListener } from './listener.ts';
import type { ListenerConfig } from './listener-config.ts';
import type { ListenerVersion } from './listener-version.ts';
import { ListenersByAddress } from './listeners-by-address.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const EXTENSION = 'type.googleapis.com/envoy.extensions';
const TCP = `{name: tcp, typed_config: {"@type": ${EXTENSION}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: echo}}`;
const HTTP = `{name: http, typed_config: {"@type": ${EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: http,
      route_config: {name: r, virtual_hosts: []}, http_filters: [{name: router, typed_config: {"@type": ${EXTENSION}.filters.http.router.v3.Router}}]}}`;

function bootstrap(listeners: readonly string[], cluster: string): string {
  return `
static_resources:
  listeners: [${listeners.join(', ')}]
  clusters: [${cluster}]
`;
}

function address(host: string, port: number): string {
  return `{socket_address: {address: "${host}", port_value: ${port}}}`;
}

function echoCluster(port: number, extra = ''): string {
  return `{name: echo, type: STATIC, connect_timeout: 10s, ${extra}
    load_assignment: {cluster_name: echo, endpoints: [{lb_endpoints: [{endpoint: {address: ${address('127.0.0.1', port)}}}]}]}}`;
}

describe('listeners by address', () => {
  const listener = (parts: object = {}): LiveListener => ({ version: {}, isAccepting: true, ...parts }) as unknown as LiveListener;
  const config = (...hosts: readonly string[]): ListenerConfig =>
    ({ addresses: hosts.map((host) => ({ kind: 'ip', host, port: 80 })), isBound: false }) as unknown as ListenerConfig;
  const find = (all: ListenersByAddress, host: string, port = 80): LiveListener | undefined => all.find({ kind: 'ip', host, port });

  it('are found by the very address before the wildcard of its family', () => {
    const all = new ListenersByAddress();
    const [exact, any, any6] = [listener(), listener(), listener()];
    all.add(config('10.0.0.1', 'FD00:0::1'), exact);
    all.add(config('0.0.0.0'), any);
    all.add(config('0:0::'), any6);
    expect(find(all, '10.0.0.1')).toBe(exact);
    expect(find(all, 'fd00::1')).toBe(exact);
    expect(find(all, '10.0.0.2')).toBe(any);
    expect(find(all, 'fd00::2')).toBe(any6);
    expect(find(all, '10.0.0.1', 81)).toBeUndefined();
    all.remove(exact);
    expect(find(all, '10.0.0.1')).toBe(any);
  });

  it('are found while they warm, and not once they accept no more', () => {
    const all = new ListenersByAddress();
    const [any, warming] = [listener(), listener({ version: undefined })];
    all.add(config('0.0.0.0'), any);
    all.add(config('10.0.0.1'), warming);
    all.add(config('10.0.0.2'), listener({ isAccepting: false }));
    expect(find(all, '10.0.0.1')).toBe(warming);
    expect(find(all, '10.0.0.2')).toBe(any);
  });

  it('have addresses of their own', () => {
    const all = new ListenersByAddress();
    const first = listener();
    all.add(config('10.0.0.1'), first);
    expect(() => all.refuseTaken(config('10.0.0.1'), undefined)).toThrow('10.0.0.1:80 is the address of another listener');
    expect(() => all.refuseTaken(config('10.0.0.1'), first)).not.toThrow();
  });
});

describe('a captured connection', () => {
  /** A listener that takes every connection for one that went to `destination`. */
  function makeListener(listenerAt: () => LiveListener | undefined): LiveListener {
    return new LiveListener({
      clock: systemClock,
      logger: silentLogger,
      nextConnectionId: () => 1,
      listenerAt,
      limits: new ConnectionLimits({}),
    });
  }

  function version(parts: object, taken: DownstreamConnection[]): ListenerVersion {
    const chain = {
      gates: [],
      filter: { onConnection: (connection: DownstreamConnection) => taken.push(connection) },
    } as unknown as LiveFilterChain;
    const filters = { rateLimits: [] };
    const config = { info: { name: '', direction: 'outbound' }, handsOff: false, filters, ...parts };
    return { config, chains: [chain], defaultChain: undefined, table: { find: () => chain } } as unknown as ListenerVersion;
  }

  it('goes to the listener of its destination, waits until that is warm, and is not handed on', async () => {
    const destination = { kind: 'ip', host: '10.0.0.1', port: 80 } as const;
    const asked = Promise.withResolvers<void>();
    const readOriginalDestination = (): typeof destination => {
      asked.resolve();
      return destination;
    };
    const capture = { handsOff: true, readOriginalDestination };
    const passed: DownstreamConnection[] = [];
    const taken: DownstreamConnection[] = [];
    const target: LiveListener = makeListener(() => accepting);
    const accepting: LiveListener = makeListener(() => target);
    accepting.bind({ addresses: [{ kind: 'ip', host: '127.0.0.1', port: 0 }], backlog: undefined, isDualStack: false });
    cleanup.add(() => target.destroyConnections());
    cleanup.add(() => accepting.stopAccepting());
    accepting.use(version(capture, passed));
    const client = connect({ host: '127.0.0.1', port: (accepting.address as { port: number }).port });
    cleanup.add(() => client.destroy());
    await asked.promise;
    expect(taken).toEqual([]);
    target.use(version(capture, taken));
    expect(taken).toMatchObject([{ localAddress: destination, originalDestination: destination }]);
    expect(passed).toEqual([]);
    expect([accepting.openSockets, target.openSockets]).toEqual([0, 1]);
  });
});

describe('capture', () => {
  it('serves a connection that was not captured by the listener that accepted it, and gives ORIGINAL_DST no address for it', async () => {
    const port = await startEcho(cleanup);
    const listener = `{name: out, address: ${address('127.0.0.1', 0)}, use_original_dst: true, filter_chains: [{filters: [${TCP}]}]}`;
    const direct = await startProxy(cleanup, bootstrap([listener], echoCluster(port)));
    expect(await exchange(direct.portOf('out'), 'hello')).toBe('hello');
    const cluster = '{name: echo, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 10s}';
    const plain = listener.replace('use_original_dst: true, ', '');
    const passthrough = await startProxy(cleanup, bootstrap([plain], cluster));
    expect(await exchange(passthrough.portOf('out'), 'hello')).toBe('');
  });

  it('refuses a second listener that only gets what is handed to it at an address that is taken', async () => {
    const unbound = (name: string): string =>
      `{name: ${name}, address: ${address('10.0.0.1', 80)}, bind_to_port: false, filter_chains: [{filters: [${TCP}]}]}`;
    await expect(startProxy(cleanup, bootstrap([unbound('a'), unbound('b')], echoCluster(1)))).rejects.toMatchObject({
      message: expect.stringContaining('listeners[1].address: 10.0.0.1:80 is the address of another listener as well'),
    });
  });

  it('binds all addresses of a listener, or none', async () => {
    const port = await startEcho(cleanup);
    const [first, second] = [await freePort(), await freePort()];
    const listener = (last: number): string =>
      `{name: both, address: ${address('127.0.0.1', first)}, additional_addresses: [{address: ${address('127.0.0.1', last)}}],
        filter_chains: [{filters: [${TCP}]}]}`;
    await expect(startProxy(cleanup, bootstrap([listener(port)], echoCluster(port)))).rejects.toThrow('address already in use');
    await startProxy(cleanup, bootstrap([listener(second)], echoCluster(port)));
    expect([await exchange(first, 'a'), await exchange(second, 'b')]).toEqual(['a', 'b']);
  });

  it('gives HTTP of either version to the connection manager, and other bytes to the chain that takes anything', async () => {
    const inspectors = ['tls_inspector.v3.TlsInspector', 'http_inspector.v3.HttpInspector']
      .map((type) => `{name: ${type}, typed_config: {"@type": ${EXTENSION}.filters.listener.${type}}}`)
      .join(',');
    const match = '{application_protocols: ["http/1.1", h2c]}';
    const listener = (name: string, rest: string): string =>
      `{name: ${name}, address: ${address('127.0.0.1', 0)}, listener_filters: [${inspectors}],
        filter_chains: [{filter_chain_match: ${match}, filters: [${HTTP}]}]${rest}}`;
    const listeners = [listener('auto', `, default_filter_chain: {filters: [${TCP}]}`)];
    const { portOf } = await startProxy(cleanup, bootstrap(listeners, echoCluster(await startEcho(cleanup))));
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
    // The first frame of an HTTP/2 server: SETTINGS on stream 0.
    expect(Buffer.from(await exchange(portOf('auto'), preface)).subarray(3, 9)).toEqual(Buffer.from([4, 0, 0, 0, 0, 0]));
    expect(await exchange(portOf('auto'), 'SSH-2.0-x\r\n')).toBe('SSH-2.0-x\r\n');
    expect(await exchange(portOf('auto'), 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')).toMatch(/^HTTP\/1\.1 404 /);
  });

  it.each([
    ['G', 'incomplete'],
    ['M-SEAR', 'incomplete'],
    ['OPTIONS *', 'incomplete'],
    ['HELO', 'other'],
    ['QUIT', 'other'],
    ['PUTS ', 'other'],
  ])('of %j, HTTP is %s', (text, kind) => {
    expect(inspectHttp(Buffer.from(text)).kind).toBe(kind);
  });
});

// All of 127.0.0.0/8 is there on Linux only.
const describeOnLinux = process.platform === 'linux' ? describe : describe.skip;

describeOnLinux('the address that upstream connections come from (needs Linux)', () => {
  const bindTo = (source: string): string => `upstream_bind_config: {source_address: {address: "${source}", port_value: 0}},`;
  const listener = `{name: in, address: ${address('127.0.0.1', 0)}, filter_chains: [{filters: [${TCP}]}]}`;

  async function startTeller(): Promise<number> {
    const server = createServer((socket) => socket.end(`${socket.remoteAddress}`));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.add(() => server.close());
    return (server.address() as AddressInfo).port;
  }

  it('is that of upstream_bind_config', async () => {
    const { portOf } = await startProxy(cleanup, bootstrap([listener], echoCluster(await startTeller(), bindTo('127.0.0.6'))));
    expect(await exchange(portOf('in'), '')).toBe('127.0.0.6');
  });

  it('is bound without a port, which is chosen with the destination', async () => {
    const open = boundSockets();
    const port = await startTeller();
    const descriptors = ['127.0.0.6', '127.0.0.6', '::1'].map((address) => open?.(address) ?? -1);
    expect(Math.min(...descriptors)).toBeGreaterThan(2);
    for (const fd of descriptors.slice(1)) closeSync(fd);
    const socket = connect({ fd: descriptors[0], manualStart: true, host: '127.0.0.1', port } as NetConnectOpts);
    expect(String((await once(socket, 'data'))[0])).toBe('127.0.0.6');
    expect(open?.('203.0.113.7')).toBeUndefined();
  });

  it('is the first of the family of the upstream', async () => {
    const extra = `upstream_bind_config: {source_address: {address: "::6", port_value: 0},
      extra_source_addresses: [{address: {address: 127.0.0.7, port_value: 0}}]},`;
    const { portOf } = await startProxy(cleanup, bootstrap([listener], echoCluster(await startTeller(), extra)));
    expect(await exchange(portOf('in'), '')).toBe('127.0.0.7');
  });

  it('fails the connection where this host does not have it', async () => {
    const { portOf, admin } = await startProxy(cleanup, bootstrap([listener], echoCluster(await startTeller(), bindTo('203.0.113.7'))));
    expect(await exchange(portOf('in'), '')).toBe('');
    expect((await admin('/stats?filter=cluster.echo.upstream_cx_connect_fail')).body).toContain('upstream_cx_connect_fail: 1\n');
  });

  it('carries many bytes both ways, and leaves no descriptor open', async () => {
    const { portOf, proxy } = await startProxy(cleanup, bootstrap([listener], echoCluster(await startEcho(cleanup), bindTo('127.0.0.6'))));
    const text = 'x'.repeat(3_000_000);
    expect((await exchange(portOf('in'), text)).length).toBe(text.length);
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const before = descriptors();
    for (let count = 0; count < 50; count++) expect(await exchange(portOf('in'), 'hello')).toBe('hello');
    while (proxy.activeConnections() > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(descriptors()).toBeLessThan(before + 10);
  });

  it.each([
    ['source_address: {address: example.com, port_value: 0}', 'source_address.address: "example.com" is not an IP address'],
    ['source_address: {address: 127.0.0.6, port_value: 7}', 'source_address.port_value: must be 0'],
    ['freebind: true', 'upstream_bind_config.freebind: is not supported'],
  ])('is refused as %s', async (config, reason) => {
    await expect(startProxy(cleanup, bootstrap([], echoCluster(1, `upstream_bind_config: {${config}},`)))).rejects.toMatchObject({
      message: expect.stringContaining(reason),
    });
  });
});
