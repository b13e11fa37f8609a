import { type Clock, errorMessage, joinHostPort, type Logger, type Random, type Timer, Watchable } from '@mizzen/core';
import { type AssignmentConfig, NO_ENDPOINTS } from './assignment.ts';
import { type ClusterCounts, createClusterCounts, LiveCluster } from './cluster.ts';
import type { ClusterConfig } from './cluster-config.ts';
import { DnsDiscovery, type Resolve, type ResolveWithTtl } from './dns.ts';

// Envoy's initial_fetch_timeout: after it a cluster is used although its endpoints never came. Source: envoy docs, ConfigSource.
const WARMING_TIMEOUT_MS = 15_000;

export interface ClusterManagerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly resolve: Resolve;
  readonly resolveWithTtl?: ResolveWithTtl;
  /** Called when a cluster was warmed or the set of EDS names may have changed. */
  readonly onChange: () => void;
  /** Tells who uses which secrets, for the SDS subscription. */
  readonly secrets: { want(names: Iterable<string>): void; release(names: Iterable<string>): void };
}

interface Entry {
  /** In use; undefined while the first version is warming. */
  active: LiveCluster | undefined;
  warming: { readonly cluster: LiveCluster; readonly timeout: Timer } | undefined;
  discovery: DnsDiscovery | undefined;
}

/** All clusters by name. A new definition is warmed beside the old one and then takes its place. */
export class ClusterManager {
  readonly #options: ClusterManagerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #assignments = new Map<string, AssignmentConfig>();
  readonly #active = new Map<string, LiveCluster>();
  readonly #counts = new Map<string, ClusterCounts>();
  /** How many clusters wait for their first endpoints. */
  readonly warmingCount = new Watchable(0);

  constructor(options: ClusterManagerOptions) {
    this.#options = options;
  }

  get(name: string): LiveCluster | undefined {
    return this.#active.get(name);
  }

  all(): IterableIterator<LiveCluster> {
    return this.#active.values();
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
    const counts = this.#counts.get(config.name) ?? createClusterCounts();
    this.#counts.set(config.name, counts);
    const cluster = new LiveCluster(config, { ...this.#options, counts, clusterNamed: (name) => this.#active.get(name) });
    const entry = this.#entries.get(config.name) ?? { active: undefined, warming: undefined, discovery: undefined };
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

  #discover(entry: Entry, cluster: LiveCluster): void {
    const { discovery } = cluster.config;
    if (discovery.kind === 'originalDestination' || discovery.kind === 'aggregate') this.#activate(entry, cluster);
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
    this.#counts.delete(name);
    this.#stopWarming(entry);
    entry.discovery?.close();
    if (entry.active !== undefined) this.#retire(entry.active);
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

  close(): void {
    for (const name of [...this.#entries.keys()]) this.remove(name);
  }

  #setEndpoints(entry: Entry, cluster: LiveCluster, assignment: AssignmentConfig): void {
    try {
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
