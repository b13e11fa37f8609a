import { toBinary } from '@bufbuild/protobuf';
import { type Clock, delay, errorMessage, type Logger, MizzenError, type Random, type Running, Watchable } from '@mizzen/core';
import type { RouteTable } from '@mizzen/matching';
import {
  type AccessLogSink,
  createMetricRegistry,
  createOtlpExporter,
  encodePeerMetadata,
  type MetricRegistry,
  type OtlpExporter,
  type PeerMetadata,
} from '@mizzen/telemetry';
import { packAny, type XdsConsumer, type XdsRejection, type XdsSubscription, type XdsUpdate } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { type Secret, SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { AdminServer } from './admin/admin-server.ts';
import { proxyStatScopes } from './admin/proxy-stats.ts';
import { checkBootstrap } from './bootstrap.ts';
import { ClusterManager } from './cluster/cluster-manager.ts';
import { type Resolve, systemResolve, systemResolveWithTtl } from './cluster/dns.ts';
import { RuntimeValues } from './config/runtime-values.ts';
import type { ProxyContext, SocketAddress } from './contract.ts';
import { HOT_RESTART_VERSION } from './hot-restart/hot-restart.ts';
import { InheritedListeners, type ListeningDescriptor } from './hot-restart/inherited-listeners.ts';
import { routeFilterConfigs } from './http/http-filters.ts';
import { wheelOf } from './http/timer-wheel.ts';
import { ConnectionLimits, maxConnectionsOf } from './listener/connection-limits.ts';
import { ListenerManager } from './listener/listener-manager.ts';
import { describeNode, statsSinkCluster } from './node-description.ts';
import { AccessLogs } from './observe/access-logs.ts';
import type { SpanExporter } from './observe/span-exporters.ts';
import { StatRegistry } from './observe/stat-registry.ts';
import { compileStatsPolicy } from './observe/stat-tags.ts';
import { createObserverFactory } from './observe/stream-observers.ts';
import { releaseStartMemory } from './system/release-memory.ts';
import { compileSecret, SecretStore } from './tls/secret-store.ts';
import { forWorkers, workerBootstrap } from './workers/shared-configuration.ts';
import { WorkerPool } from './workers/worker-pool.ts';
import { ProxyResources } from './xds/proxy-resources.ts';

export interface ProxyOptions {
  readonly bootstrap: Bootstrap;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where `/dev/stdout` access logs go; the process's own standard output without it. */
  readonly accessLogStdout?: AccessLogSink;
  /** How long `close` waits for connections to end. Default 5 s. */
  readonly drainTimeMs?: number;
  /** Once it is ready, gives back memory that only the start needed: for a process that is a proxy and nothing else. */
  readonly releasesStartMemory?: boolean;
  readonly resolve?: Resolve;
  readonly registry?: MetricRegistry;
  /** What POST /quitquitquit does. */
  readonly onQuit?: () => void;
  /** As /server_info prints it. */
  readonly version?: string;
  /** More event loops that listen on the same ports. */
  readonly workers?: {
    /** How many beside the first. */
    readonly count: number;
    /** A module that calls `runProxyWorker` where it is not the main thread. */
    readonly entry: URL | string;
    readonly onCrash: (error: Error) => void;
  };
  /** This is one of those event loops. */
  readonly sharesPorts?: 'further';
  /** What the process before this one listened on: taken instead of new sockets. */
  readonly inherited?: readonly ListeningDescriptor[];
  /** How many processes had these listeners before this one, as /stats tells. */
  readonly restartEpoch?: number;
  /** Another process may take the place of this one by a hot restart. */
  readonly isReplaceable?: boolean;
}

/** The data plane of one workload: takes connections, takes configuration. */
export interface MeshProxy extends Running, XdsConsumer {
  /** Binds the static listeners and the admin address. Throws MIZZEN_BOOTSTRAP. */
  start(): Promise<void>;
  /** True once every listener of the first configuration is warm. */
  readonly ready: Watchable<boolean>;
  /** How many listeners and clusters have arrived and are not in force yet. */
  readonly warmingCount: Watchable<number>;
  readonly registry: MetricRegistry;
  /** Envoy's statistics. */
  readonly stats: StatRegistry;
  /** SDS by the agent. Throws ConfigError for a secret that cannot be used; the one before stays. */
  setSecret(name: string, secret: Secret): void;
  /** Asks connections to end with their exchange; new ones are still taken, and asked the same. Resolves once none is left. */
  drain(options?: { readonly inboundOnly?: boolean }): Promise<void>;
  /** Listeners take no new connections any more; those that are there live on. */
  stopAccepting(options?: { readonly inboundOnly?: boolean }): void;
  /** Where listeners really listen, by name. */
  listenerAddresses(): ReadonlyMap<string, SocketAddress>;
  /** The sockets that it listens on, those of all event loops. */
  listeningDescriptors(): Promise<readonly ListeningDescriptor[]>;
  /** Those of this event loop. */
  ownListeningDescriptors(): readonly ListeningDescriptor[];
  /** Opens the files of access logs anew: somebody has moved them away. */
  reopenAccessLogs(): void;
  /** Closes the administrator's port; the rest goes on. */
  releaseAdmin(): Promise<void>;
  adminAddress(): SocketAddress | undefined;
  /** `host:port` of the first endpoint of a static or DNS cluster, for the process's own gRPC clients; undefined without one. */
  clusterAddress(clusterName: string): string | undefined;
  activeConnections(): number;
}

/** Makes a proxy from an Envoy bootstrap. Does no I/O before `start`. Throws MIZZEN_BOOTSTRAP for what it cannot honour. */
export function createProxy(options: ProxyOptions): MeshProxy {
  checkBootstrap(options.bootstrap);
  return new LiveProxy(options);
}

const DEFAULT_DRAIN_MS = 5000;
const DRAIN_POLL_MS = 20;
const RELEASE_AFTER_MS = 500;
const TELEMETRY_FLUSH_MS = 5000;

/** The composition, in the order in which a connection meets the parts: listener, filter chain and TLS, route, cluster, endpoint; then what watches. */
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

  readonly #options: Omit<ProxyOptions, 'bootstrap'>;
  readonly #bootstrap: Bootstrap;
  readonly #listeners: ListenerManager;
  readonly #secrets = new SecretStore();
  readonly #routeTables = new Map<string, RouteTable>();
  readonly #clusters: ClusterManager;
  readonly #resources: ProxyResources;
  readonly #accessLogs: AccessLogs;
  readonly #exporters = new Map<string, OtlpExporter>();
  readonly #spanExporters = new Map<string, SpanExporter>();
  readonly #admin: AdminServer;
  readonly #workers: WorkerPool | undefined;
  /** By event loop, this one first. */
  readonly #dealt: readonly (readonly ListeningDescriptor[])[];
  readonly #inherited: InheritedListeners;
  #isDraining = false;
  /** By /healthcheck/fail: health checks fail, and connections are asked to end with their exchange. */
  #isHealthCheckFailed = false;
  #isStarted = false;
  #closing: Promise<void> | undefined;

  constructor(given: ProxyOptions) {
    // Closures below keep the options, but not the messages.
    const { bootstrap: message, ...options } = given;
    const { clock, random, logger } = options;
    const bootstrap = { ...message };
    const node = describeNode(bootstrap.node);
    this.#options = options;
    this.#bootstrap = bootstrap;
    this.clock = clock;
    this.random = random;
    this.logger = logger;
    this.registry = options.registry ?? createMetricRegistry();
    this.runtimeValues = atBootstrap('layered_runtime', () => new RuntimeValues(bootstrap.layeredRuntime));
    this.nodeCluster = bootstrap.node?.cluster ?? '';
    this.localPeer = { nodeId: node.nodeId, metadata: node.metadata, metadataHeader: encodePeerMetadata(node.metadata) };
    const onChange = (): void => this.#resources.changed();
    const calls = { context: this, wheel: wheelOf(clock) };
    this.#accessLogs = new AccessLogs({
      clock,
      random,
      stdout: options.accessLogStdout,
      runtime: this.runtimeValues,
      collectors: { calls, node: bootstrap.node },
    });
    this.#dealt = InheritedListeners.deal(options.inherited ?? [], 1 + (options.workers?.count ?? 0));
    this.#inherited = new InheritedListeners(this.#dealt[0] ?? []);
    this.#listeners = new ListenerManager({
      clock,
      logger,
      proxy: this,
      secrets: this.#secrets,
      routeTables: this.#routeTables,
      limits: new ConnectionLimits({ maxConnections: maxConnectionsOf(bootstrap.overloadManager), runtime: this.runtimeValues }),
      sharesPorts: options.sharesPorts ?? (options.workers === undefined ? undefined : 'first'),
      inherited: this.#inherited,
      observers: createObserverFactory({
        clock,
        random,
        logger,
        registry: this.registry,
        accessLogs: this.#accessLogs,
        runtime: this.runtimeValues,
        calls,
        local: { ...node, nodeCluster: bootstrap.node?.cluster ?? '' },
        spanSink: (name) => this.#exporter(name),
        exporters: this.#spanExporters,
      }),
      onChange,
    });
    this.#clusters = new ClusterManager({
      clock,
      random,
      logger,
      resolve: options.resolve ?? systemResolve,
      ...(options.resolve === undefined && { resolveWithTtl: systemResolveWithTtl }),
      secrets: this.#secrets,
      onChange,
    });
    this.#resources = new ProxyResources({
      clock,
      logger,
      clusters: this.#clusters,
      listeners: this.#listeners,
      secrets: this.#secrets,
      routeTables: this.#routeTables,
      filterConfigs: routeFilterConfigs(this),
      onChange: () => this.#update(),
    });
    this.#secrets.watch(onChange);
    this.#admin = new AdminServer({
      bootstrap,
      clock,
      logger,
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
      drain: (drainOptions) => void this.drain(drainOptions),
      stopAccepting: (stopOptions) => this.stopAccepting(stopOptions),
      collect: async () => this.#workers?.collect(),
      drainTimeMs: options.drainTimeMs ?? DEFAULT_DRAIN_MS,
      setHealthy: (isHealthy) => {
        this.#isHealthCheckFailed = !isHealthy;
      },
      quit: () => options.onQuit?.(),
    });
    this.#workers = options.workers && new WorkerPool({ ...options.workers, logger, registry: this.registry });
    this.stats.addSource(() => this.#workers?.scopes() ?? []);
    this.stats.addSource(() =>
      proxyStatScopes({
        clusters: this.#clusters,
        listeners: this.#listeners,
        resources: this.#resources,
        accessLogs: this.#accessLogs,
        state: () => this.#state(),
        concurrency: 1 + (options.workers?.count ?? 0),
        restartEpoch: options.restartEpoch ?? 0,
      }),
    );
  }

  async start(): Promise<void> {
    const { staticResources, admin } = this.#bootstrap;
    this.#addStatic('secret', staticResources?.secrets ?? [], (secret) => ({ name: secret.name, body: packAny(SecretSchema, secret) }));
    this.#addStatic('cluster', staticResources?.clusters ?? [], (cluster) => ({
      name: cluster.name,
      body: packAny(ClusterSchema, cluster),
    }));
    const sink = statsSinkCluster(this.#bootstrap);
    if (sink !== undefined && this.#exporter(sink) === undefined) {
      throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: stats_sinks: there is no cluster ${sink} with an address`);
    }
    this.#addStatic('listener', staticResources?.listeners ?? [], (listener, index) => ({
      name: listener.name || `listener_${index}`,
      body: packAny(ListenerSchema, listener),
    }));
    const listeners = this.listenerAddresses();
    const ofWorkers = this.#workers && workerBootstrap(this.#bootstrap);
    if (ofWorkers !== undefined) {
      const { drainTimeMs } = this.#options;
      await this.#workers?.start(
        { bootstrap: ofWorkers, addresses: listeners, drainTimeMs, logLevel: this.logger.level },
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
    const rejections = this.#resources.apply(update);
    this.#workers?.tell({ kind: 'apply', update: forWorkers(update, rejections) });
    return rejections;
  }

  subscriptions(onChange: (subscription: XdsSubscription) => void): ReturnType<XdsConsumer['subscriptions']> {
    return this.#resources.subscriptions(onChange);
  }

  setSecret(name: string, secret: Secret): void {
    this.#secrets.set(name, compileSecret(secret), { version: '', nowMs: this.clock.now() });
    this.#workers?.tell({ kind: 'secret', name, secret: toBinary(SecretSchema, secret) });
  }

  cluster(name: string): ReturnType<ProxyContext['cluster']> {
    return this.#clusters.get(name);
  }

  handToInternalListener(...args: Parameters<ProxyContext['handToInternalListener']>): boolean {
    return this.#listeners.handToInternalListener(...args);
  }

  isDraining(): boolean {
    return this.#isDraining || this.#isHealthCheckFailed;
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

  reopenAccessLogs(): void {
    this.#accessLogs.reopen();
    this.#workers?.tell({ kind: 'reopen-access-logs' });
  }

  releaseAdmin(): Promise<void> {
    return this.#admin.close();
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
    this.#isDraining = true;
    this.#listeners.drain({ inboundOnly: false });
    this.#listeners.stopAccepting({ inboundOnly: false });
    const workersGone = this.#workers?.close();
    const deadline = this.clock.monotonic() + (this.#options.drainTimeMs ?? DEFAULT_DRAIN_MS);
    while (this.#listeners.activeConnections({ inboundOnly: false }) > 0 && this.clock.monotonic() < deadline)
      await delay(this.clock, DRAIN_POLL_MS);
    await workersGone;
    this.#listeners.close();
    await this.#flushTelemetry();
    this.#clusters.close();
    await this.#admin.close();
  }

  /** Collectors are clusters too: what waits is sent while those are there. A collector that does not answer is not waited for. */
  async #flushTelemetry(): Promise<void> {
    const exporters = [...this.#exporters.values(), ...this.#spanExporters.values(), this.#accessLogs];
    const flushed = Promise.all(exporters.map((exporter) => exporter.close()));
    const { promise: isLate, resolve } = Promise.withResolvers<void>();
    const timer = this.clock.after(TELEMETRY_FLUSH_MS, resolve);
    await Promise.race([flushed, isLate]);
    timer.cancel();
  }

  #addStatic<T>(
    kind: 'secret' | 'cluster' | 'listener',
    messages: readonly T[],
    describe: (message: T, index: number) => { name: string; body: ReturnType<typeof packAny> },
  ): void {
    messages.forEach((message, index) => {
      try {
        this.#resources.addStatic(kind, { ...describe(message, index), version: '' });
      } catch (thrown) {
        const reason = errorMessage(thrown);
        throw new MizzenError(
          'MIZZEN_BOOTSTRAP',
          `the bootstrap cannot be used: static_resources.${kind}s[${index}]${/^[a-z_]+[.[:]/.test(reason) ? '.' : ': '}${reason}`,
          { cause: thrown },
        );
      }
    });
  }

  /** Spans and metrics for a collector that a cluster of the bootstrap stands for. */
  #exporter(clusterName: string): OtlpExporter | undefined {
    const known = this.#exporters.get(clusterName);
    if (known !== undefined) return known;
    const address = this.#clusters.firstAddress(clusterName);
    if (address === undefined) return undefined;
    const { metadata, nodeId } = this.localPeer;
    const exporter = createOtlpExporter({
      address,
      clock: this.clock,
      logger: this.logger,
      registry: this.registry,
      resource: [
        ['service.name', `${metadata.canonicalService}.${metadata.namespace}`],
        ['service.namespace', metadata.namespace],
        ['service.version', metadata.canonicalRevision],
        ['service.instance.id', nodeId],
      ],
      includes: clusterName === statsSinkCluster(this.#bootstrap) ? isIstioMetric : () => false,
    });
    this.#exporters.set(clusterName, exporter);
    exporter.start();
    return exporter;
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
    // Not at once: who waits to be told that it is ready must not wait for this.
    if (this.#options.releasesStartMemory === true) this.clock.after(RELEASE_AFTER_MS, releaseStartMemory);
  }
}

function atBootstrap<T>(path: string, compile: () => T): T {
  try {
    return compile();
  } catch (thrown) {
    const reason = errorMessage(thrown);
    throw new MizzenError('MIZZEN_BOOTSTRAP', `the bootstrap cannot be used: ${path}.${reason}`, { cause: thrown });
  }
}

function isIstioMetric(name: string): boolean {
  return name.startsWith('istio_');
}
