import type { ClusterManager } from '../cluster/cluster-manager.ts';
import { addressText } from '../config/values.ts';
import type { ClusterStats } from '../contract.ts';
import type { HcmStats } from '../http/hcm-stats.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import type { AccessLogs } from '../observe/access-logs.ts';
import type { ProxyResources } from '../xds/proxy-resources.ts';

export interface StatsSources {
  readonly clusters: ClusterManager;
  readonly listeners: ListenerManager;
  readonly resources: ProxyResources;
  readonly accessLogs: AccessLogs;
  readonly state: () => string;
}

/** One value under Envoy's name, with what Prometheus wants as labels. */
interface Stat {
  /** `cluster`, `listener`, `server`, … */
  readonly scope: string;
  /** The part between scope and name in the dotted form, a label in Prometheus. */
  readonly label: { readonly name: string; readonly value: string } | undefined;
  readonly name: string;
  readonly value: number;
  readonly isGauge: boolean;
}

const CLUSTER_STATS: readonly (readonly [keyof ClusterStats, string, 'gauge' | 'counter'])[] = [
  ['upstreamCxTotal', 'upstream_cx_total', 'counter'],
  ['upstreamCxActive', 'upstream_cx_active', 'gauge'],
  ['upstreamCxConnectFail', 'upstream_cx_connect_fail', 'counter'],
  ['upstreamCxConnectTimeout', 'upstream_cx_connect_timeout', 'counter'],
  ['upstreamCxOverflow', 'upstream_cx_overflow', 'counter'],
  ['upstreamCxDestroyLocalWithActiveRq', 'upstream_cx_destroy_local_with_active_rq', 'counter'],
  ['upstreamCxDestroyRemoteWithActiveRq', 'upstream_cx_destroy_remote_with_active_rq', 'counter'],
  ['upstreamRqTotal', 'upstream_rq_total', 'counter'],
  ['upstreamRqActive', 'upstream_rq_active', 'gauge'],
  ['upstreamRqPendingActive', 'upstream_rq_pending_active', 'gauge'],
  ['upstreamRqPendingOverflow', 'upstream_rq_pending_overflow', 'counter'],
  ['upstreamRqTimeout', 'upstream_rq_timeout', 'counter'],
  ['upstreamRqPerTryTimeout', 'upstream_rq_per_try_timeout', 'counter'],
  ['upstreamRqRetry', 'upstream_rq_retry', 'counter'],
  ['upstreamRqRetrySuccess', 'upstream_rq_retry_success', 'counter'],
  ['upstreamRqRetryOverflow', 'upstream_rq_retry_overflow', 'counter'],
  ['upstreamRqRetryLimitExceeded', 'upstream_rq_retry_limit_exceeded', 'counter'],
  ['upstreamRqRxReset', 'upstream_rq_rx_reset', 'counter'],
  ['upstreamRqTxReset', 'upstream_rq_tx_reset', 'counter'],
  ['upstreamRq2xx', 'upstream_rq_2xx', 'counter'],
  ['upstreamRq3xx', 'upstream_rq_3xx', 'counter'],
  ['upstreamRq4xx', 'upstream_rq_4xx', 'counter'],
  ['upstreamRq5xx', 'upstream_rq_5xx', 'counter'],
];

function* collect(from: StatsSources): Generator<Stat> {
  for (const cluster of from.clusters.all()) {
    const label = { name: 'cluster_name', value: cluster.observabilityName };
    for (const [field, name, kind] of CLUSTER_STATS)
      yield { scope: 'cluster', label, name, value: cluster.stats[field], isGauge: kind === 'gauge' };
    let total = 0;
    let healthy = 0;
    for (const locality of cluster.localities) {
      total += locality.endpoints.length;
      for (const endpoint of locality.endpoints) if (endpoint.isUsable) healthy++;
    }
    yield { scope: 'cluster', label, name: 'membership_total', value: total, isGauge: true };
    yield { scope: 'cluster', label, name: 'membership_healthy', value: healthy, isGauge: true };
    if (cluster.outliers !== undefined) {
      yield { scope: 'cluster', label, name: 'outlier_detection_ejections_active', value: cluster.outliers.ejectedCount, isGauge: true };
      yield {
        scope: 'cluster',
        label,
        name: 'outlier_detection_ejections_enforced_total',
        value: cluster.outliers.ejectionsTotal,
        isGauge: false,
      };
    }
  }
  for (const { name: listenerName, live } of from.listeners.list()) {
    const { stats, address } = live;
    const label = {
      name: 'listener_address',
      value: live.version?.config.statPrefix || (address === undefined ? listenerName : addressText(address)),
    };
    const values: readonly (readonly [string, number, boolean])[] = [
      ['downstream_cx_total', stats.downstreamCxTotal, false],
      ['downstream_cx_active', stats.downstreamCxActive, true],
      ['downstream_cx_destroy', stats.downstreamCxDestroy, false],
      ['downstream_pre_cx_timeout', stats.downstreamPreCxTimeout, false],
      ['no_filter_chain_match', stats.noFilterChainMatch, false],
      ['ssl_handshake', stats.ssl.handshake, false],
      ['ssl_connection_error', stats.ssl.connectionError, false],
      ['ssl_fail_verify_no_cert', stats.ssl.failVerifyNoCert, false],
      ['ssl_fail_verify_error', stats.ssl.failVerifyError, false],
      ['ssl_fail_verify_san', stats.ssl.failVerifySan, false],
    ];
    for (const [name, value, isGauge] of values) yield { scope: 'listener', label, name, value, isGauge };
  }
  yield* collectHttp(from.listeners.httpStats());
  const managers: readonly (readonly [string, string, number])[] = [
    ['cluster_manager', 'active_clusters', [...from.clusters.all()].length],
    ['cluster_manager', 'warming_clusters', from.clusters.warmingCount.value],
    ['listener_manager', 'total_listeners_active', from.listeners.list().filter((listener) => !listener.isWarming).length],
    ['listener_manager', 'total_listeners_warming', from.listeners.warmingCount],
    ['server', 'live', from.state() === 'LIVE' ? 1 : 0],
    ['server', 'state', { LIVE: 0, DRAINING: 1, INITIALIZING: 3 }[from.state()] ?? 2],
    ['server', 'uptime', Math.floor(process.uptime())],
    ['server', 'memory_allocated', process.memoryUsage.rss()],
    ['server', 'total_connections', from.listeners.activeConnections({ inboundOnly: false })],
    ['access_log', 'dropped_lines', from.accessLogs.droppedLines()],
  ];
  for (const [scope, name, value] of managers) yield { scope, label: undefined, name, value, isGauge: true };
}

const HTTP_STATS: readonly (readonly [Exclude<keyof HcmStats, 'statPrefix'>, string, 'gauge' | 'counter'])[] = [
  ['downstreamCxTotal', 'downstream_cx_total', 'counter'],
  ['downstreamCxActive', 'downstream_cx_active', 'gauge'],
  ['downstreamRqTotal', 'downstream_rq_total', 'counter'],
  ['downstreamRqActive', 'downstream_rq_active', 'gauge'],
  ['downstreamRqRxReset', 'downstream_rq_rx_reset', 'counter'],
  ['downstreamRqTimeout', 'downstream_rq_timeout', 'counter'],
  ['downstreamRqIdleTimeout', 'downstream_rq_idle_timeout', 'counter'],
  ['downstreamCxProtocolError', 'downstream_cx_protocol_error', 'counter'],
  ['downstreamRq1xx', 'downstream_rq_1xx', 'counter'],
  ['downstreamRq2xx', 'downstream_rq_2xx', 'counter'],
  ['downstreamRq3xx', 'downstream_rq_3xx', 'counter'],
  ['downstreamRq4xx', 'downstream_rq_4xx', 'counter'],
  ['downstreamRq5xx', 'downstream_rq_5xx', 'counter'],
  ['noRoute', 'no_route', 'counter'],
  ['faultDelaysInjected', 'fault_delays_injected', 'counter'],
  ['faultAbortsInjected', 'fault_aborts_injected', 'counter'],
];

/** HCMs with the same stat prefix count together, as in Envoy. */
function* collectHttp(all: readonly HcmStats[]): Generator<Stat> {
  for (const prefix of new Set(all.map((stats) => stats.statPrefix))) {
    const same = all.filter((stats) => stats.statPrefix === prefix);
    const label = { name: 'envoy_http_conn_manager_prefix', value: prefix };
    for (const [field, name, kind] of HTTP_STATS) {
      yield { scope: 'http', label, name, value: same.reduce((sum, stats) => sum + stats[field], 0), isGauge: kind === 'gauge' };
    }
  }
}

/** Names and values as `/stats` prints them: `cluster.<name>.upstream_rq_total`. Sorted. */
export function proxyStatsText(from: StatsSources): readonly (readonly [name: string, value: number])[] {
  const rows = [...collect(from)].map(({ scope, label, name, value }): readonly [string, number] => {
    // Envoy's dotted names group `ssl` and `outlier_detection` below the scope.
    const dotted = name.replace(/^(ssl|outlier_detection)_/, '$1.');
    return [label === undefined ? `${scope}.${dotted}` : `${scope}.${label.value}.${dotted}`, value];
  });
  return rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The same as Prometheus reads them: `envoy_cluster_upstream_rq_total{cluster_name="…"}`. */
export function exportProxyStats(from: StatsSources): string {
  const families = new Map<string, { readonly isGauge: boolean; lines: string }>();
  for (const { scope, label, name, value, isGauge } of collect(from)) {
    const metric = `envoy_${scope}_${name}`;
    const family = families.get(metric) ?? { isGauge, lines: '' };
    families.set(metric, family);
    family.lines += `${metric}${label === undefined ? '' : `{${label.name}="${escapeLabel(label.value)}"}`} ${value}\n`;
  }
  return [...families].map(([metric, { isGauge, lines }]) => `# TYPE ${metric} ${isGauge ? 'gauge' : 'counter'}\n${lines}`).join('');
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
