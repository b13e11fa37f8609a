import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@mizzen/core';
import { xdsRegistry } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { SecretStore } from '../tls/secret-store.ts';
import { LiveCluster } from './cluster.ts';
import { compileCluster } from './cluster-config.ts';
import { createClusterCounts } from './cluster-counts.ts';
import type { Endpoint } from './endpoint.ts';
import { ANY, clusterOf, endpointAt, fakeClock, localities, newDnsCaches, portOf, seededRandom, spread } from './testing.ts';

describe('load balancing', () => {
  it('takes turns under ROUND_ROBIN, in proportion to weights', () => {
    expect(spread(clusterOf(localities({ ports: [1, 2, 3] })), 300)).toEqual({ 1: 100, 2: 100, 3: 100 });
    expect(
      spread(
        clusterOf(
          localities({
            ports: [
              [1, 3],
              [2, 1],
            ],
          }),
        ),
        400,
      ),
    ).toEqual({ 1: 300, 2: 100 });
  });

  it('reaches every endpoint of a small set in turn under LEAST_REQUEST when nothing is under way', () => {
    for (let round = 0; round < 50; round++) {
      const cluster = clusterOf(localities({ ports: [1, 2, 3] }), { lb_policy: 'LEAST_REQUEST' });
      expect(spread(cluster, 9)).toEqual({ 1: 3, 2: 3, 3: 3 });
    }
  });

  it('avoids the busy endpoint under LEAST_REQUEST', () => {
    const cluster = clusterOf(localities({ ports: [1, 2] }), { lb_policy: 'LEAST_REQUEST' });
    const busy = cluster.chooseEndpoint(ANY) as Endpoint;
    busy.activeRequests = 5;
    expect(spread(cluster, 100)[portOf(busy)]).toBeUndefined();
  });

  it.each([
    // The points of those that stay grow in number with their share, as Envoy's do.
    ['RING_HASH', 400],
    ['MAGLEV', 200],
  ])('keeps a key on its endpoint under %s, and moves few keys when one goes', (policy, most) => {
    const ports = [1, 2, 3, 4, 5];
    const keys = Array.from({ length: 2000 }, (_, index) => (index * 2_654_435_761) >>> 0);
    const cluster = clusterOf(localities({ ports }), { lb_policy: policy });
    const before = keys.map((hash) => portOf(cluster.chooseEndpoint({ ...ANY, hash })));
    expect(keys.map((hash) => portOf(cluster.chooseEndpoint({ ...ANY, hash })))).toEqual(before);
    const counts = ports.map((port) => before.filter((chosen) => chosen === port).length);
    expect(Math.min(...counts)).toBeGreaterThan(200);
    const smaller = clusterOf(localities({ ports: ports.slice(0, 4) }), { lb_policy: policy });
    const moved = keys.filter(
      (hash, index) => before[index] !== 5 && portOf(smaller.chooseEndpoint({ ...ANY, hash })) !== before[index],
    ).length;
    expect(moved).toBeLessThan(most);
  });

  it('tries another endpoint than those that a retry excludes', () => {
    for (const policy of ['ROUND_ROBIN', 'LEAST_REQUEST', 'RING_HASH', 'MAGLEV']) {
      const cluster = clusterOf(localities({ ports: [1, 2, 3] }), { lb_policy: policy });
      const isExcluded = (endpoint: { addressText: string }): boolean => endpoint.addressText === '10.0.0.1:1';
      expect(spread(cluster, 100, { ...ANY, hash: 7, isExcluded })[1]).toBeUndefined();
    }
  });

  it('uses the next priority only when the one before has no healthy endpoint', () => {
    const cluster = clusterOf(localities({ ports: [[1, 1, 'UNHEALTHY']] }, { ports: [2], priority: 1 }), {
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
    });
    expect(spread(cluster, 10)).toEqual({ 2: 10 });
  });

  it('has no endpoint when none is healthy, unless the panic threshold says to use them all', () => {
    const endpoints = localities({
      ports: [
        [1, 1, 'UNHEALTHY'],
        [2, 1, 'UNHEALTHY'],
      ],
    });
    expect(clusterOf(endpoints, { common_lb_config: { healthy_panic_threshold: { value: 0 } } }).chooseEndpoint(ANY)).toBeUndefined();
    expect(Object.keys(spread(clusterOf(endpoints), 10))).toEqual(['1', '2']);
  });

  it('spreads over localities by their weights', () => {
    const counts = spread(
      clusterOf(localities({ ports: [1], weight: 9 }, { ports: [2], weight: 1 }), {
        common_lb_config: { locality_weighted_lb_config: {} },
      }),
      2000,
    );
    expect(counts[1]).toBeGreaterThan(1650);
    expect(counts[2]).toBeGreaterThan(100);
  });

  it('keeps the identity of endpoints that stay, and drains the pools of those that go', () => {
    const cluster = clusterOf(localities({ ports: [1, 2] }));
    const before = new Map(
      cluster.localities.flatMap((locality) => locality.endpoints.map((endpoint) => [portOf(endpoint), endpoint] as const)),
    );
    const drained: number[] = [];
    for (const [port, endpoint] of before) endpoint.pool = { drain: () => drained.push(port) };
    const next = clusterOf(localities({ ports: [2, 3] })).config.discovery;
    if (next.kind === 'static') cluster.setEndpoints(next.assignment);
    expect(cluster.localities[0]?.endpoints.map((endpoint) => before.get(portOf(endpoint)) === endpoint)).toEqual([true, false]);
    expect(drained).toEqual([1]);
  });

  it('spills over to the next priority as much as the first cannot take', () => {
    const ports = [1, 2, 3, 4].map((port): [number, number, string] => [port, 1, port <= 2 ? 'HEALTHY' : 'UNHEALTHY']);
    const counts = spread(clusterOf(localities({ ports }, { ports: [5], priority: 1 }), {}, fakeClock(), seededRandom()), 10_000);
    // 2 of 4 healthy: 140 % of a half.
    expect((counts[1] ?? 0) + (counts[2] ?? 0)).toBeGreaterThan(6800);
    expect((counts[1] ?? 0) + (counts[2] ?? 0)).toBeLessThan(7200);
    expect(Object.keys(counts)).toEqual(['1', '2', '5']);
  });

  it('uses degraded endpoints only for what healthy ones cannot take', () => {
    const endpoints = localities({
      ports: [
        [1, 1, 'HEALTHY'],
        [2, 1, 'DEGRADED'],
        [3, 1, 'DEGRADED'],
        [4, 1, 'DEGRADED'],
      ],
    });
    const counts = spread(clusterOf(endpoints, {}, fakeClock(), seededRandom()), 1000);
    // 1 of 4 healthy takes 35 %.
    expect(counts[1]).toBeGreaterThan(300);
    expect(counts[1]).toBeLessThan(400);
  });

  it('takes load from a locality whose endpoints are not well', () => {
    const endpoints = localities(
      {
        ports: [
          [1, 1, 'HEALTHY'],
          [2, 1, 'UNHEALTHY'],
        ],
        weight: 1,
      },
      { ports: [3], weight: 1 },
    );
    const counts = spread(clusterOf(endpoints, { common_lb_config: { locality_weighted_lb_config: {} } }), 1700);
    // 140 % of a half against 1: 0.7 to 1.
    expect(Math.abs((counts[1] ?? 0) - 700)).toBeLessThan(5);
  });

  it('weighs LEAST_REQUEST by the requests under way', () => {
    const cluster = clusterOf(
      localities({
        ports: [
          [1, 4],
          [2, 1],
        ],
      }),
      { lb_policy: 'LEAST_REQUEST' },
    );
    expect(spread(cluster, 500)).toEqual({ 1: 400, 2: 100 });
    endpointAt(cluster, 1).activeRequests = 3;
    const busy = spread(cluster, 500);
    expect(Math.abs((busy[1] ?? 0) - 250)).toBeLessThan(10);
  });

  it('gives a new endpoint its weight little by little under slow start', () => {
    const clock = fakeClock();
    const slow = { round_robin_lb_config: { slow_start_config: { slow_start_window: '60s', min_weight_percent: { value: 10 } } } };
    const cluster = clusterOf(localities({ ports: [1] }), slow, clock);
    clock.advance(100_000);
    const more = clusterOf(localities({ ports: [1, 2] }), slow, clock).config.discovery;
    if (more.kind === 'static') cluster.setEndpoints(more.assignment);
    const shareOfNew = (): number => {
      // Weights are read when an endpoint is chosen: one round later they are those of now.
      spread(cluster, 50);
      return (spread(cluster, 1000)[2] ?? 0) / 1000;
    };
    clock.advance(1000);
    expect(shareOfNew()).toBeCloseTo(0.1 / 1.1, 1);
    clock.advance(29_000);
    expect(shareOfNew()).toBeCloseTo(0.5 / 1.5, 1);
    clock.advance(30_000);
    expect(shareOfNew()).toBeCloseTo(0.5, 1);
  });

  it('bounds the load of one endpoint where a hash asks for too much of it', () => {
    const cluster = clusterOf(localities({ ports: [1, 2, 3, 4] }), {
      lb_policy: 'RING_HASH',
      common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 125 } },
    });
    for (let request = 0; request < 100; request++) {
      const endpoint = cluster.chooseEndpoint({ ...ANY, hash: 1n }) as Endpoint;
      endpoint.activeRequests++;
      cluster.active.requests++;
    }
    const loads = cluster.endpoints().map(({ activeRequests }) => activeRequests);
    expect(Math.max(...loads)).toBeLessThanOrEqual(33);
    expect(Math.min(...loads)).toBeGreaterThan(0);
  });

  it('finds the endpoints of a priority whose predecessors are empty', () => {
    const noPanic = { common_lb_config: { healthy_panic_threshold: { value: 0 } } };
    expect(spread(clusterOf(localities({ ports: [1, 2], priority: 2 }), noPanic), 10)).toEqual({ 1: 5, 2: 5 });
  });

  it('asks the clusters of an aggregate in their order', () => {
    const down = clusterOf(localities({ ports: [[1, 1, 'UNHEALTHY']] }));
    const up = clusterOf(localities({ ports: [2] }));
    const aggregate = new LiveCluster(
      compileCluster(
        fromJson(
          ClusterSchema,
          {
            name: 'both',
            lb_policy: 'CLUSTER_PROVIDED',
            cluster_type: {
              name: 'envoy.clusters.aggregate',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig',
                clusters: ['down', 'up'],
              },
            },
          },
          { registry: xdsRegistry },
        ),
        new SecretStore(),
      ),
      {
        clock: fakeClock(),
        random: Math.random,
        logger: silentLogger,
        counts: createClusterCounts(),
        clusterNamed: (name) => ({ down, up })[name],
        dnsCaches: newDnsCaches(fakeClock()),
      },
    );
    expect(portOf(aggregate.chooseEndpoint(ANY))).toBe(2);
    // Limits, counters and protocol are those of the cluster that has the endpoint, whatever the priority.
    const urgent = aggregate.highPriority.chooseEndpoint(ANY);
    expect(urgent?.cluster).toBe(up.highPriority);
    expect(up.highPriority.chooseEndpoint(ANY)).toBe(urgent);
  });

  it.each([
    [
      'a maglev table that is no prime',
      { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 1000 } },
      'maglev_lb_config.table_size: must be a prime',
    ],
    [
      'a ring that is too large',
      { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 9_000_000 } },
      'ring_hash_lb_config.minimum_ring_size',
    ],
    [
      'a bound below the average',
      { lb_policy: 'RING_HASH', common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 50 } } },
      'hash_balance_factor',
    ],
    ['a policy that only some clusters bring', { lb_policy: 'CLUSTER_PROVIDED' }, 'lb_policy: CLUSTER_PROVIDED needs'],
    [
      'a policy that is not known',
      {
        load_balancing_policy: {
          policies: [
            {
              typed_extension_config: {
                name: 'x',
                typed_config: { '@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst' },
              },
            },
          ],
        },
      },
      'load_balancing_policy.policies: none of',
    ],
  ])('refuses %s, with its place', (_, more, reason) => {
    expect(() => clusterOf(localities({ ports: [1] }), more)).toThrow(reason);
  });

  it('takes the first typed policy that it has', () => {
    const typed = (name: string, fields: Record<string, JsonValue> = {}): JsonValue => ({
      typed_extension_config: {
        name,
        typed_config: { '@type': `type.googleapis.com/envoy.extensions.load_balancing_policies.${name}`, ...fields },
      },
    });
    const policies = [typed('pick_first.v3.PickFirst'), typed('least_request.v3.LeastRequest', { choice_count: 3 })];
    const { policy } = clusterOf(localities({ ports: [1] }), { load_balancing_policy: { policies } }).config.loadBalancing;
    expect(policy).toMatchObject({ kind: 'leastRequest', choiceCount: 3 });
  });
});
