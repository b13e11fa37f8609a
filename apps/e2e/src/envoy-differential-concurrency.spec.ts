import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { until } from './until.ts';

type Json = Record<string, unknown>;

const MAIN = join(import.meta.dirname, '../../sidecar/src/proxy-main.ts');
const START_TIMEOUT_MS = 120_000;

const any = (type: string, fields: Json): Json => ({ '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields });

interface Ports {
  readonly limited: number;
  readonly broken: number;
  readonly counted: number;
  readonly watched: number;
  readonly app: number;
}

const ALWAYS = { default_value: { numerator: 100 } };
const RATE_LIMIT = any('filters.http.local_ratelimit.v3.LocalRateLimit', {
  stat_prefix: 'limit',
  token_bucket: { max_tokens: 10, tokens_per_fill: 1, fill_interval: '3600s' },
  filter_enabled: ALWAYS,
  filter_enforced: ALWAYS,
});

function bootstrap(ports: Ports): Json {
  const listener = (name: 'limited' | 'broken' | 'counted' | 'watched', filters: readonly Json[] = []): Json => {
    const manager = any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
      stat_prefix: name,
      route_config: {
        name,
        virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: name } }] }],
      },
      http_filters: [...filters, { name: 'envoy.filters.http.router', typed_config: any('filters.http.router.v3.Router', {}) }],
    });
    return {
      name,
      address: { socket_address: { address: '127.0.0.1', port_value: ports[name] } },
      filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
    };
  };
  const cluster = (name: string, more: Json = {}): Json => {
    const endpoint = { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: ports.app } } } };
    return { name, type: 'STATIC', load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] }, ...more };
  };
  return {
    layered_runtime: {
      layers: [{ name: 'static', static_layer: { 'envoy.resource_limits.listener.counted.connection_limit': 5 } }],
    },
    static_resources: {
      listeners: [
        listener('limited', [{ name: 'envoy.filters.http.local_ratelimit', typed_config: RATE_LIMIT }]),
        listener('broken'),
        listener('counted'),
        listener('watched'),
      ],
      clusters: [
        cluster('limited'),
        cluster('broken', { circuit_breakers: { thresholds: [{ max_requests: 10 }] } }),
        cluster('counted'),
        cluster('watched', {
          common_lb_config: { healthy_panic_threshold: {} },
          outlier_detection: { consecutive_5xx: 30, max_ejection_percent: 100, base_ejection_time: '600s', max_ejection_time: '600s' },
        }),
      ],
    },
  };
}

interface Side {
  readonly ports: Ports;
  readonly stats: (filter: string) => Promise<Readonly<Record<string, number>>>;
}

function ask(port: number, path = '/'): Promise<string> {
  return new Promise((resolve) => {
    const asked = request({ port, host: '127.0.0.1', path, agent: false }, (response) => {
      response.resume();
      response.on('end', () => resolve(String(response.statusCode)));
    });
    asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end();
  });
}

async function askMany(port: number, count: number, path?: string): Promise<readonly string[]> {
  return (await Promise.all(Array.from({ length: count }, () => ask(port, path)))).sort();
}

describeWithEnvoy('needs envoy: two event loops of our proxy and two threads of Envoy', () => {
  const held: ServerResponse[] = [];
  const app: Server = createServer((incoming, response) => {
    if (incoming.url === '/held') held.push(response);
    else response.writeHead(incoming.url === '/bad' ? 500 : 200).end();
  });
  let folder: string;
  let envoy: Envoy;
  let ours: ChildProcess;
  let sides: readonly [theirs: Side, ours: Side];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mizzen-loops-'));
    app.listen(0, '127.0.0.1');
    await once(app, 'listening');
    const ports = async (): Promise<Ports> => ({
      limited: await freePort(),
      broken: await freePort(),
      counted: await freePort(),
      watched: await freePort(),
      app: (app.address() as AddressInfo).port,
    });
    const [theirPorts, ourPorts, adminPort] = [await ports(), await ports(), await freePort()];
    envoy = await startEnvoy(bootstrap(theirPorts), { concurrency: 2 });
    const admin = { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } };
    const file = join(folder, 'ours.json');
    await writeFile(file, JSON.stringify({ ...bootstrap(ourPorts), admin }));
    ours = spawn(process.execPath, [MAIN, '-c', file, '--concurrency', '2', '--disable-hot-restart'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(ours.stdout as NodeJS.ReadableStream, 'data');
    const statsOfOurs: Side['stats'] = async (filter) => {
      const text = await (await fetch(`http://127.0.0.1:${adminPort}/stats?filter=${encodeURIComponent(filter)}`)).text();
      return Object.fromEntries(
        text
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => line.split(': ') as [string, string])
          .map(([name, value]) => [name, Number(value)]),
      );
    };
    sides = [
      { ports: theirPorts, stats: (filter) => envoy.stats(filter) },
      { ports: ourPorts, stats: statsOfOurs },
    ];
  }, START_TIMEOUT_MS);
  afterAll(async () => {
    if (ours !== undefined && ours.exitCode === null) {
      ours.kill('SIGKILL');
      await once(ours, 'close');
    }
    await envoy?.close();
    app.closeAllConnections();
    app.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** What Envoy did and what we did. */
  async function both<T>(act: (side: Side) => Promise<T>): Promise<readonly [theirs: T, ours: T]> {
    return [await act(sides[0]), await act(sides[1])];
  }

  it('have one bucket for a local rate limit', async () => {
    const [theirs, ours] = await both(({ ports }) => askMany(ports.limited, 60));
    expect(ours).toEqual(theirs);
    expect(ours.filter((answer) => answer === '200')).toHaveLength(10);
  });

  it('have one circuit breaker for a cluster', async () => {
    const [theirs, ours] = await both(async ({ ports, stats }) => {
      const first = Array.from({ length: 10 }, () => ask(ports.broken, '/held'));
      await until('ten requests that are held', async () => (held.length === 10 ? true : undefined));
      const refused = await askMany(ports.broken, 30);
      const counted = await stats(
        '^cluster.broken.(upstream_rq_(pending|active)_overflow|upstream_rq_active|circuit_breakers.default.rq_open)$',
      );
      for (const response of held.splice(0)) response.end();
      return { refused, counted, first: await Promise.all(first) };
    });
    expect(ours).toEqual(theirs);
    expect(ours.refused).toEqual(Array(30).fill('503'));
  });

  it('have one limit for the connections of a listener', async () => {
    const [theirs, ours] = await both(async ({ ports, stats }) => {
      let closed = 0;
      const sockets = Array.from({ length: 20 }, () => {
        const socket = connect(ports.counted, '127.0.0.1').on('error', () => {});
        return socket.resume().once('close', () => closed++);
      });
      await until('fifteen closed connections', async () => (closed === 15 ? true : undefined));
      const counted = Object.entries(await stats('downstream_cx_overflow$')).filter(([name]) => name.includes(String(ports.counted)));
      for (const socket of sockets) socket.destroy();
      return counted.map(([, value]) => value);
    });
    expect(ours).toEqual(theirs);
    expect(ours).toEqual([15]);
  });

  it('count the failures of an endpoint together', async () => {
    const [theirs, ours] = await both(async ({ ports, stats }) => {
      await askMany(ports.watched, 29, '/bad');
      const before = await ask(ports.watched, '/bad');
      await until('an ejected endpoint', async () =>
        (await stats('^cluster.watched.outlier_detection.ejections_active$'))['cluster.watched.outlier_detection.ejections_active'] === 1
          ? true
          : undefined,
      );
      // Each thread has heard of it a moment later.
      await until('no endpoint in any thread', async () =>
        (await askMany(ports.watched, 20)).every((answer) => answer === '503') ? true : undefined,
      );
      return { before, counted: await stats('^cluster.watched.outlier_detection.ejections_(enforced_total|enforced_consecutive_5xx)$') };
    });
    expect(ours).toEqual(theirs);
  });
});
