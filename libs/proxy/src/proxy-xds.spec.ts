import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { TYPE_URL, type XdsSubscription } from '@mizzen/xds-api';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { any, Cleanup, exchange, type RunningProxy, startEcho, startProxy } from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const DYNAMIC = 'dynamic_resources: {lds_config: {ads: {}}, cds_config: {ads: {}}}';

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function edsCluster(name: string, more: Record<string, JsonValue> = {}): JsonValue {
  return { name, type: 'EDS', connect_timeout: '10s', eds_cluster_config: { eds_config: { ads: {} } }, ...more };
}

function assignment(name: string, ports: readonly number[]): JsonValue {
  return { cluster_name: name, endpoints: [{ lb_endpoints: ports.map((port) => ({ endpoint: { address: address(port) } })) }] };
}

function tcpListener(cluster: string, more: Record<string, JsonValue> = {}): JsonValue {
  return {
    address: address(0),
    filter_chains: [{ filters: [{ name: 'tcp', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster }) }] }],
    ...more,
  };
}

function httpListener(routeConfigName: string): JsonValue {
  const manager = any(HttpConnectionManagerSchema, {
    stat_prefix: 'http',
    rds: { route_config_name: routeConfigName, config_source: { ads: {} } },
    http_filters: [{ name: 'router', typed_config: any(RouterSchema) }],
  });
  return { address: address(0), filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }] };
}

/** A proxy with one TCP listener to an EDS cluster `app`. */
async function startDynamic(ports: readonly number[]): Promise<RunningProxy> {
  const running = await startProxy(cleanup, DYNAMIC);
  expect(running.apply('cluster', { app: edsCluster('app') })).toEqual([]);
  expect(running.apply('listener', { tcp: tcpListener('app') })).toEqual([]);
  expect(running.apply('endpoint', { app: assignment('app', ports) })).toEqual([]);
  await running.proxy.ready.until((isReady) => isReady);
  return running;
}

describe('proxy fed by xDS', () => {
  it('is ready once the first listeners came and their clusters have endpoints', async () => {
    const running = await startProxy(cleanup, DYNAMIC);
    running.apply('cluster', { app: edsCluster('app') });
    running.apply('listener', { tcp: tcpListener('app') });
    expect((await running.admin('/ready')).body).toBe('INITIALIZING\n');
    running.apply('endpoint', { app: assignment('app', []) });
    await running.proxy.ready.until((isReady) => isReady);
    expect((await running.admin('/ready')).body).toBe('LIVE\n');
  });

  it('asks for the endpoints, routes and secrets that its clusters and listeners name', async () => {
    const running = await startProxy(cleanup, DYNAMIC);
    const told = new Map<string, XdsSubscription>();
    const { current } = running.proxy.subscriptions((subscription) => told.set(subscription.typeUrl, subscription));
    expect(current.map(({ typeUrl, names }) => [typeUrl, names === '*' ? '*' : [...names]])).toEqual([
      [TYPE_URL.cluster, '*'],
      [TYPE_URL.endpoint, []],
      [TYPE_URL.listener, '*'],
      [TYPE_URL.route, []],
      [TYPE_URL.secret, []],
    ]);
    running.apply('cluster', { app: edsCluster('app') });
    running.apply('listener', { http: httpListener('http_proxy') });
    await Promise.resolve();
    expect([...(told.get(TYPE_URL.endpoint)?.names ?? [])]).toEqual(['app']);
    expect([...(told.get(TYPE_URL.route)?.names ?? [])]).toEqual(['http_proxy']);
    running.apply('cluster', {}, { isWholeState: true });
    await Promise.resolve();
    expect([...(told.get(TYPE_URL.endpoint)?.names ?? [])]).toEqual([]);
  });

  it('refuses one bad resource with its place and puts the others in force', async () => {
    const running = await startDynamic([await startEcho(cleanup)]);
    const rejections = running.apply('cluster', {
      bad: edsCluster('bad', { track_cluster_stats: { timeout_budgets: true } }),
      good: edsCluster('good'),
    });
    expect(rejections).toEqual([{ name: 'bad', reason: 'track_cluster_stats: is not supported by this proxy; remove it' }]);
    const dump = JSON.parse((await running.admin('/config_dump?resource=dynamic_warming_clusters')).body) as {
      configs: { cluster: { name: string } }[];
    };
    expect(dump.configs.map(({ cluster }) => cluster.name)).toEqual(['good']);
  });

  it('keeps a listener as it was when its new version is refused', async () => {
    const running = await startDynamic([await startEcho(cleanup)]);
    const rejections = running.apply('listener', {
      tcp: { ...(tcpListener('app') as object), filter_chains: [{ filters: [{ name: 'x' }] }] },
    });
    expect(rejections).toEqual([
      { name: 'tcp', reason: 'filter_chains[0].filters[0].typed_config: x is not a terminal network filter that this proxy has' },
    ]);
    expect(await exchange(running.portOf('tcp'), 'hello')).toBe('hello');
    const dump = JSON.parse((await running.admin('/config_dump?resource=dynamic_listeners')).body) as {
      configs: { error_state?: { details: string } }[];
    };
    expect(dump.configs[0]?.error_state?.details).toContain('not a terminal network filter');
  });

  it('refuses a listener whose port is taken, in the same answer', async () => {
    const port = await startEcho(cleanup);
    const running = await startDynamic([port]);
    expect(running.apply('listener', { taken: tcpListener('app', { address: address(port) }) })).toEqual([
      { name: 'taken', reason: `address: cannot bind 127.0.0.1:${port}: address already in use` },
    ]);
  });

  it('sends connections to the new endpoints from the moment that they are known', async () => {
    const first = await startEcho(cleanup, 'first:');
    const second = await startEcho(cleanup, 'second:');
    const running = await startDynamic([first]);
    expect(await exchange(running.portOf('tcp'), 'x')).toBe('first:x');
    running.apply('endpoint', { app: assignment('app', [second]) });
    expect(await exchange(running.portOf('tcp'), 'x')).toBe('second:x');
    running.apply('endpoint', { app: assignment('app', []) });
    expect(await exchange(running.portOf('tcp'), 'x')).toBe('');
  });

  it('warms a changed cluster beside the one in use', async () => {
    const first = await startEcho(cleanup, 'first:');
    const second = await startEcho(cleanup, 'second:');
    const running = await startDynamic([first]);
    running.apply('cluster', { app: edsCluster('app', { eds_cluster_config: { eds_config: { ads: {} }, service_name: 'other' } }) });
    expect(await exchange(running.portOf('tcp'), 'x')).toBe('first:x');
    running.apply('endpoint', { other: assignment('other', [second]) });
    expect(await exchange(running.portOf('tcp'), 'x')).toBe('second:x');
  });

  it('swaps a listener under load without a failed connection', async () => {
    const port = await freePort();
    const first = await startEcho(cleanup, 'first:');
    const second = await startEcho(cleanup, 'second:');
    const running = await startProxy(cleanup, DYNAMIC);
    for (const [name, upstream] of [
      ['one', first],
      ['two', second],
    ] as const) {
      running.apply('cluster', { [name]: edsCluster(name) });
      running.apply('endpoint', { [name]: assignment(name, [upstream]) });
    }
    running.apply('listener', { tcp: tcpListener('one', { address: address(port) }) });
    const old = connect({ port, host: '127.0.0.1' });
    expect(String((await once(old, 'data'))[0])).toBe('first:');
    const answers: string[] = [];
    const workers = Array.from({ length: 8 }, async () => {
      for (let index = 0; index < 40; index++) answers.push(await exchange(port, 'x'));
    });
    for (let swap = 0; swap < 20; swap++) {
      running.apply('listener', { tcp: tcpListener(swap % 2 === 0 ? 'two' : 'one', { address: address(port) }) });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(workers);
    expect(answers.length).toBe(320);
    expect(answers.filter((answer) => answer !== 'first:x' && answer !== 'second:x')).toEqual([]);
    old.write('still here');
    expect(String((await once(old, 'data'))[0])).toBe('still here');
    old.destroy();
  });

  it('holds connections of a new listener until its routes have come', async () => {
    const running = await startProxy(cleanup, DYNAMIC);
    running.apply('listener', { http: httpListener('routes') });
    expect(running.proxy.ready.value).toBe(false);
    const socket: Socket = connect({ port: running.portOf('http'), host: '127.0.0.1' });
    await once(socket, 'connect');
    const direct = { name: 'any', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] };
    expect(running.apply('route', { routes: { name: 'routes', virtual_hosts: [direct] } })).toEqual([]);
    await running.proxy.ready.until((isReady) => isReady);
    socket.destroy();
  });

  it('stops accepting on a removed listener and lets its connections live', async () => {
    const running = await startDynamic([await startEcho(cleanup)]);
    const port = running.portOf('tcp');
    const socket = connect({ port, host: '127.0.0.1' });
    socket.write('a');
    await once(socket, 'data');
    running.apply('listener', {}, { isWholeState: true });
    const refused = connect({ port, host: '127.0.0.1' });
    expect(await new Promise((resolve) => refused.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)))).toBe(
      'ECONNREFUSED',
    );
    socket.write('b');
    expect(String((await once(socket, 'data'))[0])).toBe('b');
    socket.destroy();
  });

  it('hands a connection from a TCP proxy to an internal listener', async () => {
    const running = await startDynamic([await startEcho(cleanup)]);
    const internal = { envoy_internal_address: { server_listener_name: 'inside' } };
    running.apply('cluster', {
      hop: {
        name: 'hop',
        type: 'STATIC',
        load_assignment: { cluster_name: 'hop', endpoints: [{ lb_endpoints: [{ endpoint: { address: internal } }] }] },
      },
    });
    const inside = {
      name: 'inside',
      internal_listener: {},
      filter_chains: (tcpListener('app') as { filter_chains: JsonValue }).filter_chains,
    };
    expect(running.apply('listener', { inside, outside: tcpListener('hop') })).toEqual([]);
    expect(await exchange(running.portOf('outside'), 'hello')).toBe('hello');
  });

  it('resolves DNS clusters again and again, and keeps the last good answer', async () => {
    const port = await startEcho(cleanup);
    const answers: (readonly string[] | Error)[] = [['127.0.0.1'], new Error('SERVFAIL'), ['127.0.0.2']];
    let resolved = 0;
    const asked = { done: (): void => {} };
    const third = new Promise<void>((resolve) => {
      asked.done = resolve;
    });
    const running = await startProxy(cleanup, DYNAMIC, {
      resolve: async () => {
        const answer = answers[Math.min(resolved++, 2)] as readonly string[] | Error;
        if (resolved === 4) asked.done();
        if (answer instanceof Error) throw answer;
        return answer;
      },
    });
    const endpoints = [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 'app.test', port_value: port } } } }] }];
    running.apply('cluster', {
      app: { name: 'app', type: 'STRICT_DNS', dns_refresh_rate: '0.02s', load_assignment: { cluster_name: 'app', endpoints } },
    });
    running.apply('listener', { tcp: tcpListener('app') });
    await running.proxy.ready.until((isReady) => isReady);
    expect(await exchange(running.portOf('tcp'), 'x')).toBe('x');
    await third;
    expect((await running.admin('/clusters')).body).toContain(`app::127.0.0.2:${port}::`);
    expect((await running.admin('/clusters')).body).not.toContain(`app::127.0.0.1:${port}::`);
  });
});
