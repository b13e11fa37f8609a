import type { JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@mizzen/core';
import { StatRegistry } from '../observe/stat-registry.ts';
import type { LiveCluster } from './cluster.ts';
import { ClusterManager } from './cluster-manager.ts';
import { ANY, clusterOf, endpointAt, fakeClock, localities, seededRandom, spread } from './testing.ts';

/** `x: 3` stands for three endpoints of zone x, with ports from 1 on in the order given. */
function zones(sizes: Readonly<Record<string, number>>): JsonValue {
  let port = 0;
  return Object.entries(sizes).map(([zone, size]) => ({
    locality: { zone },
    lb_endpoints: Array.from({ length: size }, () => ({
      endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: ++port } } },
    })),
  }));
}

/** `at`: where the proxy runs; '' where it does not say. */
function upstreamOf(
  sizes: Readonly<Record<string, number>>,
  { local, at = '/x/', ...more }: { local: LiveCluster | undefined; at?: string } & Record<string, JsonValue | LiveCluster | undefined>,
): LiveCluster {
  return clusterOf(
    zones(sizes),
    { common_lb_config: { zone_aware_lb_config: { min_cluster_size: 1, ...more } } },
    fakeClock(),
    seededRandom(),
    {
      locality: at === '' ? undefined : at,
      proxies: () => local,
    },
  );
}

const COUNT = 10_000;

/** Requests by zone, in percent. */
function percentages(cluster: LiveCluster): Record<string, number> {
  const counts = spread(cluster, COUNT);
  return Object.fromEntries(
    cluster.localities.map(({ locality, endpoints }) => [
      locality.split('/')[1] ?? '',
      Math.round(
        endpoints.reduce((sum, { address }) => sum + (address.kind === 'ip' ? (counts[address.port] ?? 0) : 0), 0) / (COUNT / 100),
      ),
    ]),
  );
}

describe('zone-aware routing', () => {
  it('stays in the zone while that gives no zone more than its share', () => {
    const local = clusterOf(zones({ x: 1, y: 1 }));
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local }))).toEqual({ x: 100, y: 0 });
  });

  it.each([
    // Each zone's endpoints see the same load when all proxies do as this one: weights are numbers of proxies.
    [
      { x: 2, y: 1, z: 1 },
      { x: 1, y: 2, z: 1 },
    ],
    [
      { x: 3, y: 1, z: 0 },
      { x: 1, y: 1, z: 2 },
    ],
    [
      { x: 1, y: 5, z: 2 },
      { x: 3, y: 3, z: 3 },
    ],
  ])('gives every endpoint the same load over all proxies: %j to %j', (proxies, endpoints) => {
    const local = clusterOf(zones(proxies));
    const load: Record<string, number> = {};
    let total = 0;
    for (const [zone, count] of Object.entries(proxies)) {
      if (count === 0) continue;
      total += count;
      const seen = percentages(upstreamOf(endpoints, { local, at: `/${zone}/` }));
      for (const [to, percent] of Object.entries(seen)) load[to] = (load[to] ?? 0) + percent * count;
    }
    const size = Object.values(endpoints).reduce((sum, count) => sum + count, 0);
    for (const [zone, count] of Object.entries(endpoints))
      expect(Math.abs((load[zone] ?? 0) / total - (100 * count) / size)).toBeLessThan(3);
  });

  it('uses all zones alike where the own one is unknown, has no proxy, or there are few endpoints', () => {
    const local = clusterOf(zones({ x: 1, y: 1 }));
    const everywhere = { x: 50, y: 50 };
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local, at: '' }))).toEqual(everywhere);
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local, at: '/z/' }))).toEqual(everywhere);
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local: undefined }))).toEqual(everywhere);
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local, min_cluster_size: 7 }))).toEqual(everywhere);
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local: clusterOf(zones({ x: 2 })) }))).toEqual(everywhere);
  });

  it('follows the local proxies: their numbers and their health', () => {
    const local = clusterOf(zones({ x: 1, y: 3 }));
    const upstream = upstreamOf({ x: 1, y: 1 }, { local });
    expect(percentages(upstream)).toEqual({ x: 100, y: 0 });
    // The only one of zone y is ill: all load comes from x, whose endpoint can take a half.
    const gone = clusterOf([...(zones({ x: 1 }) as JsonValue[]), { locality: { zone: 'y' }, lb_endpoints: [{ ...unhealthyAt(9) }] }]);
    const { discovery } = gone.config;
    if (discovery.kind === 'static') local.setEndpoints(discovery.assignment);
    expect(percentages(upstream)).toEqual({ x: expect.closeTo(50, -1), y: expect.closeTo(50, -1) });
  });

  it('uses all zones while the local proxies are in panic, or fails where that is said', () => {
    const ill = clusterOf([
      { locality: { zone: 'x' }, lb_endpoints: [unhealthyAt(1)] },
      { locality: { zone: 'y' }, lb_endpoints: [unhealthyAt(2)] },
    ]);
    expect(percentages(upstreamOf({ x: 3, y: 3 }, { local: ill }))).toEqual({ x: 50, y: 50 });
    const failing = upstreamOf({ x: 3, y: 3 }, { local: ill, fail_traffic_on_panic: true });
    expect(failing.chooseEndpoint(ANY)).toBeUndefined();
    expect(failing.stats.lbLocalClusterNotOk).toBe(1);
  });

  it('counts unhealthy endpoints of the zone as none', () => {
    const local = clusterOf(zones({ x: 1, y: 1 }));
    const upstream = upstreamOf({ x: 1, y: 4 }, { local });
    endpointAt(upstream, 1).health = 'unhealthy';
    expect(percentages(upstream)).toEqual({ x: 0, y: 100 });
    expect(upstream.stats.lbZoneRoutingCrossZone).toBe(COUNT);
  });
});

describe('the cluster of local proxies', () => {
  function managerWith(local: LiveCluster, upstream: LiveCluster): { manager: ClusterManager; errors: unknown[] } {
    const errors: unknown[] = [];
    const manager = new ClusterManager({
      clock: fakeClock(),
      random: seededRandom(),
      logger: { ...silentLogger, error: (fields: unknown) => errors.push(fields) } as typeof silentLogger,
      resolve: () => Promise.resolve([]),
      stats: new StatRegistry(),
      onChange: () => undefined,
      secrets: { want: () => undefined, release: () => undefined },
      localZone: { clusterName: 'local', locality: '/x/' },
    });
    manager.upsert({ ...local.config, name: 'local' });
    manager.upsert({ ...upstream.config, name: 'upstream' });
    return { manager, errors };
  }

  it('is what others are measured by, and is used without regard to zones itself', () => {
    const { manager } = managerWith(clusterOf(zones({ x: 4, y: 4 })), clusterOf(zones({ x: 4, y: 4 })));
    const of = (name: string): Record<string, number> => percentages(manager.get(name) as LiveCluster);
    expect([of('upstream'), of('local')]).toEqual([
      { x: 100, y: 0 },
      { x: 50, y: 50 },
    ]);
    manager.close();
  });

  it('has one priority', () => {
    const { manager, errors } = managerWith(clusterOf(localities({ ports: [1], priority: 1 })), clusterOf(zones({ x: 1 })));
    expect(errors).toEqual([{ cluster: 'local', reason: expect.stringContaining('must all have priority 0') }]);
    manager.close();
  });
});

function unhealthyAt(port: number): Record<string, JsonValue> {
  return {
    health_status: 'UNHEALTHY',
    endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: port } } },
  };
}
