import type { RouteTable } from '@mizzen/matching';
import type { MetricRegistry } from '@mizzen/telemetry';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { localZoneOf } from './bootstrap.ts';
import { ClusterManager } from './cluster/cluster-manager.ts';
import { systemResolve, systemResolveWithTtl } from './cluster/dns.ts';
import type { ProxyContext } from './contract.ts';
import type { InheritedListeners } from './hot-restart/inherited-listeners.ts';
import { routeFilterConfigs } from './http/http-filters.ts';
import { wheelOf } from './http/timer-wheel.ts';
import { ConnectionLimits, maxConnectionsOf } from './listener/connection-limits.ts';
import { ListenerManager } from './listener/listener-manager.ts';
import type { ProxyOptions } from './mesh-proxy.ts';
import type { LocalNode } from './node-description.ts';
import { AccessLogs } from './observe/access-logs.ts';
import { createObserverFactory } from './observe/stream-observers.ts';
import { TelemetryExporters } from './observe/telemetry-exporters.ts';
import { SecretStore } from './tls/secret-store.ts';
import { type EndpointNotice, ProcessShare } from './workers/process-share.ts';
import { ProxyResources } from './xds/proxy-resources.ts';

export interface ProxyParts {
  readonly accessLogs: AccessLogs;
  readonly exporters: TelemetryExporters;
  readonly secrets: SecretStore;
  readonly listeners: ListenerManager;
  readonly clusters: ClusterManager;
  readonly resources: ProxyResources;
}

export interface CompositionOptions extends Pick<ProxyOptions, 'accessLogStdout' | 'furtherLoop' | 'resolve' | 'workers'> {
  readonly bootstrap: Bootstrap;
  readonly node: LocalNode;
  readonly inherited: InheritedListeners;
  /** Something was warmed, or configuration came. */
  readonly onUpdate: () => void;
}

/** What all event loops of the process count together; undefined where there is one. `onDecided` tells the others of an endpoint. */
export function shareProcess(
  { logger, workers, furtherLoop }: Pick<ProxyOptions, 'logger' | 'workers' | 'furtherLoop'>,
  onDecided: (notice: EndpointNotice) => void,
): ProcessShare | undefined {
  if (workers === undefined && furtherLoop === undefined) return undefined;
  return new ProcessShare({ logger, memory: furtherLoop?.memory, onDecided, onOutlier: (notice) => furtherLoop?.reportOutlier(notice) });
}

/** The composition, in the order in which a connection meets the parts: listener, filter chain and TLS, route, cluster, endpoint. */
export function composeProxy(proxy: ProxyContext & { readonly registry: MetricRegistry }, options: CompositionOptions): ProxyParts {
  const { clock, random, logger, registry, runtimeValues: runtime, share } = proxy;
  const { bootstrap, node, furtherLoop, resolve, workers } = options;
  const onChange = (): void => resources.changed();
  const calls = { context: proxy, wheel: wheelOf(clock) };
  const secrets = new SecretStore();
  const routeTables = new Map<string, RouteTable>();
  const stdout = options.accessLogStdout;
  const accessLogs = new AccessLogs({ clock, random, stdout, runtime, collectors: { calls, node: bootstrap.node } });
  const exporters = new TelemetryExporters({
    clock,
    logger,
    registry,
    bootstrap,
    localPeer: proxy.localPeer,
    accessLogs,
    addressOf: (name) => clusters.firstAddress(name),
  });
  const listeners = new ListenerManager({
    clock,
    logger,
    proxy,
    secrets,
    routeTables,
    limits: new ConnectionLimits({ maxConnections: maxConnectionsOf(bootstrap.overloadManager), runtime, share }),
    sharesPorts: furtherLoop === undefined ? (workers === undefined ? undefined : 'first') : 'further',
    inherited: options.inherited,
    observers: createObserverFactory({
      clock,
      random,
      logger,
      registry,
      accessLogs,
      runtime,
      calls,
      local: { ...node, nodeCluster: proxy.nodeCluster },
      spanSink: (name) => exporters.toCluster(name),
      exporters: exporters.spans,
    }),
    onChange,
  });
  const clusters = new ClusterManager({
    clock,
    random,
    logger,
    resolve: resolve ?? systemResolve,
    ...(resolve === undefined && { resolveWithTtl: systemResolveWithTtl }),
    share,
    localZone: localZoneOf(bootstrap),
    stats: proxy.stats,
    secrets,
    onChange,
  });
  const resources = new ProxyResources({
    clock,
    logger,
    clusters,
    listeners,
    secrets,
    routeTables,
    filterConfigs: routeFilterConfigs(proxy),
    share,
    onChange: options.onUpdate,
  });
  secrets.watch(onChange);
  return { accessLogs, exporters, secrets, listeners, clusters, resources };
}
