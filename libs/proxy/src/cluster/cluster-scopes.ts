import { UPSTREAM_HTTP2_STATS } from '../http2/stats.ts';
import { defineStats, type StatScope } from '../observe/stat-registry.ts';
import { CIRCUIT_STATS, circuitValues, REMAINING_STATS } from './circuit-breakers.ts';
import type { LiveCluster } from './cluster.ts';
import { HEALTH_CHECK_STATS } from './health-checker.ts';
import { OUTLIER_STATS } from './outlier-detection.ts';

const MEMBERSHIP_STATS = defineStats({
  gauges: { total: 'membership_total', healthy: 'membership_healthy', degraded: 'membership_degraded', excluded: 'membership_excluded' },
});

/** What a cluster exports beside its own counts: `names` and `values` of scopes whose prefix and tags are the cluster's. */
export function* clusterScopes(cluster: LiveCluster): Generator<Pick<StatScope, 'names' | 'values'>> {
  const { outliers, healthChecker, limits, active, http2Stats } = cluster;
  yield { names: MEMBERSHIP_STATS, values: membership(cluster) };
  const { byDefault, high } = cluster.config.circuitBreakers;
  const circuit = circuitValues(limits, active);
  yield { names: CIRCUIT_STATS.byDefault, values: circuit };
  if (byDefault.tracksRemaining) yield { names: REMAINING_STATS.byDefault, values: circuit };
  const circuitOfHigh = circuitValues(high.limits, cluster.hasHighPriority ? cluster.highPriority.active : NOTHING_ACTIVE);
  yield { names: CIRCUIT_STATS.high, values: circuitOfHigh };
  if (high.tracksRemaining) yield { names: REMAINING_STATS.high, values: circuitOfHigh };
  if (http2Stats !== undefined) yield { names: UPSTREAM_HTTP2_STATS, values: http2Stats };
  if (outliers !== undefined) yield { names: OUTLIER_STATS, values: outliers.stats };
  if (healthChecker !== undefined) yield { names: HEALTH_CHECK_STATS, values: healthChecker.stats };
}

const NOTHING_ACTIVE = { connections: 0, pendingRequests: 0, requests: 0, retries: 0 };

function membership(cluster: LiveCluster): object {
  const counts = { total: 0, healthy: 0, degraded: 0, excluded: 0 };
  for (const endpoint of cluster.endpoints()) {
    counts.total++;
    if (endpoint.availability === 'healthy') counts.healthy++;
    else if (endpoint.availability === 'degraded') counts.degraded++;
    if (endpoint.isExcluded) counts.excluded++;
  }
  return counts;
}
