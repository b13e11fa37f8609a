import type { DownstreamConnection } from '../contract.ts';
import { record, StatHistogram } from '../observe/stat-histogram.ts';
import { type Counts, defineStats, type StatRegistry } from '../observe/stat-registry.ts';

/** What is counted for each connection manager. Source: envoy docs, "HTTP connection manager statistics" (1.40). */
const HCM_STATS = defineStats({
  counters: {
    downstreamCxTotal: 'downstream_cx_total',
    downstreamCxHttp1Total: 'downstream_cx_http1_total',
    downstreamCxHttp2Total: 'downstream_cx_http2_total',
    downstreamCxSslTotal: 'downstream_cx_ssl_total',
    downstreamCxDestroy: 'downstream_cx_destroy',
    downstreamCxRxBytesTotal: 'downstream_cx_rx_bytes_total',
    downstreamCxTxBytesTotal: 'downstream_cx_tx_bytes_total',
    downstreamCxProtocolError: 'downstream_cx_protocol_error',
    downstreamCxMaxDurationReached: 'downstream_cx_max_duration_reached',
    downstreamRqTotal: 'downstream_rq_total',
    downstreamRqHttp1Total: 'downstream_rq_http1_total',
    downstreamRqHttp2Total: 'downstream_rq_http2_total',
    downstreamRqCompleted: 'downstream_rq_completed',
    downstreamRqRxReset: 'downstream_rq_rx_reset',
    downstreamRqTooManyPrematureResets: 'downstream_rq_too_many_premature_resets',
    downstreamRqTimeout: 'downstream_rq_timeout',
    downstreamRqIdleTimeout: 'downstream_rq_idle_timeout',
    downstreamRq1xx: 'downstream_rq_1xx',
    downstreamRq2xx: 'downstream_rq_2xx',
    downstreamRq3xx: 'downstream_rq_3xx',
    downstreamRq4xx: 'downstream_rq_4xx',
    downstreamRq5xx: 'downstream_rq_5xx',
    downstreamCxUpgradesTotal: 'downstream_cx_upgrades_total',
    downstreamRqTxReset: 'downstream_rq_tx_reset',
    rqTotal: 'rq_total',
    rqDirectResponse: 'rq_direct_response',
    rqRedirect: 'rq_redirect',
    noRoute: 'no_route',
    noCluster: 'no_cluster',
  },
  gauges: {
    downstreamCxActive: 'downstream_cx_active',
    downstreamCxHttp1Active: 'downstream_cx_http1_active',
    downstreamCxHttp2Active: 'downstream_cx_http2_active',
    downstreamCxUpgradesActive: 'downstream_cx_upgrades_active',
    downstreamCxSslActive: 'downstream_cx_ssl_active',
    downstreamRqActive: 'downstream_rq_active',
  },
  histograms: {
    downstreamRqTime: 'downstream_rq_time',
    downstreamCxLengthMs: 'downstream_cx_length_ms',
  },
});

/** Counters under Envoy's names (http.<stat_prefix>.downstream_…); plain numbers, read when scraped. */
export type HcmStats = Counts<typeof HCM_STATS>;

/** Connection managers with the same stat_prefix count together, as in Envoy. */
export function createHcmStats(registry: StatRegistry, statPrefix: string): HcmStats {
  return registry.counts(HCM_STATS, { prefix: `http.${statPrefix}`, tags: [['envoy.http_conn_manager_prefix', statPrefix]] });
}

export function countResponse(stats: HcmStats, status: number): void {
  stats.downstreamRqCompleted++;
  if (status < 200) stats.downstreamRq1xx++;
  else if (status < 300) stats.downstreamRq2xx++;
  else if (status < 400) stats.downstreamRq3xx++;
  else if (status < 500) stats.downstreamRq4xx++;
  else stats.downstreamRq5xx++;
}

export function countUpgrade(stats: HcmStats): void {
  stats.downstreamCxUpgradesTotal++;
  stats.downstreamCxUpgradesActive++;
}

/** By the field's name and not by {@link record}, whose look-up by a name that varies every request would pay for. */
export function recordRequestTime(stats: HcmStats, durationMs: number): void {
  stats.downstreamRqTime ??= new StatHistogram();
  stats.downstreamRqTime.record(Math.floor(durationMs));
}

export function countConnection(stats: HcmStats, { tls }: DownstreamConnection): void {
  stats.downstreamCxTotal++;
  stats.downstreamCxActive++;
  if (tls === undefined) return;
  stats.downstreamCxSslTotal++;
  stats.downstreamCxSslActive++;
}

export function countConnectionEnd(stats: HcmStats, { tls }: DownstreamConnection, lengthMs: number): void {
  stats.downstreamCxDestroy++;
  stats.downstreamCxActive--;
  if (tls !== undefined) stats.downstreamCxSslActive--;
  record(stats, 'downstreamCxLengthMs', lengthMs);
}
