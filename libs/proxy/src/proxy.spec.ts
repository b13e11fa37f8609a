import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Cleanup, exchange, startEcho, startProxy } from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

function tcpBootstrap(upstreamPort: number, listenPort = 0): string {
  return `
static_resources:
  listeners:
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: ${listenPort}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: echo
          access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /dev/stdout
              log_format: {text_format_source: {inline_string: "%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS%\\n"}}
  clusters:
  - name: echo
    connect_timeout: 10s
    type: STATIC
    load_assignment: {cluster_name: echo, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${upstreamPort}}}}}]}]}
`;
}

describe('proxy with a static bootstrap', () => {
  it('pipes TCP to the cluster, both ways to the end, and logs the connection', async () => {
    const { portOf, logged } = await startProxy(cleanup, tcpBootstrap(await startEcho(cleanup)));
    expect(await exchange(portOf('tcp'), 'hello')).toBe('hello');
    expect(await logged()).toEqual(['5 5 echo -\n']);
  });

  it('carries megabytes through without loss', async () => {
    const { portOf } = await startProxy(cleanup, tcpBootstrap(await startEcho(cleanup)));
    const text = 'x'.repeat(5_000_000);
    expect((await exchange(portOf('tcp'), text)).length).toBe(text.length);
  });

  it('stops reading from a fast sender when the other side does not read', async () => {
    const { portOf, proxy } = await startProxy(cleanup, tcpBootstrap(await startEcho(cleanup)));
    const socket = connect({ port: portOf('tcp'), host: '127.0.0.1' });
    socket.on('error', () => {});
    let accepted = 0;
    const chunk = Buffer.alloc(1 << 20);
    // Nobody reads the echo: the kernel's buffers fill, then the proxy's, and then writes are taken no more.
    await new Promise<void>((resolve) => {
      const write = (): void => {
        accepted++;
        const stalled = setTimeout(resolve, 500);
        socket.write(chunk, () => {
          clearTimeout(stalled);
          if (accepted < 200) write();
          else resolve();
        });
      };
      write();
    });
    socket.destroy();
    expect(accepted).toBeLessThan(60);
    expect(proxy.activeConnections()).toBeLessThanOrEqual(1);
  });

  it('listens on and connects to sockets in the file system', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mizzen-pipe-'));
    cleanup.add(() => rm(folder, { recursive: true }));
    const app = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    app.listen(join(folder, 'app.sock'));
    await once(app, 'listening');
    cleanup.add(() => app.close());
    const yaml = tcpBootstrap(0)
      .replace(/address: \{socket_address: \{address: 127.0.0.1, port_value: 0\}\}(?=\n)/, `address: {pipe: {path: ${folder}/in.sock}}`)
      .replace('{socket_address: {address: 127.0.0.1, port_value: 0}}', `{pipe: {path: ${folder}/app.sock}}`);
    await startProxy(cleanup, yaml);
    const socket = connect(join(folder, 'in.sock'));
    socket.end('hello');
    expect(String((await once(socket, 'data'))[0])).toBe('hello');
  });

  it('closes a connection whose upstream refuses, with the flags UF and URX', async () => {
    const { portOf, logged } = await startProxy(cleanup, tcpBootstrap(1));
    expect(await exchange(portOf('tcp'), 'hello')).toBe('');
    expect(await logged()).toEqual(['0 0 echo UF,URX\n']);
  });

  it('says which address is taken when it cannot bind', async () => {
    const port = await startEcho(cleanup);
    await expect(startProxy(cleanup, tcpBootstrap(1, port))).rejects.toMatchObject({
      code: 'MIZZEN_BOOTSTRAP',
      message: `the bootstrap cannot be used: static_resources.listeners[0].address: cannot bind 127.0.0.1:${port}: address already in use`,
    });
  });

  it.each([
    [
      'static_resources: {clusters: [{name: a, track_cluster_stats: {timeout_budgets: true}}]}',
      'static_resources.clusters[0].track_cluster_stats: is not supported by this proxy; remove it',
    ],
    ['tracing: {http: {name: x}}', 'tracing: is not supported by this proxy; remove it'],
    ['statik: 1', 'the bootstrap is not an Envoy bootstrap'],
    [
      'bootstrap_extensions: [{ name: envoy.bootstrap.workload_discovery }]',
      'bootstrap_extensions[0]: envoy.bootstrap.workload_discovery is not supported by this proxy; leave METADATA_DISCOVERY off',
    ],
    ['cluster_manager: { local_cluster_name: us }', 'cluster_manager.local_cluster_name: names no cluster of static_resources: us'],
    ['bootstrap_extensions: [{ name: some.other }]', 'bootstrap_extensions[0]: some.other is not supported by this proxy; remove it'],
    [
      'static_resources: {listeners: [{name: a, address: {pipe: {path: /nowhere/x}}, filter_chains: [{}]}]}',
      'static_resources.listeners[0].filter_chains[0].filters: a filter chain needs a filter',
    ],
    ['a: [', 'the bootstrap is not valid YAML'],
  ])('refuses %s', async (yaml, reason) => {
    await expect(startProxy(cleanup, yaml)).rejects.toMatchObject({ code: 'MIZZEN_BOOTSTRAP', message: expect.stringContaining(reason) });
  });

  it('serves its admin interface', async () => {
    const { portOf, admin, proxy } = await startProxy(cleanup, tcpBootstrap(await startEcho(cleanup)));
    await proxy.ready.until((isReady) => isReady);
    await exchange(portOf('tcp'), 'hello');
    expect(await admin('/ready')).toEqual({ status: 200, body: 'LIVE\n' });
    expect((await admin('/stats?filter=cluster.echo.upstream_cx_total')).body).toBe('cluster.echo.upstream_cx_total: 1\n');
    expect((await admin('/stats/prometheus')).body).toContain('envoy_cluster_upstream_cx_total{envoy_cluster_name="echo"} 1\n');
    expect((await admin('/clusters')).body).toMatch(/echo::127\.0\.0\.1:\d+::cx_total::1\n/);
    expect(JSON.parse((await admin('/clusters?format=json')).body)).toMatchObject({
      cluster_statuses: [{ name: 'echo', host_statuses: [{ weight: 1 }] }],
    });
    expect((await admin('/listeners')).body).toBe(`tcp::127.0.0.1:${portOf('tcp')}\n`);
    expect(JSON.parse((await admin('/server_info')).body)).toMatchObject({ state: 'LIVE' });
    const dump = JSON.parse((await admin('/config_dump')).body) as { configs: readonly Record<string, unknown>[] };
    expect(dump.configs.map((config) => String(config['@type']).split('.').at(-1))).toEqual([
      'BootstrapConfigDump',
      'ClustersConfigDump',
      'ListenersConfigDump',
      'RoutesConfigDump',
      'SecretsConfigDump',
    ]);
    expect(dump.configs[1]).toMatchObject({ static_clusters: [{ cluster: { name: 'echo' } }] });
    expect((await admin('/quitquitquit')).status).toBe(405);
    expect((await admin('/nothing')).status).toBe(404);
    expect((await admin('/drain_listeners?graceful', 'POST')).status).toBe(200);
    expect(await admin('/ready')).toEqual({ status: 503, body: 'DRAINING\n' });
  });
});
