import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ask, askMany, type ProxyProcess, startProxyProcess, until } from './proxy-processes.testing.ts';

const START_TIMEOUT_MS = 120_000;
type Json = Readonly<Record<string, unknown>>;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mizzen-limits-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Answers when it is told to, and counts its connections. */
class BackEnd implements AsyncDisposable {
  readonly held: ServerResponse[] = [];
  readonly paths: Record<string, number> = {};
  mostConnections = 0;
  status = 200;
  holds = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? '';
      this.paths[path] = (this.paths[path] ?? 0) + 1;
      response.statusCode = this.status;
      if (this.holds) this.held.push(response);
      else response.end();
    });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      this.mostConnections = Math.max(this.mostConnections, this.#sockets.size);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get endpoint(): Json {
    const { port } = this.#server.address() as AddressInfo;
    return { lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] };
  }

  answerHeld(): void {
    this.holds = false;
    for (const response of this.held.splice(0)) response.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

const TYPES = 'type.googleapis.com/envoy.extensions.filters';

/** Two event loops, one listener, one cluster of these back ends. */
async function start(
  backEnds: readonly BackEnd[],
  {
    cluster = {},
    httpFilters = [],
    networkFilters = [],
    more = {},
  }: { cluster?: Json; httpFilters?: readonly Json[]; networkFilters?: readonly Json[]; more?: Json },
): Promise<ProxyProcess> {
  const hcm = {
    '@type': `${TYPES}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'in',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'back' } }] }] },
    http_filters: [...httpFilters, { name: 'router', typed_config: { '@type': `${TYPES}.http.router.v3.Router` } }],
  };
  const address = { socket_address: { address: '127.0.0.1', port_value: 0 } };
  const listener = { name: 'in', address, filter_chains: [{ filters: [...networkFilters, { name: 'hcm', typed_config: hcm }] }] };
  const back = {
    name: 'back',
    type: 'STATIC',
    load_assignment: { cluster_name: 'back', endpoints: backEnds.map(({ endpoint }) => endpoint) },
    ...cluster,
  };
  const file = join(folder, `${crypto.randomUUID()}.json`);
  await writeFile(file, JSON.stringify({ admin: { address }, static_resources: { listeners: [listener], clusters: [back] }, ...more }));
  return startProxyProcess('-c', file, '--concurrency', '2', '--disable-hot-restart', '-l', 'warning');
}

function urlOf({ listeners }: ProxyProcess, path = '/'): string {
  return `http://${listeners['in']}${path}`;
}

describe('two event loops', () => {
  it(
    'share the connections that a circuit breaker allows',
    async () => {
      await using back = await new BackEnd().start();
      back.holds = true;
      const thresholds = [{ max_connections: 6, track_remaining: true }];
      await using proxy = await start([back], { cluster: { circuit_breakers: { thresholds } } });
      const answers = askMany(urlOf(proxy), 40);
      await until(
        async () => (await proxy.stats('^cluster.back.upstream_rq_pending_total$'))['cluster.back.upstream_rq_pending_total'] === 40,
      );
      expect(await proxy.stats('^cluster.back.circuit_breakers.default.(cx_open|remaining_cx)$')).toEqual({
        'cluster.back.circuit_breakers.default.cx_open': 1,
        'cluster.back.circuit_breakers.default.remaining_cx': 0,
      });
      back.answerHeld();
      expect(await answers).toEqual({ 200: 40 });
      // As in Envoy, an event loop that has none may make one: its requests would have nothing to wait for.
      expect([6, 7]).toContain(back.mostConnections);
      expect((await proxy.stats('^cluster.back.upstream_cx_overflow$'))['cluster.back.upstream_cx_overflow']).toBeGreaterThan(0);
    },
    START_TIMEOUT_MS,
  );

  it(
    'share the requests that a circuit breaker allows',
    async () => {
      await using back = await new BackEnd().start();
      back.holds = true;
      await using proxy = await start([back], { cluster: { circuit_breakers: { thresholds: [{ max_requests: 10 }] } } });
      const first = Array.from({ length: 10 }, () => ask(urlOf(proxy)));
      await until(() => back.held.length === 10);
      expect(await askMany(urlOf(proxy), 30)).toEqual({ 503: 30 });
      expect(await proxy.stats('^cluster.back.(upstream_rq_active_overflow|circuit_breakers.default.rq_open)$')).toEqual({
        'cluster.back.upstream_rq_active_overflow': 30,
        'cluster.back.circuit_breakers.default.rq_open': 1,
      });
      back.answerHeld();
      expect(await Promise.all(first)).toEqual(Array(10).fill('200'));
      expect(await askMany(urlOf(proxy), 8)).toEqual({ 200: 8 });
    },
    START_TIMEOUT_MS,
  );

  it(
    'take tokens of a local rate limit from one bucket',
    async () => {
      await using back = await new BackEnd().start();
      const limit = {
        '@type': `${TYPES}.http.local_ratelimit.v3.LocalRateLimit`,
        stat_prefix: 'limit',
        token_bucket: { max_tokens: 10, tokens_per_fill: 1, fill_interval: '3600s' },
        filter_enabled: { default_value: { numerator: 100 } },
        filter_enforced: { default_value: { numerator: 100 } },
      };
      await using proxy = await start([back], { httpFilters: [{ name: 'limit', typed_config: limit }] });
      expect(await askMany(urlOf(proxy), 60)).toEqual({ 200: 10, 429: 50 });
      expect(await proxy.stats('^limit.http_local_rate_limit.(ok|enforced)$')).toEqual({
        'limit.http_local_rate_limit.ok': 10,
        'limit.http_local_rate_limit.enforced': 50,
      });
    },
    START_TIMEOUT_MS,
  );

  it(
    'have one active health checker, and both go by what it finds',
    async () => {
      await using back = await new BackEnd().start();
      const check = {
        timeout: '10s',
        interval: '0.05s',
        no_traffic_interval: '0.05s',
        no_traffic_healthy_interval: '0.05s',
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        http_health_check: { path: '/healthz' },
      };
      await using proxy = await start([back], { cluster: { health_checks: [check], common_lb_config: { healthy_panic_threshold: {} } } });
      expect(await askMany(urlOf(proxy), 40)).toEqual({ 200: 40 });
      back.status = 503;
      const isHealthy = async (): Promise<boolean> =>
        (await proxy.stats('^cluster.back.membership_healthy$'))['cluster.back.membership_healthy'] === 1;
      await until(async () => !(await isHealthy()));
      back.status = 200;
      await until(isHealthy);
      expect(await askMany(urlOf(proxy), 40)).toEqual({ 200: 40 });
      const before = await proxy.stats('^cluster.back.health_check.attempt$');
      const seen = back.paths['/healthz'] ?? 0;
      const after = await proxy.stats('^cluster.back.health_check.attempt$');
      expect(seen).toBeGreaterThanOrEqual((before['cluster.back.health_check.attempt'] as number) - 1);
      expect(seen).toBeLessThanOrEqual(after['cluster.back.health_check.attempt'] as number);
      // What fails its checks gets no request from either.
      back.status = 503;
      await until(async () => !(await isHealthy()));
      const requests = back.paths['/late'] ?? 0;
      expect(await askMany(urlOf(proxy, '/late'), 40)).toEqual({ 503: 40 });
      expect((back.paths['/late'] ?? 0) - requests).toBe(0);
    },
    START_TIMEOUT_MS,
  );

  it(
    'count failures of an endpoint together, and both leave it alone once it is ejected',
    async () => {
      await using good = await new BackEnd().start();
      await using bad = await new BackEnd().start();
      bad.status = 500;
      const outlier = {
        consecutive_5xx: 20,
        interval: '0.1s',
        base_ejection_time: '600s',
        max_ejection_time: '600s',
        max_ejection_percent: 100,
      };
      await using proxy = await start([good, bad], {
        cluster: { outlier_detection: outlier, common_lb_config: { healthy_panic_threshold: {} } },
      });
      await askMany(urlOf(proxy, '/try'), 60);
      await until(async () => (await proxy.stats('ejections_active'))['cluster.back.outlier_detection.ejections_active'] === 1);
      expect(await askMany(urlOf(proxy, '/late'), 40)).toEqual({ 200: 40 });
      expect(bad.paths['/late']).toBeUndefined();
      expect(await proxy.stats('^cluster.back.outlier_detection.ejections_(enforced_total|detected_consecutive_5xx)$')).toEqual({
        'cluster.back.outlier_detection.ejections_enforced_total': 1,
        'cluster.back.outlier_detection.ejections_detected_consecutive_5xx': 1,
      });
    },
    START_TIMEOUT_MS,
  );

  it.each([
    [
      'of a listener',
      { layered_runtime: { layers: [{ name: 'l', static_layer: { 'envoy.resource_limits.listener.in.connection_limit': 5 } }] } },
      [],
      'downstream_cx_overflow',
    ],
    [
      'of the process',
      {
        overload_manager: {
          resource_monitors: [
            {
              name: 'connections',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
                max_active_downstream_connections: 5,
              },
            },
          ],
        },
      },
      [],
      'downstream_global_cx_overflow',
    ],
    [
      'of the connection limit filter',
      {},
      [
        {
          name: 'limit',
          typed_config: { '@type': `${TYPES}.network.connection_limit.v3.ConnectionLimit`, stat_prefix: 'l', max_connections: 5 },
        },
      ],
      'limited_connections',
    ],
  ] as const)(
    'share the connection limit %s',
    async (_, more, networkFilters, counter) => {
      await using back = await new BackEnd().start();
      await using proxy = await start([back], { more, networkFilters });
      const [host, port] = (proxy.listeners['in'] as string).split(':') as [string, string];
      const sockets = Array.from({ length: 20 }, () => connect(Number(port), host).on('error', () => {}));
      let closed = 0;
      for (const socket of sockets) {
        socket.resume();
        socket.once('close', () => closed++);
      }
      await until(() => closed === 15);
      const counted = Object.entries(await proxy.stats(`${counter}$`)).map(([, value]) => value);
      expect(counted.reduce((sum, value) => sum + value, 0)).toBe(15);
      // A place that became free is anybody's.
      for (const socket of sockets) socket.destroy();
      await until(async () => (await ask(urlOf(proxy))) === '200');
    },
    START_TIMEOUT_MS,
  );
});
