import { type Clock, errorMessage, joinHostPort, type Logger, type Random, type Timer, Watchable } from '@mizzen/core';
import { ConfigError } from '../config/config-error.ts';
import type { DnsHosts } from '../contract.ts';
import type { StatRegistry } from '../observe/stat-registry.ts';
import type { EndpointNotice, OutlierNotice, ProcessShare } from '../workers/process-share.ts';
import { SharedActiveCounts } from './active-counts.ts';
import { type AssignmentConfig, NO_ENDPOINTS } from './assignment.ts';
import { LiveCluster } from './cluster.ts';
import type { ClusterConfig } from './cluster-config.ts';
import { type ClusterCounts, createClusterCounts } from './cluster-counts.ts';
import { ClusterPeers } from './cluster-peers.ts';
import { DnsDiscovery, type Resolve, type ResolveWithTtl } from './dns.ts';
import { DnsCaches } from './dns-cache.ts';
import type { LocalZone } from './zone-routing.ts';

// Envoy's initial_fetch_timeout: after it a cluster is used although its endpoints never came. Source: envoy docs, ConfigSource.
const WARMING_TIMEOUT_MS = 15_000;

export interface ClusterManagerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly resolve: Resolve;
  readonly resolveWithTtl?: ResolveWithTtl;
  readonly stats: StatRegistry;
  /** Called when a cluster was warmed or the set of EDS names may have changed. */
  readonly onChange: () => void;
  /** Where the process has further event loops. */
  readonly share?: ProcessShare | undefined;
  /** The cluster of proxies like this one, and where this one runs; undefined where requests need not stay in their zone. */
  readonly localZone?: { readonly clusterName: string; readonly locality: string | undefined } | undefined;
  /** Tells who uses which secrets, for the SDS subscription. */
  readonly secrets: { want(names: Iterable<string>): void; release(names: Iterable<string>): void };
}

interface Entry {
  /** In use; undefined while the first version is warming. */
  active: LiveCluster | undefined;
  warming: { readonly cluster: LiveCluster; readonly timeout: Timer } | undefined;
  discovery: DnsDiscovery | undefined;
  /** How many definitions it had: the same in all event loops, which are given the same ones. */
  generation: number;
}

/** All clusters by name. A new definition is warmed beside the old one and then takes its place. */
export class ClusterManager {
  readonly #options: ClusterManagerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #assignments = new Map<string, AssignmentConfig>();
  readonly #active = new Map<string, LiveCluster>();
  readonly #dnsCaches: DnsCaches;
  readonly #counts = new Map<string, ClusterCounts>();
  /** How many clusters wait for their first endpoints. */
  readonly warmingCount = new Watchable(0);

  constructor(options: ClusterManagerOptions) {
    this.#options = options;
    this.#dnsCaches = new DnsCaches(options);
  }

  get(name: string): LiveCluster | undefined {
    return this.#active.get(name);
  }

  all(): IterableIterator<LiveCluster> {
    return this.#active.values();
  }

  /** The names that dynamic forward proxies resolved, by the name of their cache. */
  dnsHosts(name: string): DnsHosts | undefined {
    return this.#dnsCaches.named(name);
  }

  warming(): readonly LiveCluster[] {
    return [...this.#entries.values()].flatMap((entry) => entry.warming?.cluster ?? []);
  }

  /** `host:port` of the first endpoint that a static or DNS cluster was given: for clients of the process's own (OTLP, ADS). */
  firstAddress(name: string): string | undefined {
    const entry = this.#entries.get(name);
    const discovery = (entry?.active ?? entry?.warming?.cluster)?.config.discovery;
    if (discovery?.kind !== 'static' && discovery?.kind !== 'dns') return undefined;
    const address = discovery.assignment.localities[0]?.endpoints[0]?.address;
    if (address?.kind === 'pipe') return `unix:${address.path}`;
    return address?.kind === 'ip' ? joinHostPort(address.host, address.port) : undefined;
  }

  /** What EDS must be asked for. */
  edsNames(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const { active, warming } of this.#entries.values()) {
      for (const cluster of [active, warming?.cluster])
        if (cluster?.config.discovery.kind === 'eds') names.add(cluster.config.discovery.serviceName);
    }
    return names;
  }

  upsert(config: ClusterConfig): void {
    const { share } = this.#options;
    const newCounts = (): ClusterCounts =>
      createClusterCounts(share?.acquire(`cluster|${config.name}`), () => share?.acquire(`cluster|${config.name}|high`));
    const counts = this.#counts.get(config.name) ?? newCounts();
    this.#counts.set(config.name, counts);
    const entry = this.#entries.get(config.name) ?? { active: undefined, warming: undefined, discovery: undefined, generation: 0 };
    entry.generation++;
    const peers = share && new ClusterPeers(share, { cluster: config.name, generation: entry.generation });
    const cluster = new LiveCluster(config, {
      ...this.#options,
      counts,
      peers,
      dnsCaches: this.#dnsCaches,
      zone: this.#zoneFor(config.name),
      clusterNamed: (name) => this.#active.get(name),
    });
    this.#entries.set(config.name, entry);
    this.#options.secrets.want(config.secretNames);
    this.#stopWarming(entry);
    entry.discovery?.close();
    entry.discovery = undefined;
    const timeout = this.#options.clock.after(WARMING_TIMEOUT_MS, () => {
      this.#options.logger.warn({ cluster: config.name }, 'cluster is used although its endpoints have not arrived');
      this.#activate(entry, cluster);
    });
    entry.warming = { cluster, timeout };
    this.#discover(entry, cluster);
    this.#update();
  }

  /** The local proxies themselves are used without regard to zones. */
  #zoneFor(name: string): LocalZone | undefined {
    const { localZone } = this.#options;
    if (localZone === undefined || localZone.clusterName === name) return undefined;
    return { locality: localZone.locality, proxies: () => this.#active.get(localZone.clusterName) };
  }

  #discover(entry: Entry, cluster: LiveCluster): void {
    const { discovery } = cluster.config;
    if (discovery.kind === 'originalDestination' || discovery.kind === 'aggregate' || discovery.kind === 'dynamicForwardProxy')
      this.#activate(entry, cluster);
    else if (discovery.kind === 'static') this.#setEndpoints(entry, cluster, discovery.assignment);
    else if (discovery.kind === 'eds') {
      const assignment = this.#assignments.get(discovery.serviceName);
      if (assignment !== undefined) this.#setEndpoints(entry, cluster, assignment);
    } else {
      entry.discovery = new DnsDiscovery({
        ...discovery,
        ...this.#options,
        onAssignment: (assignment) => this.#setEndpoints(entry, cluster, assignment),
      });
      entry.discovery.start();
    }
  }

  remove(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    this.#active.delete(name);
    const counts = this.#counts.get(name);
    const active = counts?.hasHigh === true ? [counts.active, counts.activeHigh] : [counts?.active];
    this.#counts.delete(name);
    this.#stopWarming(entry);
    entry.discovery?.close();
    if (entry.active !== undefined) this.#retire(entry.active);
    for (const each of active) if (each instanceof SharedActiveCounts) each.release();
    this.#update();
  }

  /** EDS. An assignment without endpoints counts: the cluster then has none. */
  setAssignment(serviceName: string, assignment: AssignmentConfig): void {
    this.#assignments.set(serviceName, assignment);
    for (const entry of this.#entries.values()) {
      for (const cluster of [entry.active, entry.warming?.cluster]) {
        const discovery = cluster?.config.discovery;
        if (cluster !== undefined && discovery?.kind === 'eds' && discovery.serviceName === serviceName)
          this.#setEndpoints(entry, cluster, assignment);
      }
    }
    this.#update();
  }

  /** The server says that there is no such assignment: the cluster has no endpoints. */
  removeAssignment(serviceName: string): void {
    if (!this.#assignments.has(serviceName)) return;
    this.setAssignment(serviceName, NO_ENDPOINTS);
    this.#assignments.delete(serviceName);
  }

  /** The first event loop has decided about an endpoint. */
  follow({ cluster, generation, endpoint }: EndpointNotice): void {
    this.#definition(cluster, generation)?.follow(endpoint);
  }

  /** Another event loop saw an endpoint fail. */
  onOutlierReported({ cluster, generation, endpoint, reason }: OutlierNotice): void {
    this.#definition(cluster, generation)?.onOutlierReported(endpoint, reason);
  }

  #definition(name: string, generation: number): LiveCluster | undefined {
    const entry = this.#entries.get(name);
    return [entry?.active, entry?.warming?.cluster].find((cluster) => cluster?.peers?.generation === generation);
  }

  close(): void {
    for (const name of [...this.#entries.keys()]) this.remove(name);
  }

  #setEndpoints(entry: Entry, cluster: LiveCluster, assignment: AssignmentConfig): void {
    try {
      if (cluster.name === this.#options.localZone?.clusterName) refusePriorities(assignment);
      cluster.setEndpoints(assignment);
    } catch (thrown) {
      this.#options.logger.error({ cluster: cluster.name, reason: errorMessage(thrown) }, 'endpoints cannot be used');
      return;
    }
    if (entry.warming?.cluster !== cluster) return;
    // Endpoints are known to be well before they are used.
    if (cluster.healthChecker === undefined) this.#activate(entry, cluster);
    else
      cluster.healthChecker.whenChecked(() => {
        if (entry.warming?.cluster === cluster) this.#activate(entry, cluster);
      });
  }

  #activate(entry: Entry, cluster: LiveCluster): void {
    const before = entry.active;
    entry.warming?.timeout.cancel();
    entry.warming = undefined;
    entry.active = cluster;
    this.#active.set(cluster.name, cluster);
    if (before !== undefined && before !== cluster) this.#retire(before);
    this.#update();
  }

  #stopWarming(entry: Entry): void {
    if (entry.warming === undefined) return;
    entry.warming.timeout.cancel();
    this.#retire(entry.warming.cluster);
    entry.warming = undefined;
  }

  #retire(cluster: LiveCluster): void {
    this.#options.secrets.release(cluster.config.secretNames);
    cluster.close();
  }

  #update(): void {
    let warming = 0;
    for (const entry of this.#entries.values()) if (entry.warming !== undefined) warming++;
    this.warmingCount.set(warming);
    this.#options.onChange();
  }
}

/** Source: envoy BaseDynamicClusterImpl::validateEndpointsForZoneAwareRouting (1.40). */
function refusePriorities({ localities }: AssignmentConfig): void {
  if (localities.some(({ priority }) => priority > 0))
    throw new ConfigError('endpoints', 'of the cluster that cluster_manager.local_cluster_name names must all have priority 0');
}
