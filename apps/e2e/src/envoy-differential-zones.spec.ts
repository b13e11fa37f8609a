import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';

type Json = Record<string, unknown>;
type Zones = Readonly<Record<string, readonly number[]>>;

/** Endpoints by zone. */
function localities(zones: Zones, health = 'HEALTHY'): Json[] {
  return Object.entries(zones).map(([zone, ports]) => ({
    locality: { region: 'r', zone },
    lb_endpoints: ports.map((port) => ({
      endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
      health_status: health,
    })),
  }));
}

function cluster(name: string, endpoints: readonly Json[], more: Json = {}): Json {
  return { name, type: 'STATIC', connect_timeout: '10s', load_assignment: { cluster_name: name, endpoints }, ...more };
}

function zoneAware(fields: Json): Json {
  return { common_lb_config: { zone_aware_lb_config: fields } };
}

function typedPolicy(policy: string, name: string, fields: Json): Json {
  const typed = {
    '@type': `type.googleapis.com/envoy.extensions.load_balancing_policies.${policy}.v3.${name}`,
    locality_lb_config: { zone_aware_lb_config: fields },
  };
  return { load_balancing_policy: { policies: [{ typed_extension_config: { name: policy, typed_config: typed } }] } };
}

/** One proxy of four runs in zone x, which is ours: a quarter of the load is what x is sent from its own zone. */
function bootstrapOf(at: { readonly listener: number; readonly admin: number; readonly ports: readonly number[] }): Json {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = at.ports;
  const small = { min_cluster_size: 1 };
  const clusters = [
    cluster('local', localities({ x: [a], y: [b, c, d] })),
    cluster('small', localities({ x: [a, b], y: [c, d, e] })),
    cluster('direct', localities({ x: [a, b], y: [c, d, e] }), zoneAware({ min_cluster_size: 5 })),
    cluster('least', localities({ x: [a, b], y: [c, d, e] }), { lb_policy: 'LEAST_REQUEST', ...zoneAware(small) }),
    cluster('typed', localities({ x: [a, b], y: [c, d, e] }), typedPolicy('round_robin', 'RoundRobin', small)),
    cluster('residual', localities({ x: [a], y: [b, c], z: [d, e] }), zoneAware(small)),
    cluster('elsewhere', localities({ y: [a, b], z: [c] }), zoneAware(small)),
    cluster('half', localities({ x: [a], y: [b] }), zoneAware({ ...small, routing_enabled: { value: 50 } })),
    cluster('single', localities({ x: [a, b] }), zoneAware(small)),
    cluster('ill', localities({ x: [a], y: [b] }, 'UNHEALTHY'), zoneAware({ ...small, fail_traffic_on_panic: true })),
    cluster('illtyped', localities({ x: [a], y: [b] }, 'UNHEALTHY'), typedPolicy('random', 'Random', { fail_traffic_on_panic: true })),
  ];
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    route_config: {
      name: 'r',
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: clusters.map(({ name }) => ({ match: { path: `/${name}` }, route: { cluster: name } })),
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
  };
  return {
    node: { id: 'zones', cluster: 'proxies', locality: { region: 'r', zone: 'x' } },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: at.admin } } },
    cluster_manager: { local_cluster_name: 'local' },
    static_resources: {
      clusters,
      listeners: [
        {
          name: 'in',
          address: { socket_address: { address: '127.0.0.1', port_value: at.listener } },
          filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
        },
      ],
    },
  };
}

const COUNT = 300;

describeWithEnvoy('needs envoy: zone-aware routing of our proxy and Envoy', () => {
  const servers: Server[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const at = { envoy: { listener: 0, admin: 0 }, ours: { listener: 0, admin: 0 } };
  let envoy: Envoy;
  let proxy: MeshProxy;

  async function startServer(index: number): Promise<number> {
    const server = createServer((_, response) => response.end(String(index)));
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  beforeAll(async () => {
    const ports = await Promise.all([0, 1, 2, 3, 4].map(startServer));
    at.envoy = { listener: await freePort(), admin: 0 };
    at.ours = { listener: await freePort(), admin: await freePort() };
    envoy = await startEnvoy(bootstrapOf({ ...at.envoy, ports }));
    at.envoy.admin = Number(envoy.adminAddress.split(':')[1]);
    proxy = await startOurProxy(bootstrapOf({ ...at.ours, ports }));
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

  async function get(port: number, path: string): Promise<string> {
    const sent = request({ agent, host: '127.0.0.1', port, path, headers: { host: 'a.example' } }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const body = await text(response);
    return response.statusCode === 200 ? body : `${response.statusCode} ${body}`;
  }

  /** In percent, how much each server (or refusal) answered. */
  async function shares(port: number, name: string): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (let index = 0; index < COUNT; index++) {
      const answer = await get(port, `/${name}`);
      counts[answer] = (counts[answer] ?? 0) + 1;
    }
    return Object.fromEntries(Object.entries(counts).map(([answer, count]) => [answer, (100 * count) / COUNT]));
  }

  async function zoneStats(admin: number, name: string): Promise<Record<string, number>> {
    const prefix = `cluster.${name}.lb_`;
    const lines = (await get(admin, `/stats?filter=^${prefix.replaceAll('.', '%5C.')}`)).split('\n').filter(Boolean);
    return Object.fromEntries(lines.map((line) => [line.slice(prefix.length, line.indexOf(':')), Number(line.split(': ')[1])]));
  }

  // Shares in percent; what chance decides has room for five standard deviations of 300 requests.
  it.each<[name: string, expected: Readonly<Record<string, number>>, room: number]>([
    ['small', { 0: 20, 1: 20, 2: 20, 3: 20, 4: 20 }, 1],
    ['direct', { 0: 50, 1: 50 }, 1],
    ['least', { 0: 50, 1: 50 }, 15],
    ['typed', { 0: 50, 1: 50 }, 1],
    // Four fifths of the quarter stay; y is full of its own load, the rest is for z.
    ['residual', { 0: 80, 3: 10, 4: 10 }, 12],
    ['elsewhere', { 2: 100 }, 0],
    ['half', { 0: 75, 1: 25 }, 13],
    ['single', { 0: 50, 1: 50 }, 1],
    ['ill', { '503 no healthy upstream': 100 }, 0],
    ['illtyped', { '503 no healthy upstream': 100 }, 0],
  ])('send requests to the same zones: %s', async (name, expected, room) => {
    for (const { listener } of [at.envoy, at.ours]) {
      const seen = await shares(listener, name);
      expect(Object.keys(seen).sort()).toEqual(Object.keys(expected).sort());
      for (const [server, percent] of Object.entries(expected)) expect(Math.abs((seen[server] ?? 0) - percent)).toBeLessThanOrEqual(room);
    }
  });

  it('count alike where the requests went', async () => {
    for (const { listener, admin } of [at.envoy, at.ours]) {
      const grown: Record<string, number | undefined> = {};
      for (const name of ['direct', 'elsewhere', 'ill']) {
        const before = await zoneStats(admin, name);
        await get(listener, `/${name}`);
        const after = await zoneStats(admin, name);
        for (const key of ['zone_routing_all_directly', 'zone_routing_cross_zone', 'zone_routing_sampled', 'healthy_panic'])
          grown[`${name} ${key}`] = (after[key] ?? Number.NaN) - (before[key] ?? Number.NaN);
      }
      expect(grown).toEqual({
        'direct zone_routing_all_directly': 1,
        'direct zone_routing_cross_zone': 0,
        'direct zone_routing_sampled': 0,
        'direct healthy_panic': 0,
        'elsewhere zone_routing_all_directly': 0,
        'elsewhere zone_routing_cross_zone': 1,
        'elsewhere zone_routing_sampled': 0,
        'elsewhere healthy_panic': 0,
        'ill zone_routing_all_directly': 0,
        'ill zone_routing_cross_zone': 0,
        'ill zone_routing_sampled': 0,
        'ill healthy_panic': 1,
      });
    }
  });

  it('count alike a cluster that is too small', async () => {
    for (const { admin } of [at.envoy, at.ours])
      expect((await zoneStats(admin, 'small'))['zone_cluster_too_small']).toBeGreaterThanOrEqual(1);
  });
});
