import { StatHistogram } from './stat-histogram.ts';
import { type Counts, defineStats, zeroCounts } from './stat-registry.ts';

/** What is counted for each cluster, under Envoy's names (cluster.<name>.…). Source: envoy docs, "Cluster manager statistics" (1.40). */
export const CLUSTER_STATS = defineStats({
  counters: {
    upstreamCxTotal: 'upstream_cx_total',
    upstreamCxHttp1Total: 'upstream_cx_http1_total',
    upstreamCxHttp2Total: 'upstream_cx_http2_total',
    upstreamCxDestroy: 'upstream_cx_destroy',
    upstreamCxRxBytesTotal: 'upstream_cx_rx_bytes_total',
    upstreamCxTxBytesTotal: 'upstream_cx_tx_bytes_total',
    upstreamCxConnectFail: 'upstream_cx_connect_fail',
    upstreamCxConnectTimeout: 'upstream_cx_connect_timeout',
    upstreamCxNoneHealthy: 'upstream_cx_none_healthy',
    upstreamCxOverflow: 'upstream_cx_overflow',
    upstreamCxDestroyLocalWithActiveRq: 'upstream_cx_destroy_local_with_active_rq',
    upstreamCxDestroyRemoteWithActiveRq: 'upstream_cx_destroy_remote_with_active_rq',
    upstreamRqTotal: 'upstream_rq_total',
    upstreamRqPendingTotal: 'upstream_rq_pending_total',
    upstreamRqPendingOverflow: 'upstream_rq_pending_overflow',
    upstreamRqActiveOverflow: 'upstream_rq_active_overflow',
    upstreamRqCancelled: 'upstream_rq_cancelled',
    upstreamRqTimeout: 'upstream_rq_timeout',
    upstreamRqPerTryTimeout: 'upstream_rq_per_try_timeout',
    upstreamRqPerTryIdleTimeout: 'upstream_rq_per_try_idle_timeout',
    upstreamRqRetry: 'upstream_rq_retry',
    upstreamRqRetryBackoffExponential: 'upstream_rq_retry_backoff_exponential',
    upstreamRqRetryBackoffRatelimited: 'upstream_rq_retry_backoff_ratelimited',
    retryOrShadowAbandoned: 'retry_or_shadow_abandoned',
    upstreamInternalRedirectSucceededTotal: 'upstream_internal_redirect_succeeded_total',
    upstreamInternalRedirectFailedTotal: 'upstream_internal_redirect_failed_total',
    upstreamRqRetrySuccess: 'upstream_rq_retry_success',
    upstreamRqRetryOverflow: 'upstream_rq_retry_overflow',
    upstreamRqRetryLimitExceeded: 'upstream_rq_retry_limit_exceeded',
    upstreamRqRxReset: 'upstream_rq_rx_reset',
    upstreamRqTxReset: 'upstream_rq_tx_reset',
    upstreamRqCompleted: 'upstream_rq_completed',
    upstreamRq1xx: 'upstream_rq_1xx',
    upstreamRq2xx: 'upstream_rq_2xx',
    upstreamRq3xx: 'upstream_rq_3xx',
    upstreamRq4xx: 'upstream_rq_4xx',
    upstreamRq5xx: 'upstream_rq_5xx',
    upstreamRqDropOverload: 'upstream_rq_drop_overload',
    membershipChange: 'membership_change',
    lbHealthyPanic: 'lb_healthy_panic',
    lbRecalculateZoneStructures: 'lb_recalculate_zone_structures',
    lbLocalClusterNotOk: 'lb_local_cluster_not_ok',
    lbZoneClusterTooSmall: 'lb_zone_cluster_too_small',
    lbZoneRoutingAllDirectly: 'lb_zone_routing_all_directly',
    lbZoneRoutingSampled: 'lb_zone_routing_sampled',
    lbZoneRoutingCrossZone: 'lb_zone_routing_cross_zone',
    lbZoneNoCapacityLeft: 'lb_zone_no_capacity_left',
    lbSubsetsSelected: 'lb_subsets_selected',
    lbSubsetsFallback: 'lb_subsets_fallback',
    lbSubsetsFallbackPanic: 'lb_subsets_fallback_panic',
  },
  gauges: {
    upstreamCxActive: 'upstream_cx_active',
    upstreamRqActive: 'upstream_rq_active',
    upstreamRqPendingActive: 'upstream_rq_pending_active',
  },
  histograms: {
    upstreamRqTime: 'upstream_rq_time',
    upstreamCxConnectMs: 'upstream_cx_connect_ms',
    upstreamCxLengthMs: 'upstream_cx_length_ms',
  },
});

/** The numbers of one cluster, and how often each status came (`upstream_rq_200`), from the first answer on. */
export type ClusterStats = Counts<typeof CLUSTER_STATS> & { responseCodes: Map<number, number> | undefined };

export function createClusterStats(): ClusterStats {
  return Object.assign(zeroCounts(CLUSTER_STATS), { responseCodes: undefined });
}

/** Counts what an upstream answered, per class and per code. Source: envoy Http::CodeStatsImpl::chargeResponseStat (1.40). */
export function countUpstreamResponse(stats: ClusterStats, status: number): void {
  stats.upstreamRqCompleted++;
  if (status < 200) stats.upstreamRq1xx++;
  else if (status < 300) stats.upstreamRq2xx++;
  else if (status < 400) stats.upstreamRq3xx++;
  else if (status < 500) stats.upstreamRq4xx++;
  else stats.upstreamRq5xx++;
  stats.responseCodes ??= new Map();
  const codes = stats.responseCodes;
  codes.set(status, (codes.get(status) ?? 0) + 1);
}

/** How long an upstream took for a whole answer. By the field's name, as every request does it. */
export function recordUpstreamTime(stats: ClusterStats, durationMs: number): void {
  stats.upstreamRqTime ??= new StatHistogram();
  stats.upstreamRqTime.record(Math.floor(durationMs));
}
