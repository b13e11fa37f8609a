import type { CompiledRoute, CompiledVirtualCluster } from '@mizzen/matching';
import { record } from '../observe/stat-histogram.ts';
import { type CountedCodes, type Counts, defineStats, type StatRegistry, type StatTag } from '../observe/stat-registry.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** What is counted for a route with a stat_prefix, and for a virtual cluster. Source: envoy docs, "Router statistics" (1.40). */
const ROUTE_STATS = defineStats({
  counters: {
    upstreamRqTotal: 'upstream_rq_total',
    upstreamRqCompleted: 'upstream_rq_completed',
    upstreamRqTimeout: 'upstream_rq_timeout',
    upstreamRqRetry: 'upstream_rq_retry',
    upstreamRqRetrySuccess: 'upstream_rq_retry_success',
    upstreamRqRetryOverflow: 'upstream_rq_retry_overflow',
    upstreamRqRetryLimitExceeded: 'upstream_rq_retry_limit_exceeded',
    upstreamRq2xx: 'upstream_rq_2xx',
    upstreamRq3xx: 'upstream_rq_3xx',
    upstreamRq4xx: 'upstream_rq_4xx',
    upstreamRq5xx: 'upstream_rq_5xx',
  },
  histograms: { upstreamRqTime: 'upstream_rq_time' },
});

export type RouteStats = Counts<typeof ROUTE_STATS> & CountedCodes;

const NONE: readonly RouteStats[] = [];
/** Held as long as the route table is, which keeps the registry's counts. */
const known = new WeakMap<CompiledRoute | CompiledVirtualCluster, RouteStats>();

/** Whatever counts the requests of this route beside their cluster; empty for most. Notes the virtual cluster. */
export function routeStats(route: CompiledRoute, info: HttpStreamInfo, registry: StatRegistry): readonly RouteStats[] {
  const { virtualHost } = route;
  const group = virtualHost.virtualClusterOf(info);
  if (group !== undefined && group.isCatchAll !== true) info.virtualClusterName = group.name;
  if (route.statPrefix === '' && group === undefined) return NONE;
  const host: StatTag = ['envoy.virtual_host', virtualHost.name];
  const stats: RouteStats[] = [];
  if (route.statPrefix !== '')
    stats.push(
      countsOf(route, registry, {
        prefix: `vhost.${virtualHost.name}.route.${route.statPrefix}`,
        tags: [host, ['envoy.route', route.statPrefix]],
      }),
    );
  if (group !== undefined)
    stats.push(
      countsOf(group, registry, {
        prefix: `vhost.${virtualHost.name}.vcluster.${group.name}`,
        tags: [host, ['envoy.virtual_cluster', group.name]],
      }),
    );
  return stats;
}

function countsOf(
  key: CompiledRoute | CompiledVirtualCluster,
  registry: StatRegistry,
  scope: { readonly prefix: string; readonly tags: readonly StatTag[] },
): RouteStats {
  let stats = known.get(key);
  if (stats === undefined) {
    stats = registry.counts(ROUTE_STATS, scope);
    known.set(key, stats);
  }
  return stats;
}

export function countAnswer(stats: RouteStats, status: number): void {
  stats.upstreamRqCompleted++;
  if (status < 300) stats.upstreamRq2xx++;
  else if (status < 400) stats.upstreamRq3xx++;
  else if (status < 500) stats.upstreamRq4xx++;
  else stats.upstreamRq5xx++;
  stats.responseCodes ??= new Map();
  stats.responseCodes.set(status, (stats.responseCodes.get(status) ?? 0) + 1);
}

/** How long the upstream took for its whole answer. */
export function recordAnswerTime(stats: readonly RouteStats[], durationMs: number): void {
  for (const each of stats) record(each, 'upstreamRqTime', durationMs);
}
