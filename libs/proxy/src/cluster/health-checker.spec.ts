import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Server as NetServer } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { Cleanup } from '../testing/harness.ts';
import type { LiveCluster } from './cluster.ts';
import type { Endpoint } from './endpoint.ts';
import { ANY, clusterOf, portOf } from './testing.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function listening(server: NetServer): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function startHttp(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<number> {
  const server: Server = createServer(answer);
  cleanup.add(() => server.closeAllConnections());
  return listening(server);
}

const QUICK = { timeout: '20s', interval: '0.01s', no_traffic_interval: '0.01s', unhealthy_threshold: 2, healthy_threshold: 2 };

function checked(ports: readonly number[], check: Record<string, JsonValue>, more: Record<string, JsonValue> = {}): LiveCluster {
  const endpoints = ports.map((port) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }));
  const cluster = clusterOf(
    [{ lb_endpoints: endpoints }],
    { health_checks: [{ ...QUICK, ...check }], common_lb_config: { healthy_panic_threshold: { value: 0 } }, ...more },
    systemClock,
  );
  cleanup.add(() => cluster.close());
  return cluster;
}

/** Resolves once the endpoint's checks say so. */
function until(cluster: LiveCluster, wanted: (endpoint: Endpoint) => boolean): Promise<void> {
  const [endpoint] = cluster.endpoints();
  const checker = cluster.healthChecker;
  if (endpoint === undefined || checker === undefined) throw new Error('nothing is checked');
  return new Promise((resolve) => {
    if (wanted(endpoint)) resolve();
    const { onResult } = checker;
    checker.onResult = (of, hasChanged) => {
      onResult.call(checker, of, hasChanged);
      if (wanted(endpoint)) resolve();
    };
  });
}

describe('active health checks', () => {
  it('use an endpoint from its first passed check on', async () => {
    const asked: IncomingMessage[] = [];
    const port = await startHttp((request, response) => {
      asked.push(request);
      response.end('fine');
    });
    const cluster = checked([port], {
      http_health_check: { path: '/healthz', host: 'reviews', request_headers_to_add: [{ header: { key: 'X-Check', value: 'yes' } }] },
    });
    expect(cluster.chooseEndpoint(ANY)).toBeUndefined();
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    expect(portOf(cluster.chooseEndpoint(ANY))).toBe(port);
    expect(asked[0]).toMatchObject({
      method: 'GET',
      url: '/healthz',
      headers: { host: 'reviews', 'user-agent': 'Envoy/HC', 'x-check': 'yes' },
    });
    expect(cluster.healthChecker?.stats).toMatchObject({ failure: 0, healthy: 1 });
  });

  it('take an endpoint away at once for a status that is not expected, and need a threshold to bring it back', async () => {
    let status = 200;
    const port = await startHttp((_, response) => response.writeHead(status).end());
    const cluster = checked([port], { http_health_check: { path: '/' } });
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    status = 503;
    await until(cluster, ({ checkResult }) => checkResult === 'unhealthy');
    expect(cluster.healthChecker?.stats).toMatchObject({ failure: 1, networkFailure: 0, healthy: 0 });
    expect(cluster.chooseEndpoint(ANY)).toBeUndefined();
    const before = cluster.healthChecker?.stats.success ?? 0;
    status = 200;
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    expect((cluster.healthChecker?.stats.success ?? 0) - before).toBe(2);
  });

  it('need a threshold of failures where the status may be retried', async () => {
    let status = 200;
    const port = await startHttp((_, response) => response.writeHead(status).end());
    const cluster = checked([port], {
      unhealthy_threshold: 3,
      http_health_check: { path: '/', expected_statuses: [{ start: 200, end: 300 }], retriable_statuses: [{ start: 500, end: 600 }] },
    });
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    status = 503;
    await until(cluster, ({ checkResult }) => checkResult === 'unhealthy');
    expect(cluster.healthChecker?.stats.failure).toBe(3);
  });

  it('mark an endpoint degraded that says so, and look into the body', async () => {
    const port = await startHttp((_, response) => response.writeHead(200, { 'x-envoy-degraded': '1' }).end('state: ok'));
    const degraded = checked([port], { http_health_check: { path: '/' } });
    await until(degraded, ({ availability }) => availability === 'degraded');
    const receive = [{ text: Buffer.from('state: bad').toString('hex') }];
    const wrong = checked([port], { http_health_check: { path: '/', receive } });
    await until(wrong, ({ checkResult }) => checkResult === 'unhealthy');
  });

  it('fail where nobody listens, and where nobody answers in time', async () => {
    const refused = await startHttp(() => {});
    await cleanup.run();
    const gone = checked([refused], { tcp_health_check: {} });
    await until(gone, ({ checkResult }) => checkResult === 'unhealthy');
    expect(gone.healthChecker?.stats.networkFailure).toBe(1);
    const silent = await startHttp(() => {});
    const slow = checked([silent], { timeout: '0.05s', http_health_check: { path: '/' } });
    await until(slow, ({ checkResult }) => checkResult === 'unhealthy');
  });

  it('send bytes and look for others over TCP', async () => {
    const port = await listening(
      createTcpServer((socket) => {
        socket.on('error', () => socket.destroy());
        socket.on('data', (data) => socket.write(data.toString() === 'PING' ? '+PONG\r\n' : '-ERR\r\n'));
      }),
    );
    const hex = (text: string): JsonValue => ({ text: Buffer.from(text).toString('hex') });
    const cluster = checked([port], { tcp_health_check: { send: hex('PING'), receive: [hex('+PO'), hex('NG')] } });
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    const wrong = checked([port], { timeout: '0.05s', tcp_health_check: { send: hex('QUIT'), receive: [hex('+')] } });
    await until(wrong, ({ checkResult }) => checkResult === 'unhealthy');
  });

  it.each([
    ['healthy', 1],
    ['unhealthy', 2],
  ] as const)('find a gRPC service %s that answers with serving status %d', async (result, status) => {
    const paths: unknown[] = [];
    const server = createHttp2Server();
    server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        paths.push([headers[':path'], headers[':authority'], Buffer.concat(chunks).subarray(7).toString()]);
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(Buffer.from([0, 0, 0, 0, 2, 8, status]));
      });
    });
    const port = await listening(server);
    const cluster = checked([port], { grpc_health_check: { service_name: 'reviews', authority: 'reviews.default' } });
    await until(cluster, ({ checkResult }) => checkResult === result);
    expect(paths[0]).toEqual(['/grpc.health.v1.Health/Check', 'reviews.default', 'reviews']);
    cluster.close();
  });

  it('ask over HTTP/2 where they are told to, and at another port', async () => {
    const server = createHttp2Server((_, response) => response.writeHead(204).end());
    const port = await listening(server);
    const cluster = checked([1], {
      alt_port: port,
      http_health_check: { path: '/', codec_client_type: 'HTTP2', expected_statuses: [{ start: 204, end: 205 }] },
    });
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    expect(portOf(cluster.chooseEndpoint(ANY))).toBe(1);
    cluster.close();
  });

  it('let an endpoint back that outlier detection ejected', async () => {
    const port = await startHttp((_, response) => response.end());
    const cluster = checked(
      [port],
      { http_health_check: { path: '/' } },
      {
        outlier_detection: { consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: '300s' },
      },
    );
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    const [endpoint] = cluster.endpoints();
    endpoint?.onResponse(500);
    expect(endpoint?.isEjected).toBe(true);
    await until(cluster, ({ isEjected }) => !isEjected);
  });

  it('keep an endpoint that discovery took away until it fails', async () => {
    let status = 200;
    const port = await startHttp((_, response) => response.writeHead(status).end());
    const cluster = checked([port], { http_health_check: { path: '/' } });
    await until(cluster, ({ checkResult }) => checkResult === 'healthy');
    const { discovery } = cluster.config;
    if (discovery.kind !== 'static') throw new Error('not a static cluster');
    const failed = until(cluster, ({ checkResult }) => checkResult === 'unhealthy');
    cluster.setEndpoints({ ...discovery.assignment, localities: [] });
    expect(portOf(cluster.chooseEndpoint(ANY))).toBe(port);
    status = 500;
    await failed;
    expect(cluster.endpoints()).toEqual([]);
  });

  it.each([
    ['without a timeout', { timeout: undefined }, 'health_checks[0].timeout: is required'],
    ['without a threshold', { unhealthy_threshold: undefined }, 'health_checks[0].unhealthy_threshold: is required'],
    [
      'with a payload that is no hexadecimal',
      { tcp_health_check: { send: { text: 'PING' } } },
      'health_checks[0].tcp_health_check.send.text',
    ],
    ['with an event service', { event_log_path: '/tmp/x' }, 'health_checks[0].event_log_path: is not supported'],
  ])('are refused %s', (_, fields, reason) => {
    const check = Object.fromEntries(
      Object.entries({ ...QUICK, tcp_health_check: {}, ...fields }).filter(([, value]) => value !== undefined),
    );
    const message = { health_checks: [check as JsonValue] };
    expect(() => clusterOf([], message)).toThrow(reason);
  });
});
