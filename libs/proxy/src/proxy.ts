import { toBinary } from '@bufbuild/protobuf';
import { type Clock, delay, type Logger, MizzenError, type Random, Watchable } from '@mizzen/core';
import { createMetricRegistry, encodePeerMetadata, type MetricRegistry, type PeerMetadata } from '@mizzen/telemetry';
import type { XdsConsumer, XdsRejection, XdsSubscription, XdsUpdate } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { type Secret, SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { AdminServer } from './admin/admin-server.ts';
import { proxyStatScopes } from './admin/proxy-stats.ts';
import { atBootstrap, checkBootstrap } from './bootstrap.ts';
import type { ClusterManager } from './cluster/cluster-manager.ts';
import { RuntimeValues } from './config/runtime-values.ts';
import type { DnsHosts, ListenerInfo, ProxyContext, SocketAddress } from './contract.ts';
import { ParentCounts, type ProcessCounts } from './hot-restart/carried-counts.ts';
import { HOT_RESTART_VERSION } from './hot-restart/hot-restart.ts';
import { InheritedListeners, type ListeningDescriptor } from './hot-restart/inherited-listeners.ts';
import { HeldClock } from './http/held-clock.ts';
import type { ListenerManager } from './listener/listener-manager.ts';
import type { MeshProxy, ProxyOptions } from './mesh-proxy.ts';
import { describeNode, statsSinkCluster } from './node-description.ts';
import type { AccessLogs } from './observe/access-logs.ts';
import { StatRegistry } from './observe/stat-registry.ts';
import { compileStatsPolicy } from './observe/stat-tags.ts';
import type { TelemetryExporters } from './observe/telemetry-exporters.ts';
import { composeProxy, shareProcess } from './proxy-parts.ts';
import { giveMemoryBack } from './system/give-memory-back.ts';
import { compileSecret, type SecretStore } from './tls/secret-store.ts';
import type { EndpointNotice, ProcessShare } from './workers/process-share.ts';
import { reportMetrics, reportStats } from './workers/reports.ts';
import { forWorkers, workerBootstrap } from './workers/shared-configuration.ts';
import { WorkerPool } from './workers/worker-pool.ts';
import type { ProxyResources } from './xds/proxy-resources.ts';
import { addStaticClusters, addStaticListeners, addStaticSecrets } from './xds/static-resources.ts';

/** Makes a proxy from an Envoy bootstrap. Does no I/O before `start`. Throws MIZZEN_BOOTSTRAP for what it cannot honour. */
export function createProxy(options: ProxyOptions): MeshProxy {
  checkBootstrap(options.bootstrap);
  return new LiveProxy(options);
}

const DEFAULT_DRAIN_MS = 5000;
const FIRST_PROCESS = { epoch: 0, generation: 1 };
const DRAIN_POLL_MS = 20;

/** The life of a proxy: its parts start, change, drain and end together, those of further event loops with them. */
class LiveProxy implements MeshProxy, ProxyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: MetricRegistry;
  readonly stats = new StatRegistry();
  readonly runtimeValues: RuntimeValues;
  readonly nodeCluster: string;
  readonly localPeer: { readonly nodeId: string; readonly metadataHeader: string; readonly metadata: PeerMetadata };
  readonly ready = new Watchable(false);
  readonly warmingCount = new Watchable(0);
  readonly share: ProcessShare | undefined;

  readonly #options: Omit<ProxyOptions, 'bootstrap'>;
  readonly #bootstrap: Bootstrap;
  readonly #listeners: ListenerManager;
  readonly #secrets: SecretStore;
  readonly #clusters: ClusterManager;
  readonly #resources: ProxyResources;
  readonly #accessLogs: AccessLogs;
  readonly #exporters: TelemetryExporters;
  readonly #admin: AdminServer;
  readonly #workers: WorkerPool | undefined;
  /** By event loop, this one first. */
  readonly #dealt: readonly (readonly ListeningDescriptor[])[];
  readonly #inherited: InheritedListeners;
  readonly #parent: ParentCounts;
  #isDraining = false;
  /** By /healthcheck/fail: health checks fail, and connections are asked to end with their exchange. */
  #isHealthCheckFailed = false;
  #isStarted = false;
  #closing: Promise<void> | undefined;
  #givingMemoryBack: { close(): void } | undefined;

  constructor(given: ProxyOptions) {
    // Closures below keep the options, but not the messages.
    const { bootstrap: message, ...options } = given;
    const bootstrap = { ...message };
    const node = describeNode(bootstrap.node);
    this.#options = options;
    this.#bootstrap = bootstrap;
    this.clock = new HeldClock(options.clock);
    this.random = options.random;
    this.logger = options.logger;
    this.registry = options.registry ?? createMetricRegistry();
    this.runtimeValues = atBootstrap('layered_runtime', () => new RuntimeValues(bootstrap.layeredRuntime));
    this.nodeCluster = bootstrap.node?.cluster ?? '';
    this.localPeer = { nodeId: node.nodeId, metadata: node.metadata, metadataHeader: encodePeerMetadata(node.metadata) };
    this.#dealt = InheritedListeners.deal(options.inherited ?? [], 1 + (options.workers?.count ?? 0));
    this.#inherited = new InheritedListeners(this.#dealt[0] ?? []);
    this.share = shareProcess(options, (notice) => this.#workers?.tell({ kind: 'endpoint', notice }));
    const parts = composeProxy(this, { ...options, bootstrap, node, inherited: this.#inherited, onUpdate: () => this.#update() });
    this.#accessLogs = parts.accessLogs;
    this.#exporters = parts.exporters;
    this.#secrets = parts.secrets;
    this.#listeners = parts.listeners;
    this.#clusters = parts.clusters;
    this.#resources = parts.resources;
    this.#admin = this.#createAdmin();
    this.#workers =
      options.workers &&
      new WorkerPool({
        ...options.workers,
        logger: this.logger,
        registry: this.registry,
        onOutlier: (notice) => this.#clusters.onOutlierReported(notice),
      });
    this.#parent = new ParentCounts(this.registry);
    this.#addStatSources();
  }

  #createAdmin(): AdminServer {
    const options = this.#options;
    const bootstrap = this.#bootstrap;
    return new AdminServer({
      bootstrap,
      clock: this.clock,
      logger: this.logger,
      version: options.version ?? 'dev',
      registry: this.registry,
      stats: this.stats,
      statsPolicy: atBootstrap('stats_config', () => compileStatsPolicy(bootstrap.statsConfig)),
      runtime: this.runtimeValues,
      resources: this.#resources,
      clusters: this.#clusters,
      listeners: this.#listeners,
      secrets: this.#secrets,
      accessLogs: { reopen: () => this.reopenAccessLogs() },
      hotRestartVersion: options.isReplaceable === true ? HOT_RESTART_VERSION : 'disabled',
      state: () => this.#state(),
      firstStartedMs: options.restart?.firstStartedMs,
      drain: (drainOptions) => void this.drain(drainOptions),
      stopAccepting: (stopOptions) => this.stopAccepting(stopOptions),
      collect: async () => this.#workers?.collect(),
      drainTimeMs: options.drainTimeMs ?? DEFAULT_DRAIN_MS,
      setHealthy: (isHealthy) => this.setHealthy(isHealthy),
      quit: () => options.onQuit?.(),
      tellOtherLoops: (path, query) => this.#workers?.tell({ kind: 'administer', path, query: String(query) }),
    });
  }

  #addStatSources(): void {
    this.stats.addSource(() => this.#workers?.scopes() ?? []);
    this.stats.addSource(() => this.#parent.scopes());
    this.stats.addSource(() =>
      proxyStatScopes({
        clusters: this.#clusters,
        listeners: this.#listeners,
        resources: this.#resources,
        accessLogs: this.#accessLogs,
        secrets: this.#secrets,
        state: () => this.#state(),
        concurrency: 1 + (this.#options.workers?.count ?? 0),
        restart: this.#options.restart ?? FIRST_PROCESS,
        parentConnections: this.#parent.activeConnections,
      }),
    );
  }

  async start(): Promise<void> {
    const { admin } = this.#bootstrap;
    addStaticSecrets(this.#resources, this.#bootstrap);
    addStaticClusters(this.#resources, this.#bootstrap);
    const sink = statsSinkCluster(this.#bootstrap);
    if (sink !== undefined && this.#exporters.toCluster(sink) === undefined) {
      throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: stats_sinks: there is no cluster ${sink} with an address`);
    }
    addStaticListeners(this.#resources, this.#bootstrap);
    const listeners = this.listenerAddresses();
    if (this.#workers !== undefined && this.share !== undefined) {
      const { drainTimeMs } = this.#options;
      const { buffer: memory } = this.share.memory;
      await this.#workers.start(
        { bootstrap: workerBootstrap(this.#bootstrap), addresses: listeners, drainTimeMs, logLevel: this.logger.level, memory },
        this.#dealt.slice(1),
        () => this.#update(),
      );
    }
    if (admin?.address !== undefined) await this.#admin.start(admin.address);
    // Static resources stand in their stores, encoded; the messages may go.
    delete this.#bootstrap.staticResources;
    this.#isStarted = true;
    this.#resources.changed();
  }

  apply(update: XdsUpdate): readonly XdsRejection[] {
    if (this.#workers === undefined) return this.#resources.apply(update);
    const before = this.#resources.namesOf(update.typeUrl);
    const rejections = this.#resources.apply(update);
    const after = new Set(this.#resources.namesOf(update.typeUrl));
    const removed = before.filter((name) => !after.has(name));
    this.#workers.tell({ kind: 'apply', update: forWorkers(update, { rejections, removed }) });
    return rejections;
  }

  subscriptions(onChange: (subscription: XdsSubscription) => void): ReturnType<XdsConsumer['subscriptions']> {
    return this.#resources.subscriptions(onChange);
  }

  setSecret(name: string, secret: Secret): void {
    this.#secrets.set(name, compileSecret(secret), { version: '', nowMs: this.clock.now() });
    this.#workers?.tell({ kind: 'secret', name, secret: toBinary(SecretSchema, secret) });
  }

  followEndpoint(notice: EndpointNotice): void {
    this.#clusters.follow(notice);
  }

  setHealthy(isHealthy: boolean): void {
    this.#isHealthCheckFailed = !isHealthy;
    this.#workers?.tell({ kind: 'set-healthy', isHealthy });
  }

  cluster(name: string): ReturnType<ProxyContext['cluster']> {
    return this.#clusters.get(name);
  }

  dnsHosts(name: string): DnsHosts | undefined {
    return this.#clusters.dnsHosts(name);
  }

  handToInternalListener(...args: Parameters<ProxyContext['handToInternalListener']>): boolean {
    return this.#listeners.handToInternalListener(...args);
  }

  /** Source: envoy DrainManagerImpl::drainClose (1.40). */
  isDraining(listener?: ListenerInfo): boolean {
    return this.#isDraining || (this.#isHealthCheckFailed && listener?.drainsOnModifyOnly !== true);
  }

  #state(): 'LIVE' | 'DRAINING' | 'INITIALIZING' {
    if (this.isDraining()) return 'DRAINING';
    return this.ready.value ? 'LIVE' : 'INITIALIZING';
  }

  async drain({ inboundOnly = false }: { readonly inboundOnly?: boolean } = {}): Promise<void> {
    if (!inboundOnly) this.#isDraining = true;
    this.#listeners.drain({ inboundOnly });
    this.#workers?.tell({ kind: 'drain', inboundOnly });
    for (;;) {
      await this.#workers?.collect();
      const left = this.#listeners.activeConnections({ inboundOnly }) + (this.#workers?.activeConnections ?? 0);
      if (left === 0 || this.#closing !== undefined) return;
      await delay(this.clock, DRAIN_POLL_MS);
    }
  }

  stopAccepting({ inboundOnly = false }: { readonly inboundOnly?: boolean } = {}): void {
    this.#listeners.stopAccepting({ inboundOnly });
    this.#workers?.tell({ kind: 'stop-accepting', inboundOnly });
  }

  listenerAddresses(): ReadonlyMap<string, SocketAddress> {
    return new Map(this.#listeners.list().flatMap(({ name, live }) => (live.address === undefined ? [] : [[name, live.address] as const])));
  }

  ownListeningDescriptors(): readonly ListeningDescriptor[] {
    return this.#listeners.listeningDescriptors();
  }

  async listeningDescriptors(): Promise<readonly ListeningDescriptor[]> {
    await this.#workers?.collect();
    return [...this.ownListeningDescriptors(), ...(this.#workers?.listeningDescriptors() ?? [])];
  }

  destroyConnections(): void {
    this.#listeners.destroyConnections();
    this.#workers?.tell({ kind: 'destroy-connections' });
  }

  reopenAccessLogs(): void {
    this.#accessLogs.reopen();
    this.#workers?.tell({ kind: 'reopen-access-logs' });
  }

  releaseAdmin(): Promise<void> {
    return this.#admin.close();
  }

  administer(path: string, query: string): void {
    this.#admin.repeat(path, new URLSearchParams(query));
  }

  reclaimAdmin(): Promise<void> {
    return this.#admin.reopen();
  }

  async readCounts(): Promise<ProcessCounts> {
    await this.#workers?.collect();
    return { activeConnections: this.activeConnections(), stats: reportStats(this.stats), metrics: reportMetrics(this.registry) };
  }

  addParentCounts(counts: ProcessCounts | undefined): void {
    if (counts === undefined) this.#parent.onEnd();
    else this.#parent.take(counts);
  }

  adminAddress(): SocketAddress | undefined {
    return this.#admin.address;
  }

  clusterAddress(clusterName: string): string | undefined {
    return this.#clusters.firstAddress(clusterName);
  }

  activeConnections(): number {
    return this.#listeners.activeConnections({ inboundOnly: false }) + (this.#workers?.activeConnections ?? 0);
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeInOrder();
    return this.#closing;
  }

  async #closeInOrder(): Promise<void> {
    this.#givingMemoryBack?.close();
    this.#isDraining = true;
    this.#listeners.drain({ inboundOnly: false });
    this.#listeners.stopAccepting({ inboundOnly: false });
    const workersGone = this.#workers?.close();
    const deadline = this.clock.monotonic() + (this.#options.drainTimeMs ?? DEFAULT_DRAIN_MS);
    while (this.#listeners.activeConnections({ inboundOnly: false }) > 0 && this.clock.monotonic() < deadline)
      await delay(this.clock, DRAIN_POLL_MS);
    await workersGone;
    this.#listeners.close();
    await this.#exporters.close();
    this.#clusters.close();
    await this.#admin.close();
  }

  #update(): void {
    this.warmingCount.set(this.#listeners.warmingCount + this.#clusters.warmingCount.value);
    if (this.ready.value || !this.#isStarted || this.#workers?.isReady === false) return;
    const isDynamic =
      this.#bootstrap.dynamicResources?.ldsConfig !== undefined || this.#bootstrap.dynamicResources?.adsConfig !== undefined;
    if (this.warmingCount.value === 0 && (!isDynamic || this.#resources.hasListeners)) this.#becomeReady();
  }

  #becomeReady(): void {
    this.ready.set(true);
    this.#inherited.closeRest();
    if (this.#options.releasesMemory === true && this.#closing === undefined) this.#givingMemoryBack = giveMemoryBack(this.clock);
  }
}
