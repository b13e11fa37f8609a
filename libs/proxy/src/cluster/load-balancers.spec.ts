import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import type { Clock } from '@mizzen/core';
import { xdsRegistry } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { LoadBalancerContext } from '../contract.ts';
import { SecretStore } from '../tls/secret-store.ts';
import { createClusterCounts, LiveCluster } from './cluster.ts';
import { compileCluster } from './cluster-config.ts';
import type { Endpoint } from './endpoint.ts';

const ANY: LoadBalancerContext = { hash: undefined, isExcluded: undefined, originalDestination: undefined, header: undefined };

/** A clock whose time is moved by the test. */
function fakeClock(): Clock & { advance(ms: number): void } {
  let nowMs = 0;
  const timers = new Set<{ atMs: number; callback: () => void }>();
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, callback) {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
    advance(ms) {
      const until = nowMs + ms;
      for (;;) {
        const next = [...timers].filter((timer) => timer.atMs <= until).sort((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined) break;
        timers.delete(next);
        nowMs = next.atMs;
        next.callback();
      }
      nowMs = until;
    },
  };
}

function localities(
  ...given: readonly { ports: readonly (number | [port: number, weight: number, health?: string])[]; priority?: number; weight?: number }[]
): JsonValue {
  return given.map(({ ports, priority = 0, weight }) => ({
    priority,
    ...(weight === undefined ? {} : { load_balancing_weight: weight }),
    lb_endpoints: ports.map((entry) => {
      const [port, endpointWeight = 1, health = 'UNKNOWN'] = typeof entry === 'number' ? [entry] : entry;
      return {
        health_status: health,
        load_balancing_weight: endpointWeight,
        endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: port } } },
      };
    }),
  }));
}

function clusterOf(endpoints: JsonValue, more: Record<string, JsonValue> = {}, clock = fakeClock()): LiveCluster {
  const message = fromJson(
    ClusterSchema,
    { name: 'a', type: 'STATIC', load_assignment: { cluster_name: 'a', endpoints }, ...more },
    { registry: xdsRegistry },
  );
  const config = compileCluster(create(ClusterSchema, message), new SecretStore());
  const cluster = new LiveCluster(config, { clock, random: Math.random, counts: createClusterCounts() });
  if (config.discovery.kind === 'static') cluster.setEndpoints(config.discovery.assignment);
  return cluster;
}

function portOf(endpoint: Endpoint | undefined): number {
  return endpoint?.address.kind === 'ip' ? endpoint.address.port : 0;
}

function spread(cluster: LiveCluster, count: number, context: LoadBalancerContext = ANY): Record<number, number> {
  const counts: Record<number, number> = {};
  for (let index = 0; index < count; index++) {
    const port = portOf(cluster.chooseEndpoint(context));
    counts[port] = (counts[port] ?? 0) + 1;
  }
  return counts;
}

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

  it.each(['RING_HASH', 'MAGLEV'])('keeps a key on its endpoint under %s, and moves few keys when one goes', (policy) => {
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
    expect(moved).toBeLessThan(200);
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
});

describe('outlier detection', () => {
  const outliers = { consecutive_5xx: 3, interval: '10s', base_ejection_time: '30s', max_ejection_percent: 50 };

  function choose(cluster: LiveCluster, port: number): Endpoint {
    return cluster.localities[0]?.endpoints.find((endpoint) => portOf(endpoint) === port) as Endpoint;
  }

  it('ejects an endpoint after consecutive failures, and lets it back after its time', () => {
    const clock = fakeClock();
    const cluster = clusterOf(localities({ ports: [1, 2] }), { outlier_detection: outliers }, clock);
    const bad = choose(cluster, 1);
    bad.onResponse(503);
    bad.onResponse(200);
    for (let index = 0; index < 2; index++) bad.onResponse(503);
    expect(spread(cluster, 10)).toEqual({ 1: 5, 2: 5 });
    bad.onFailure();
    expect(spread(cluster, 10)).toEqual({ 2: 10 });
    clock.advance(29_000);
    expect(spread(cluster, 10)).toEqual({ 2: 10 });
    clock.advance(15_000);
    expect(spread(cluster, 10)).toEqual({ 1: 5, 2: 5 });
  });

  it('ejects no more than the given share', () => {
    const cluster = clusterOf(localities({ ports: [1, 2, 3, 4] }), { outlier_detection: outliers });
    for (const port of [1, 2, 3]) for (let index = 0; index < 3; index++) choose(cluster, port).onResponse(500);
    expect(Object.keys(spread(cluster, 100))).toEqual(['3', '4']);
  });

  it('counts gateway errors and local failures apart when asked to', () => {
    const split = {
      ...outliers,
      consecutive_5xx: 100,
      consecutive_gateway_failure: 2,
      enforcing_consecutive_gateway_failure: 100,
      split_external_local_origin_errors: true,
      consecutive_local_origin_failure: 2,
    };
    const cluster = clusterOf(localities({ ports: [1, 2, 3, 4] }), { outlier_detection: split });
    for (let index = 0; index < 2; index++) {
      choose(cluster, 1).onResponse(502);
      choose(cluster, 2).onFailure();
      choose(cluster, 3).onResponse(500);
    }
    expect(Object.keys(spread(cluster, 100))).toEqual(['3', '4']);
  });
});
