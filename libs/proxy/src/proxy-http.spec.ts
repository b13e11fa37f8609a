import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DescMessage, JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { xdsRegistry } from '@mizzen/xds-api';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { any, Cleanup, type RunningProxy, startProxy } from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const NODE = `node:
  id: sidecar~127.0.0.1~productpage-v1-1.default~default.svc.cluster.local
  cluster: productpage.default
  metadata: {NAMESPACE: default, WORKLOAD_NAME: productpage-v1, CLUSTER_ID: local, LABELS: {app: productpage, version: v1}}
dynamic_resources: {lds_config: {ads: {}}, cds_config: {ads: {}}}`;

async function startBackend(name: string): Promise<number> {
  const server = createServer((incoming, response) => {
    response.setHeader('x-backend', name);
    response.end(`${name} ${incoming.method} ${incoming.url} ${incoming.headers.host}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function manager(more: Record<string, JsonValue>): JsonValue {
  const stats = any(xdsRegistry.getMessage('stats.PluginConfig') as DescMessage);
  const log = any(FileAccessLogSchema, {
    path: '/dev/stdout',
    log_format: {
      text_format_source: { inline_string: '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %ROUTE_NAME%' },
    },
  });
  return {
    name: 'hcm',
    typed_config: any(HttpConnectionManagerSchema, {
      stat_prefix: 'http',
      access_log: [{ name: 'log', typed_config: log }],
      http_filters: [
        { name: 'istio.stats', typed_config: stats },
        { name: 'router', typed_config: any(RouterSchema) },
      ],
      ...more,
    }),
  };
}

const RDS = { rds: { route_config_name: 'http_proxy', config_source: { ads: {} } } };

/** The outbound side of a local sidecar: an HTTP proxy port, the internal listener behind CONNECT, and a passthrough cluster. */
async function startExplicitProxy(): Promise<RunningProxy & { port: number; reviews: number }> {
  const running = await startProxy(cleanup, NODE);
  const reviews = await startBackend('reviews');
  const cluster = 'outbound|9080||reviews.default.svc.cluster.local';
  const internal = { envoy_internal_address: { server_listener_name: 'connect_http' } };
  const rejections = running.apply('cluster', {
    [cluster]: {
      name: cluster,
      type: 'EDS',
      eds_cluster_config: { eds_config: { ads: {} } },
      metadata: {
        filter_metadata: { istio: { services: [{ host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' }] } },
      },
    },
    connect_http: {
      name: 'connect_http',
      type: 'STATIC',
      load_assignment: { cluster_name: 'connect_http', endpoints: [{ lb_endpoints: [{ endpoint: { address: internal } }] }] },
    },
    PassthroughCluster: {
      name: 'PassthroughCluster',
      type: 'ORIGINAL_DST',
      lb_policy: 'CLUSTER_PROVIDED',
      original_dst_lb_config: { use_http_header: true, http_header_name: ':authority' },
    },
  });
  expect(rejections).toEqual([]);
  const workload = { filter_metadata: { istio: { workload: 'reviews-v1;default;reviews;v1;local' } } };
  running.apply('endpoint', {
    [cluster]: { cluster_name: cluster, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(reviews) }, metadata: workload }] }] },
  });
  const upgrade = [{ upgrade_type: 'CONNECT', enabled: true }];
  expect(
    running.apply('listener', {
      http: {
        address: address(0),
        traffic_direction: 'OUTBOUND',
        filter_chains: [{ filters: [manager({ ...RDS, upgrade_configs: upgrade })] }],
      },
      connect_http: {
        name: 'connect_http',
        internal_listener: {},
        traffic_direction: 'OUTBOUND',
        filter_chains: [{ filters: [manager(RDS)] }],
      },
    }),
  ).toEqual([]);
  const connectTo = (name: string): JsonValue => ({
    match: { connect_matcher: {} },
    route: { cluster: name, upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
  });
  const hosts = [
    {
      name: 'reviews',
      domains: ['reviews:9080', 'reviews.default.svc.cluster.local:9080'],
      routes: [connectTo('connect_http'), { name: 'default', match: { prefix: '/' }, route: { cluster } }],
    },
    {
      name: 'allow_any',
      domains: ['*'],
      routes: [connectTo('PassthroughCluster'), { name: 'allow_any', match: { prefix: '/' }, route: { cluster: 'PassthroughCluster' } }],
    },
  ];
  expect(running.apply('route', { http_proxy: { name: 'http_proxy', virtual_hosts: hosts } })).toEqual([]);
  await running.proxy.ready.until((isReady) => isReady);
  return { ...running, port: running.portOf('http'), reviews };
}

/** A request in absolute form, as Node's http sends it to a proxy. */
async function viaProxy(port: number, url: string): Promise<{ status: number; body: string }> {
  const asked = request({ host: '127.0.0.1', port, path: url, headers: { host: new URL(url).host }, agent: false });
  asked.end();
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode ?? 0, body };
}

/** A request inside a CONNECT tunnel, as fetch sends it to a proxy. */
async function viaTunnel(port: number, authority: string, path: string): Promise<{ status: number; body: string }> {
  const asked = request({ host: '127.0.0.1', port, method: 'CONNECT', path: authority, headers: { host: authority }, agent: false });
  asked.end();
  const [answer, socket] = (await once(asked, 'connect')) as [import('node:http').IncomingMessage, import('node:net').Socket];
  if (answer.statusCode !== 200) return { status: answer.statusCode ?? 0, body: '' };
  const inner = request({ createConnection: () => socket, path, headers: { host: authority, connection: 'close' } });
  inner.end();
  const [response] = (await once(inner, 'response')) as [import('node:http').IncomingMessage];
  let body = '';
  for await (const chunk of response) body += chunk;
  socket.destroy();
  return { status: response.statusCode ?? 0, body };
}

describe('HTTP through the explicit proxy', () => {
  it('routes the absolute form to the service, logs it and counts it', async () => {
    const { port, logged, admin } = await startExplicitProxy();
    expect(await viaProxy(port, 'http://reviews:9080/reviews/1')).toEqual({ status: 200, body: 'reviews GET /reviews/1 reviews:9080' });
    expect(await logged()).toEqual(['GET /reviews/1 200 - outbound|9080||reviews.default.svc.cluster.local default']);
    const metrics = (await admin('/stats/prometheus')).body;
    expect(metrics).toMatch(
      /istio_requests_total\{reporter="source",source_workload="productpage-v1",.*destination_workload="reviews-v1",.*destination_service="reviews\.default\.svc\.cluster\.local",.*response_code="200",.*\} 1\n/,
    );
    expect(metrics).toContain('istio_request_duration_milliseconds_count{');
    expect(metrics).toContain('envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix="http",envoy_response_code_class="2"} 1\n');
  });

  it('routes a CONNECT tunnel to a service by the same routes, through the internal listener', async () => {
    const { port, logged, admin } = await startExplicitProxy();
    expect(await viaTunnel(port, 'reviews:9080', '/reviews/2')).toEqual({ status: 200, body: 'reviews GET /reviews/2 reviews:9080' });
    expect(await logged(2)).toEqual([
      'CONNECT - 200 - connect_http -',
      'GET /reviews/2 200 - outbound|9080||reviews.default.svc.cluster.local default',
    ]);
    // The tunnel is no request to anybody: only what came out of it is counted.
    const counted = (await admin('/stats/prometheus')).body.split('\n').filter((line) => line.startsWith('istio_requests_total{'));
    expect(counted).toEqual([expect.stringMatching(/destination_workload="reviews-v1".* 1$/)]);
  });

  it('passes what it does not know through, in both forms, to where the request says', async () => {
    const { port, logged } = await startExplicitProxy();
    const other = await startBackend('other');
    expect(await viaProxy(port, `http://127.0.0.1:${other}/x`)).toEqual({ status: 200, body: `other GET /x 127.0.0.1:${other}` });
    expect(await viaTunnel(port, `localhost:${other}`, '/y')).toEqual({ status: 200, body: `other GET /y localhost:${other}` });
    expect((await logged())[0]).toBe('GET /x 200 - PassthroughCluster allow_any');
  });

  it('answers 503 with UH for a service without endpoints', async () => {
    const { port, logged, apply } = await startExplicitProxy();
    const cluster = 'outbound|9080||reviews.default.svc.cluster.local';
    apply('endpoint', { [cluster]: { cluster_name: cluster, endpoints: [] } });
    expect(await viaProxy(port, 'http://reviews:9080/reviews/1')).toEqual({ status: 503, body: 'no healthy upstream' });
    expect(await logged()).toEqual([`GET /reviews/1 503 UH ${cluster} default`]);
  });

  it('changes routes under load without a failed request', async () => {
    const { port, apply } = await startExplicitProxy();
    const second = await startBackend('second');
    apply('cluster', {
      second: {
        name: 'second',
        type: 'STATIC',
        load_assignment: { cluster_name: 'second', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(second) } }] }] },
      },
    });
    const routes = (cluster: string): JsonValue => ({
      name: 'http_proxy',
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
    });
    const answers: string[] = [];
    const workers = Array.from({ length: 6 }, async () => {
      for (let index = 0; index < 30; index++) answers.push(`${(await viaProxy(port, 'http://reviews:9080/a')).status}`);
    });
    for (let swap = 0; swap < 20; swap++) {
      expect(
        apply('route', { http_proxy: routes(swap % 2 === 0 ? 'second' : 'outbound|9080||reviews.default.svc.cluster.local') }),
      ).toEqual([]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(workers);
    expect(answers.filter((status) => status !== '200')).toEqual([]);
    expect(answers.length).toBe(180);
  });
});
