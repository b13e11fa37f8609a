import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { type Clock, type Random, silentLogger } from '@mizzen/core';
import { xdsRegistry } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { LoadBalancerContext } from '../contract.ts';
import { StatRegistry } from '../observe/stat-registry.ts';
import { SecretStore } from '../tls/secret-store.ts';
import { LiveCluster } from './cluster.ts';
import { compileCluster } from './cluster-config.ts';
import { createClusterCounts } from './cluster-counts.ts';
import { type Resolve, systemResolve } from './dns.ts';
import { DnsCaches } from './dns-cache.ts';
import type { Endpoint } from './endpoint.ts';
import type { LocalZone } from './zone-routing.ts';

/** A request that asks for nothing. */
export const ANY: LoadBalancerContext = { hash: undefined, isExcluded: undefined, originalDestination: undefined, header: undefined };

export function newDnsCaches(clock: Clock, resolve: Resolve = systemResolve): DnsCaches {
  return new DnsCaches({ clock, random: Math.random, resolve, stats: new StatRegistry() });
}

/** A clock whose time is moved by the test. */
export function fakeClock(): Clock & { advance(ms: number): void } {
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

/** Endpoints 10.0.0.1:port, by locality. */
export function localities(
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

/** A live STATIC cluster. */
export function clusterOf(
  endpoints: JsonValue,
  more: Record<string, JsonValue> = {},
  clock: Clock = fakeClock(),
  random: Random = Math.random,
  zone?: LocalZone,
): LiveCluster {
  const message = fromJson(
    ClusterSchema,
    { name: 'a', type: 'STATIC', load_assignment: { cluster_name: 'a', endpoints }, ...more },
    { registry: xdsRegistry },
  );
  const config = compileCluster(create(ClusterSchema, message), new SecretStore());
  const cluster = new LiveCluster(config, {
    clock,
    random,
    logger: silentLogger,
    counts: createClusterCounts(),
    clusterNamed: () => undefined,
    dnsCaches: newDnsCaches(clock),
    zone,
  });
  if (config.discovery.kind === 'static') cluster.setEndpoints(config.discovery.assignment);
  return cluster;
}

export function portOf(endpoint: Endpoint | undefined): number {
  return endpoint?.address.kind === 'ip' ? endpoint.address.port : 0;
}

/** How often each port is chosen. */
export function spread(cluster: LiveCluster, count: number, context: LoadBalancerContext = ANY): Record<number, number> {
  const counts: Record<number, number> = {};
  for (let index = 0; index < count; index++) {
    const port = portOf(cluster.chooseEndpoint(context));
    counts[port] = (counts[port] ?? 0) + 1;
  }
  return counts;
}

/** The endpoint of a port; throws where there is none. */
export function endpointAt(cluster: LiveCluster, port: number): Endpoint {
  const found = cluster.endpoints().find((endpoint) => portOf(endpoint) === port);
  if (found === undefined) throw new Error(`no endpoint at port ${port}`);
  return found;
}

/** Numbers that look random and are the same in each run. */
export function seededRandom(seed = 1): Random {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
