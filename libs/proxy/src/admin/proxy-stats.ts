import type { ClusterManager } from '../cluster/cluster-manager.ts';
import { clusterScopes } from '../cluster/cluster-scopes.ts';
import { addressText } from '../config/values.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import type { AccessLogs } from '../observe/access-logs.ts';
import { CLUSTER_STATS } from '../observe/cluster-stats.ts';
import { LISTENER_STATS, LISTENER_TLS_STATS } from '../observe/listener-stats.ts';
import { codeCounters, defineStats, type StatNames, type StatScope, type StatTag } from '../observe/stat-registry.ts';
import { daysUntilExpiry } from '../tls/certificate-expiry.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import type { ProxyResources } from '../xds/proxy-resources.ts';

export interface StatsSources {
  readonly clusters: ClusterManager;
  readonly listeners: ListenerManager;
  readonly resources: ProxyResources;
  readonly accessLogs: AccessLogs;
  readonly secrets: SecretStore;
  readonly state: () => string;
  /** How many event loops the process has. */
  readonly concurrency: number;
  readonly restart: { readonly epoch: number; readonly generation: number; readonly firstStartedMs?: number | undefined };
  /** Of the process before this one, while it drains. */
  readonly parentConnections: number;
}

const CLUSTER_MANAGER_STATS = defineStats({ gauges: { active: 'active_clusters', warming: 'warming_clusters' } });
const LISTENER_MANAGER_STATS = defineStats({
  gauges: {
    active: 'total_listeners_active',
    warming: 'total_listeners_warming',
    draining: 'total_listeners_draining',
    workersStarted: 'workers_started',
  },
});
const SERVER_STATS = defineStats({
  gauges: {
    live: 'live',
    state: 'state',
    uptime: 'uptime',
    daysUntilFirstCertExpiring: 'days_until_first_cert_expiring',
    concurrency: 'concurrency',
    memoryAllocated: 'memory_allocated',
    memoryHeapSize: 'memory_heap_size',
    memoryPhysicalSize: 'memory_physical_size',
    totalConnections: 'total_connections',
    parentConnections: 'parent_connections',
    hotRestartEpoch: 'hot_restart_epoch',
    hotRestartGeneration: 'hot_restart_generation',
  },
});
const ACCESS_LOG_STATS = defineStats({ counters: { droppedLines: 'dropped_lines' } });

/** Clusters, listeners and the server itself: what is enumerated when somebody looks. */
export function* proxyStatScopes(from: StatsSources): Generator<StatScope> {
  for (const cluster of from.clusters.all()) {
    const prefix = `cluster.${statName(cluster.observabilityName)}`;
    const tags: readonly StatTag[] = [['envoy.cluster_name', statName(cluster.observabilityName)]];
    const { stats } = cluster;
    yield {
      prefix,
      tags,
      names: CLUSTER_STATS,
      values: stats,
      ...(stats.responseCodes === undefined ? undefined : codeCounters(stats.responseCodes)),
    };
    for (const scope of clusterScopes(cluster)) yield { prefix, tags, ...scope };
  }
  yield* listenerScopes(from.listeners);
  const root = (prefix: string, names: StatNames, values: object): StatScope => ({ prefix, tags: [], names, values });
  yield root('cluster_manager', CLUSTER_MANAGER_STATS, {
    active: [...from.clusters.all()].length,
    warming: from.clusters.warmingCount.value,
  });
  const listeners = from.listeners.list();
  yield root('listener_manager', LISTENER_MANAGER_STATS, {
    active: listeners.filter((listener) => !listener.isWarming).length,
    warming: from.listeners.warmingCount,
    draining: from.listeners.drainingCount,
    workersStarted: from.state() === 'INITIALIZING' ? 0 : 1,
  });
  yield root('server', SERVER_STATS, serverValues(from));
  yield root('access_log', ACCESS_LOG_STATS, { droppedLines: from.accessLogs.droppedLines() });
}

function* listenerScopes(listeners: ListenerManager): Generator<StatScope> {
  for (const { name, live } of listeners.list()) {
    const { stats, address } = live;
    const shown = statName(live.version?.config.statPrefix || (address === undefined ? name : addressText(address)));
    const scope = { prefix: `listener.${shown}`, tags: [['envoy.listener_address', shown]] as const };
    yield { ...scope, names: LISTENER_STATS, values: stats };
    yield { ...scope, names: LISTENER_TLS_STATS, values: stats.ssl, more: stats.ssl.agreed, clearMore: () => stats.ssl.agreed.clear() };
  }
}

/** As Envoy writes a name into a statistic's name. Source: envoy Stats::Utility::sanitizeStatsName (1.40). */
function statName(name: string): string {
  return name.includes(':') ? name.replace(/:\/\/|:\/|:/g, '_') : name;
}

/** Of all processes that had these listeners one after the other, as Envoy counts it. */
function uptimeSeconds(firstStartedMs: number | undefined): number {
  return Math.floor(firstStartedMs === undefined ? process.uptime() : (Date.now() - firstStartedMs) / 1000);
}

function serverValues(from: StatsSources): object {
  const memory = process.memoryUsage();
  return {
    live: from.state() === 'LIVE' ? 1 : 0,
    state: { LIVE: 0, DRAINING: 1, INITIALIZING: 3 }[from.state()] ?? 2,
    uptime: uptimeSeconds(from.restart.firstStartedMs),
    daysUntilFirstCertExpiring: daysUntilExpiry(from.secrets, Date.now()),
    concurrency: from.concurrency,
    memoryAllocated: memory.heapUsed,
    memoryHeapSize: memory.heapTotal,
    memoryPhysicalSize: memory.rss,
    totalConnections: from.listeners.activeConnections({ inboundOnly: false }),
    parentConnections: from.parentConnections,
    hotRestartEpoch: from.restart.epoch,
    hotRestartGeneration: from.restart.generation,
  };
}
