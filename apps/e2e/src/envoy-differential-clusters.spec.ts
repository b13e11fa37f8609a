import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Json = Record<string, unknown>;

interface EndpointFields {
  readonly weight?: number;
  readonly health?: string;
  readonly metadata?: Json;
}

/** One endpoint of a port, as the clusters below write it. */
function endpoint(port: number, { weight = 1, health = 'UNKNOWN', metadata }: EndpointFields = {}): Json {
  return {
    endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } }, hostname: `host-${port}.example` },
    load_balancing_weight: weight,
    health_status: health,
    ...(metadata && { metadata: { filter_metadata: { 'envoy.lb': metadata } } }),
  };
}

function cluster(name: string, localities: readonly Json[], more: Json = {}): Json {
  return { name, type: 'STATIC', connect_timeout: '10s', load_assignment: { cluster_name: name, endpoints: localities }, ...more };
}

function route(name: string, more: Json = {}): Json {
  return {
    match: { prefix: `/${name}` },
    route: {
      cluster: name.split('-')[0],
      hash_policy: [{ header: { header_name: 'x-key' } }, { header: { header_name: 'x-more' } }],
      ...more,
    },
  };
}

function subset(name: string, metadata: Json): Json {
  return route(name, { metadata_match: { filter_metadata: { 'envoy.lb': metadata } } });
}

function differentialBootstrap(at: { readonly listener: number; readonly admin: number; readonly ports: readonly number[] }): Json {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = at.ports;
  const weighted = [{ lb_endpoints: [endpoint(a), endpoint(b), endpoint(c, { weight: 2 }), endpoint(d), endpoint(e, { weight: 3 })] }];
  const versions = [
    {
      lb_endpoints: [
        endpoint(a, { metadata: { version: 'v1', stage: 'prod' } }),
        endpoint(b, { metadata: { version: 'v2', stage: 'prod' } }),
        endpoint(c, { metadata: { version: 'v2', stage: 'test' } }),
      ],
    },
  ];
  const check = { timeout: '10s', interval: '0.1s', no_traffic_interval: '0.1s', unhealthy_threshold: 1, healthy_threshold: 1 };
  const clusters = [
    cluster('ring', weighted, { lb_policy: 'RING_HASH' }),
    cluster('murmur', weighted, {
      lb_policy: 'RING_HASH',
      ring_hash_lb_config: { hash_function: 'MURMUR_HASH_2', minimum_ring_size: 100 },
    }),
    // Envoy hashes by names only what DNS knows.
    cluster('named', weighted, {
      type: 'STRICT_DNS',
      lb_policy: 'RING_HASH',
      common_lb_config: { consistent_hashing_lb_config: { use_hostname_for_hashing: true } },
    }),
    cluster('maglev', weighted, { lb_policy: 'MAGLEV' }),
    cluster(
      'localring',
      [
        { ...weighted[0], load_balancing_weight: 1, locality: { zone: 'x' } },
        { lb_endpoints: [endpoint(a), endpoint(b)], load_balancing_weight: 3, locality: { zone: 'y' } },
      ].slice(0, 1),
      {
        lb_policy: 'MAGLEV',
        common_lb_config: { locality_weighted_lb_config: {} },
        maglev_lb_config: { table_size: 251 },
      },
    ),
    cluster('turns', weighted),
    cluster('spill', [
      { lb_endpoints: [endpoint(a), endpoint(b, { health: 'UNHEALTHY' }), endpoint(c, { health: 'UNHEALTHY' }), endpoint(d)] },
      { lb_endpoints: [endpoint(e)], priority: 1 },
    ]),
    cluster('panic', [{ lb_endpoints: [endpoint(a), endpoint(b, { health: 'UNHEALTHY' }), endpoint(c, { health: 'UNHEALTHY' })] }]),
    cluster('degraded', [
      {
        lb_endpoints: [
          endpoint(a),
          endpoint(b, { health: 'DEGRADED' }),
          endpoint(c, { health: 'DEGRADED' }),
          endpoint(d, { health: 'DEGRADED' }),
        ],
      },
    ]),
    cluster(
      'zones',
      [
        { lb_endpoints: [endpoint(a), endpoint(b, { health: 'DRAINING' })], load_balancing_weight: 1, locality: { zone: 'x' } },
        { lb_endpoints: [endpoint(c)], load_balancing_weight: 1, locality: { zone: 'y' } },
      ],
      { common_lb_config: { locality_weighted_lb_config: {} } },
    ),
    cluster('none', [{ lb_endpoints: [endpoint(a, { health: 'UNHEALTHY' })] }], {
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
    }),
    cluster('subsets', versions, {
      lb_subset_config: {
        fallback_policy: 'DEFAULT_SUBSET',
        default_subset: { stage: 'test' },
        subset_selectors: [{ keys: ['version'], fallback_policy: 'NO_FALLBACK' }, { keys: ['version', 'stage'] }],
      },
    }),
    cluster('dropped', [{ lb_endpoints: [endpoint(a)] }], {
      load_assignment: {
        cluster_name: 'dropped',
        endpoints: [{ lb_endpoints: [endpoint(a)] }],
        policy: { drop_overloads: [{ category: 'all', drop_percentage: { numerator: 50 } }] },
      },
    }),
    cluster('checked', [{ lb_endpoints: [endpoint(a), endpoint(b)] }], {
      health_checks: [{ ...check, http_health_check: { path: '/healthz' } }],
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
    }),
    cluster('limited', [{ lb_endpoints: [endpoint(a)] }], {
      circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 1, max_requests: 10, track_remaining: true }] },
    }),
    cluster('prior', [{ lb_endpoints: [endpoint(a)] }], {
      circuit_breakers: {
        thresholds: [
          { max_connections: 1, max_pending_requests: 1 },
          { priority: 'HIGH', max_connections: 2, max_pending_requests: 1, max_retries: 7, track_remaining: true },
        ],
      },
    }),
    cluster('outliers', [{ lb_endpoints: [endpoint(a), endpoint(b), endpoint(c)] }], {
      outlier_detection: { consecutive_5xx: 2, base_ejection_time: '300s', max_ejection_percent: 34 },
    }),
  ];
  const routes = [
    ...clusters.map(({ name }) => route(String(name))).filter(({ match }) => (match as Json)['prefix'] !== '/subsets'),
    route('urgent', { cluster: 'prior', priority: 'HIGH' }),
    subset('subsets-v1', { version: 'v1' }),
    subset('subsets-v2test', { version: 'v2', stage: 'test' }),
    subset('subsets-v9', { version: 'v9' }),
    subset('subsets-other', { nothing: 'here' }),
    route('subsets-plain'),
  ];
  return {
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: at.admin } } },
    static_resources: {
      clusters,
      listeners: [
        {
          name: 'in',
          address: { socket_address: { address: '127.0.0.1', port_value: at.listener } },
          filter_chains: [
            {
              filters: [
                {
                  name: 'envoy.filters.network.http_connection_manager',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                    stat_prefix: 'in',
                    route_config: { name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
                    http_filters: [
                      {
                        name: 'envoy.filters.http.router',
                        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
    },
  };
}

describeWithEnvoy('needs envoy: load balancing of our proxy and Envoy', () => {
  const servers: Server[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  /** Answers to /limited that wait until the test lets them go. */
  const held: ServerResponse[] = [];
  const at = { envoy: { listener: 0, admin: 0 }, ours: { listener: 0, admin: 0 } };
  let ports: number[];
  let envoy: Envoy;
  let proxy: MeshProxy;

  async function startServer(index: number): Promise<number> {
    const server = createServer((asked, response) => {
      if (asked.url !== undefined && ['/limited', '/prior', '/urgent'].includes(asked.url)) {
        held.push(response);
        return;
      }
      // The second one is not well.
      const isIll = (asked.url === '/healthz' || asked.url === '/outliers') && index === 1;
      response.writeHead(isIll ? 503 : 200).end(String(index));
    });
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  beforeAll(async () => {
    ports = await Promise.all([0, 1, 2, 3, 4].map(startServer));
    at.envoy = { listener: await freePort(), admin: 0 };
    at.ours = { listener: await freePort(), admin: await freePort() };
    envoy = await startEnvoy(differentialBootstrap({ ...at.envoy, ports }));
    at.envoy.admin = Number(envoy.adminAddress.split(':')[1]);
    proxy = await startOurProxy(differentialBootstrap({ ...at.ours, ports }));
  });
  afterAll(async () => {
    agent.destroy();
    await proxy?.close();
    await envoy?.close();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });

  async function get(port: number, path: string, headers: Record<string, string> = {}): Promise<string> {
    const sent = request({ agent, host: '127.0.0.1', port, path, headers: { host: 'a.example', ...headers } }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const body = await text(response);
    return response.statusCode === 200 ? body : `${response.statusCode} ${body}`;
  }

  /** How often each server, or refusal, answered. */
  async function spread(port: number, path: string, count: number): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (let index = 0; index < count; index++) {
      const answer = await get(port, path);
      counts[answer] = (counts[answer] ?? 0) + 1;
    }
    return counts;
  }

  it.each(['ring', 'murmur', 'named', 'maglev', 'localring'])('sends the same keys to the same endpoints: %s', async (name) => {
    const keys = Array.from({ length: 150 }, (_, index) => `user-${index * 7919}`);
    const chosen = async (port: number): Promise<string[]> => {
      const answers: string[] = [];
      for (const [index, key] of keys.entries())
        answers.push(await get(port, `/${name}`, { 'x-key': key, ...(index % 3 === 0 && { 'x-more': `more-${index}` }) }));
      return answers;
    };
    const fromEnvoy = await chosen(at.envoy.listener);
    expect(await chosen(at.ours.listener)).toEqual(fromEnvoy);
    expect(new Set(fromEnvoy).size).toBe(5);
  });

  it('takes turns in proportion to the weights', async () => {
    const expected = { 0: 20, 1: 20, 2: 40, 3: 20, 4: 60 };
    for (const port of [at.envoy.listener, at.ours.listener]) {
      for (const [server, count] of Object.entries(await spread(port, '/turns', 160)))
        expect(Math.abs(count - expected[server as unknown as 0])).toBeLessThan(3);
    }
  });

  // The share of the first server in percent, with room for chance: five standard deviations of 300 requests are 14.
  it.each([
    ['spill', 35, ['0', '3', '4']],
    ['panic', 33, ['0', '1', '2']],
    ['degraded', 35, ['0', '1', '2', '3']],
    ['zones', 41, ['0', '2']],
  ])('spreads alike: %s', async (name, percent, servers) => {
    for (const port of [at.envoy.listener, at.ours.listener]) {
      const counts = await spread(port, `/${name}`, 300);
      expect(Object.keys(counts).sort()).toEqual(servers);
      expect(Math.abs((counts['0'] ?? 0) / 3 - percent)).toBeLessThan(15);
    }
  });

  it.each(['none', 'subsets-v1', 'subsets-v2test', 'subsets-v9', 'subsets-other', 'subsets-plain', 'dropped'])(
    'answers alike: %s',
    async (name) => {
      const fromEnvoy = Object.keys(await spread(at.envoy.listener, `/${name}`, 30)).sort();
      expect(Object.keys(await spread(at.ours.listener, `/${name}`, 30)).sort()).toEqual(fromEnvoy);
    },
  );

  async function stats(admin: number, prefix: string): Promise<Record<string, number>> {
    const lines = (await get(admin, `/stats?filter=^${prefix.replaceAll('.', '%5C.')}`)).split('\n');
    return Object.fromEntries(
      lines
        .filter((line) => line.startsWith(prefix))
        .map((line) => [line.slice(prefix.length, line.indexOf(':')), Number(line.split(': ')[1])]),
    );
  }

  it('finds the same endpoints unhealthy by active checks', async () => {
    for (const { listener, admin } of [at.envoy, at.ours]) {
      await until('both were checked', async () => {
        const { attempt = 0 } = await stats(admin, 'cluster.checked.health_check.');
        return attempt > 3 ? attempt : undefined;
      });
      expect(await spread(listener, '/checked', 10)).toEqual({ 0: 10 });
      expect(await stats(admin, 'cluster.checked.health_check.')).toMatchObject({ healthy: 1, network_failure: 0, degraded: 0 });
      expect(await stats(admin, 'cluster.checked.membership_')).toMatchObject({ healthy: 1, total: 2 });
    }
  });

  it('ejects the same endpoints, under the same names of statistics', async () => {
    const seen: Record<string, number>[] = [];
    for (const { listener, admin } of [at.envoy, at.ours]) {
      const counts = await spread(listener, '/outliers', 40);
      // Envoy's main thread ejects: a busy machine has it serve another request or two before.
      expect(counts['503 1']).toBeGreaterThanOrEqual(2);
      expect(counts['503 1']).toBeLessThanOrEqual(listener === at.ours.listener ? 2 : 4);
      seen.push(await stats(admin, 'cluster.outliers.outlier_detection.'));
    }
    // The messages that this proxy knows have no such detection.
    const { ejections_detected_degradation: _, ...fromEnvoy } = seen[0] ?? {};
    expect(seen[1]).toEqual(fromEnvoy);
    expect(seen[0]).toMatchObject({ ejections_active: 1, ejections_enforced_consecutive_5xx: 1 });
  });

  it('lets as many requests wait and connect as the circuit breaker has room for', async () => {
    const seen: unknown[] = [];
    for (const { listener, admin } of [at.envoy, at.ours]) {
      const answers: number[] = [];
      const ask = async (): Promise<void> => {
        const sent = request({ agent: false, host: '127.0.0.1', port: listener, path: '/limited', headers: { host: 'a.example' } }).end();
        const [response] = (await once(sent, 'response')) as [IncomingMessage];
        answers.push(response.statusCode ?? 0);
        await text(response);
      };
      // While it connects, a request counts as one that waits.
      const all = [ask()];
      await until('the first request', async () => held[0]);
      for (let count = 0; count < 4; count++) all.push(ask());
      await until('three were refused', async () => (answers.length === 3 ? answers : undefined));
      // The number of pools is not limited, which Envoy says by a number of 20 digits.
      const { remaining_cx_pools: _, ...open } = await stats(admin, 'cluster.limited.circuit_breakers.default.');
      // One after the other over the only connection.
      for (let count = 0; count < 2; count++) (await until('a request', async () => held.shift())).end();
      await Promise.all(all);
      const { pending_overflow } = await stats(admin, 'cluster.limited.upstream_rq_');
      seen.push({
        answers: answers.sort(),
        open,
        pending_overflow,
        connections: (await stats(admin, 'cluster.limited.upstream_cx_'))['total'],
      });
    }
    expect(seen[1]).toEqual(seen[0]);
    expect(seen[0]).toMatchObject({ answers: [200, 200, 503, 503, 503], pending_overflow: 3, connections: 1 });
  });

  it('has the same statistics of circuit breakers', async () => {
    const [fromEnvoy, fromOurs] = await Promise.all(
      [at.envoy, at.ours].map(({ admin }) => stats(admin, 'cluster.turns.circuit_breakers.default.')),
    );
    expect(fromOurs).toEqual(fromEnvoy);
  });

  it('give requests of high priority limits and connections of their own alike', async () => {
    const seen: unknown[] = [];
    for (const { listener, admin } of [at.envoy, at.ours]) {
      const answers: string[] = [];
      const ask = async (path: string): Promise<void> => {
        const sent = request({ agent: false, host: '127.0.0.1', port: listener, path, headers: { host: 'a.example' } }).end();
        const [response] = (await once(sent, 'response')) as [IncomingMessage];
        answers.push(`${path} ${response.statusCode}`);
        await text(response);
      };
      held.length = 0;
      // One that holds the only ordinary connection, and two of high priority, which have two of their own.
      const all: Promise<void>[] = [];
      for (const path of ['/prior', '/urgent', '/urgent']) {
        all.push(ask(path));
        await until(`request ${all.length}`, async () => held[all.length - 1]);
      }
      const filled = await stats(admin, 'cluster.prior.circuit_breakers.high.');
      const { remaining_cx_pools: _, ...open } = filled;
      for (const path of ['/prior', '/prior', '/urgent', '/urgent']) all.push(ask(path));
      await until('two were refused', async () => (answers.length === 2 ? answers : undefined));
      const full = await stats(admin, 'cluster.prior.circuit_breakers.default.');
      for (let count = 0; count < 5; count++) (await until('a request', async () => held.shift())).end();
      await Promise.all(all);
      seen.push({
        answers: answers.sort(),
        open,
        isOpen: full['cx_open'],
        connections: (await stats(admin, 'cluster.prior.upstream_cx_'))['total'],
      });
    }
    expect(seen[1]).toEqual(seen[0]);
  });
});
