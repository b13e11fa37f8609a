import { afterEach, describe, expect, it } from '@jest/globals';
import { Cleanup, type RunningProxy, startEcho, startProxy } from '../testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const RUNTIME = 'layered_runtime: {layers: [{name: static, static_layer: {foo: {bar: 7}}}, {name: admin, admin_layer: {}}]}';

async function start(extra = RUNTIME): Promise<RunningProxy> {
  const port = await startEcho(cleanup);
  return startProxy(
    cleanup,
    `
node: {id: n1, cluster: c1}
${extra}
static_resources:
  listeners:
  - name: http
    traffic_direction: INBOUND
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - {name: "out|80", type: STATIC, load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}
`,
  );
}

/** Sends requests to the listener and waits until they are counted. */
async function send(running: RunningProxy, count: number): Promise<void> {
  for (let sent = 0; sent < count; sent++) await (await fetch(`http://127.0.0.1:${running.portOf('http')}/`)).text();
}

/** What came from clients, whose connections are kept alive. */
async function bytesOf({ admin }: Pick<Awaited<ReturnType<typeof start>>, 'admin'>): Promise<number> {
  const { body } = await admin('/stats?filter=^http.ingress.downstream_cx_rx_bytes_total$');
  return Number(body.split(': ')[1]);
}

describe('admin interface', () => {
  it('shows statistics as text, JSON and for Prometheus, chosen as asked', async () => {
    const running = await start();
    await send(running, 3);
    const { admin } = running;
    expect((await admin('/stats?filter=^http\\.ingress\\.downstream_rq_(total|2xx)$')).body).toBe(
      'http.ingress.downstream_rq_2xx: 3\nhttp.ingress.downstream_rq_total: 3\n',
    );
    expect((await admin('/stats?usedonly&filter=ingress.downstream_rq_5')).body).toBe('');
    expect(JSON.parse((await admin('/stats?format=json&filter=downstream_rq_total')).body)).toEqual({
      stats: [{ name: 'http.ingress.downstream_rq_total', value: 3 }],
    });
    expect((await admin('/stats?type=Histograms&filter=ingress.downstream_rq_time')).body).toMatch(
      /^http\.ingress\.downstream_rq_time: P0\(nan,[\d.]+\) P25/,
    );
    const prometheus = (await admin('/stats/prometheus?filter=ingress')).body;
    expect(prometheus).toContain('envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix="ingress",envoy_response_code_class="2"} 3\n');
    expect(prometheus).toContain('envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="ingress"} 3\n');
    expect(prometheus).not.toContain('envoy_cluster');
    expect((await admin('/stats?filter=((')).body).toMatch(/^Invalid re2 regex: /);
    expect(await admin('/stats?type=bad')).toEqual({ status: 400, body: 'invalid &type= param\n' });
    expect((await admin('/stats/prometheus?histogram_buckets=summary&filter=ingress.downstream_rq_time')).body).toMatch(
      /_rq_time summary\n.*quantile="0"} .*\n(?:.*\n)*.*quantile="0.999"} /,
    );
    expect(await admin('/stats/recentlookups')).toMatchObject({
      status: 501,
      body: expect.stringContaining('not supported by this proxy'),
    });
  });

  it('counts the bytes of connections that are still open', async () => {
    const running = await start();
    await send(running, 1);
    const before = await bytesOf(running);
    expect(before).toBeGreaterThan(0);
    await send(running, 1);
    expect(await bytesOf(running)).toBeGreaterThan(before);
  });

  it('sets counters to zero and leaves gauges', async () => {
    const running = await start();
    await send(running, 2);
    expect(await running.admin('/reset_counters', 'POST')).toEqual({ status: 200, body: 'OK\n' });
    const { body } = await running.admin('/stats?usedonly');
    expect(body).not.toContain('downstream_rq_total');
    expect(body).toContain('cluster.out|80.membership_total: 1\n');
  });

  it('changes only by POST, and not for pages of other sites', async () => {
    const { admin, proxy } = await start();
    for (const path of ['/logging', '/drain_listeners', '/healthcheck/fail', '/reset_counters', '/runtime_modify', '/cpuprofiler']) {
      expect(await admin(path)).toEqual({ status: 405, body: 'Method GET not allowed, POST required.' });
    }
    const address = proxy.adminAddress();
    const port = address?.kind === 'ip' ? address.port : 0;
    const foreign = await fetch(`http://127.0.0.1:${port}/healthcheck/fail`, { method: 'POST', headers: { origin: 'http://evil.test' } });
    expect(foreign.status).toBe(403);
    expect((await admin('/ready')).body).toBe('LIVE\n');
  });

  it('fails health checks when it is told to', async () => {
    const { admin } = await start();
    await admin('/healthcheck/fail', 'POST');
    expect(await admin('/ready')).toEqual({ status: 503, body: 'DRAINING\n' });
    await admin('/healthcheck/ok', 'POST');
    expect(await admin('/ready')).toEqual({ status: 200, body: 'LIVE\n' });
  });

  it('shows and changes runtime values', async () => {
    const { admin } = await start();
    expect((await admin('/runtime_modify?foo.bar=9&x=1', 'POST')).status).toBe(200);
    expect(JSON.parse((await admin('/runtime')).body)).toEqual({
      layers: ['static', 'admin'],
      entries: { 'foo.bar': { layer_values: ['7', '9'], final_value: '9' }, x: { layer_values: ['', '1'], final_value: '1' } },
    });
    await admin('/runtime_modify?foo.bar=', 'POST');
    expect(JSON.parse((await admin('/runtime')).body)).toMatchObject({ entries: { 'foo.bar': { final_value: '7' } } });
    expect((await admin('/runtime_modify', 'POST')).status).toBe(400);
    const without = await start('');
    expect(await without.admin('/runtime_modify?a=b', 'POST')).toEqual({ status: 503, body: 'No admin layer specified' });
  });

  it('sets the level of the log, and says what it does not know', async () => {
    const { admin, proxy } = await start();
    void proxy;
    expect((await admin('/logging?paths=proxy:debug', 'POST')).body).toBe('active loggers:\n  proxy: debug\n');
    expect((await admin('/logging?level=off', 'POST')).body).toBe('active loggers:\n  proxy: silent\n');
    expect(await admin('/logging?paths=http9:debug', 'POST')).toMatchObject({
      status: 400,
      body: expect.stringContaining('unknown logger name'),
    });
    expect(await admin('/logging?level=loud', 'POST')).toMatchObject({
      status: 400,
      body: expect.stringContaining('unknown logger level'),
    });
  });

  it('dumps what a mask and a resource choose', async () => {
    const { admin } = await start();
    expect(JSON.parse((await admin('/config_dump?mask=bootstrap.node.id')).body)).toEqual({
      configs: [{ '@type': 'type.googleapis.com/envoy.admin.v3.BootstrapConfigDump', bootstrap: { node: { id: 'n1' } } }],
    });
    const clusters = JSON.parse((await admin('/config_dump?resource=static_clusters&mask=cluster.name')).body);
    expect(clusters).toEqual({
      configs: [
        {
          '@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster',
          cluster: { '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', name: 'out|80' },
        },
      ],
    });
    expect(await admin('/config_dump?resource=nope')).toEqual({ status: 404, body: 'nope not found in config dump\n' });
    expect((await admin('/config_dump?mask=nope.x')).status).toBe(400);
  });

  it('filters clusters by name', async () => {
    const { admin } = await start();
    expect((await admin('/clusters?filter=^out')).body).toMatch(/^out\|80::observability_name::out\|80\n/);
    expect((await admin('/clusters?filter=none')).body).toBe('');
    expect((await admin('/clusters?filter=((')).status).toBe(400);
  });

  it('tells of certificates, memory and what is waited for', async () => {
    const { admin } = await start();
    expect(JSON.parse((await admin('/init_dump')).body)).toEqual({});
    expect(Number(JSON.parse((await admin('/memory')).body).allocated)).toBeGreaterThan(1_000_000);
    expect(JSON.parse((await admin('/certs')).body)).toEqual({});
    expect((await admin('/hot_restart_version')).body).toBe('disabled');
  });

  it('profiles the processor', async () => {
    const { admin } = await start();
    expect((await admin('/cpuprofiler?enable=n', 'POST')).status).toBe(400);
    expect((await admin('/cpuprofiler?enable=y', 'POST')).body).toBe('OK\n');
    expect((await admin('/cpuprofiler?enable=y', 'POST')).status).toBe(500);
    expect(JSON.parse((await admin('/cpuprofiler?enable=n', 'POST')).body)).toHaveProperty('nodes');
    expect((await admin('/cpuprofiler?enable=x', 'POST')).body).toBe('?enable=<y|n>\n');
  });

  it('drains without closing where skip_exit says so, and closes at once where nothing is said', async () => {
    const running = await start();
    expect((await running.admin('/drain_listeners?inboundonly&skip_exit', 'POST')).body).toBe('OK\n');
    expect((await fetch(`http://127.0.0.1:${running.portOf('http')}/`)).headers.get('connection')).toBe('close');
    await running.admin('/drain_listeners?inboundonly', 'POST');
    await expect(fetch(`http://127.0.0.1:${running.portOf('http')}/`)).rejects.toThrow();
  });

  it('has a page with everything, and a help', async () => {
    const { admin } = await start();
    const page = (await admin('/')).body;
    const help = (await admin('/help')).body;
    for (const path of ['/config_dump', '/clusters', '/stats', '/logging', '/runtime_modify', '/quitquitquit']) {
      expect(page).toContain(path);
      expect(help).toContain(`  ${path}`);
    }
    expect(page).toContain('<input type="checkbox" value="1" name="skip_exit" form="drain_listeners">');
    expect((await admin('/nothing')).body).toMatch(/^invalid path\. admin commands are:\n/);
  });
});
