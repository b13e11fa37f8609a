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
import { checkBootstrap } from './bootstrap.ts';
import { ClusterManager } from './cluster/cluster-manager.ts';
import { type Resolve, systemResolve } from './cluster/dns.ts';
import type { ProxyContext, SocketAddress } from './contract.ts';
import { ListenerManager } from './listener/listener-manager.ts';
import { describeNode, statsSinkCluster } from './node-description.ts';
import { AccessLogs } from './observe/access-logs.ts';
import { createObserverFactory } from './observe/stream-observers.ts';
import { compileSecret, SecretStore } from './tls/secret-store.ts';
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
  readonly resolve?: Resolve;
  readonly registry?: MetricRegistry;
  /** What POST /quitquitquit does. */
  readonly onQuit?: () => void;
  /** As /server_info prints it. */
  readonly version?: string;
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
  /** SDS by the agent. Throws ConfigError for a secret that cannot be used; the one before stays. */
  setSecret(name: string, secret: Secret): void;
  /** Asks connections to end with their exchange; new ones are still taken, and asked the same. Resolves once none is left. */
  drain(options?: { readonly inboundOnly?: boolean }): Promise<void>;
  /** Where listeners really listen, by name. */
  listenerAddresses(): ReadonlyMap<string, SocketAddress>;
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

/** The composition, in the order in which a connection meets the parts: listener, filter chain and TLS, route, cluster, endpoint; then what watches. */
class LiveProxy implements MeshProxy, ProxyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: MetricRegistry;
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
  readonly #admin: AdminServer;
  #isDraining = false;
  #isStarted = false;
  #closing: Promise<void> | undefined;

  constructor(options: ProxyOptions) {
    const { clock, random, logger } = options;
    const bootstrap = { ...options.bootstrap };
    const node = describeNode(bootstrap.node);
    const { bootstrap: _, ...rest } = options;
    this.#options = rest;
    this.#bootstrap = bootstrap;
    this.clock = clock;
    this.random = random;
    this.logger = logger;
    this.registry = options.registry ?? createMetricRegistry();
    this.localPeer = { nodeId: node.nodeId, metadata: node.metadata, metadataHeader: encodePeerMetadata(node.metadata) };
    const onChange = (): void => this.#resources.changed();
    this.#accessLogs = new AccessLogs({ clock, stdout: options.accessLogStdout });
    this.#listeners = new ListenerManager({
      clock,
      logger,
      proxy: this,
      secrets: this.#secrets,
      routeTables: this.#routeTables,
      observers: createObserverFactory({
        clock,
        random,
        logger,
        registry: this.registry,
        accessLogs: this.#accessLogs,
        local: node,
        spanSink: (name) => this.#exporter(name),
      }),
      onChange,
    });
    this.#clusters = new ClusterManager({
      clock,
      random,
      logger,
      resolve: options.resolve ?? systemResolve,
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
      onChange: () => this.#update(),
    });
    this.#secrets.watch(onChange);
    this.#admin = new AdminServer({
      bootstrap,
      clock,
      logger,
      version: options.version ?? 'dev',
      registry: this.registry,
      resources: this.#resources,
      clusters: this.#clusters,
      listeners: this.#listeners,
      secrets: this.#secrets,
      accessLogs: this.#accessLogs,
      state: () => (this.#isDraining ? 'DRAINING' : this.ready.value ? 'LIVE' : 'INITIALIZING'),
      drain: (drainOptions) => void this.drain(drainOptions),
      stopAccepting: (stopOptions) => this.#listeners.stopAccepting(stopOptions),
      quit: () => options.onQuit?.(),
    });
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
    if (admin?.address !== undefined) await this.#admin.start(admin.address);
    // Static resources stand in their stores, encoded; the messages may go.
    delete this.#bootstrap.staticResources;
    this.#isStarted = true;
    this.#resources.changed();
  }

  apply(update: XdsUpdate): readonly XdsRejection[] {
    return this.#resources.apply(update);
  }

  subscriptions(onChange: (subscription: XdsSubscription) => void): ReturnType<XdsConsumer['subscriptions']> {
    return this.#resources.subscriptions(onChange);
  }

  setSecret(name: string, secret: Secret): void {
    this.#secrets.set(name, compileSecret(secret), { version: '', nowMs: this.clock.now() });
  }

  cluster(name: string): ReturnType<ProxyContext['cluster']> {
    return this.#clusters.get(name);
  }

  handToInternalListener(...args: Parameters<ProxyContext['handToInternalListener']>): boolean {
    return this.#listeners.handToInternalListener(...args);
  }

  isDraining(): boolean {
    return this.#isDraining;
  }

  async drain({ inboundOnly = false }: { readonly inboundOnly?: boolean } = {}): Promise<void> {
    if (!inboundOnly) this.#isDraining = true;
    this.#listeners.drain({ inboundOnly });
    while (this.#listeners.activeConnections({ inboundOnly }) > 0 && this.#closing === undefined) await delay(this.clock, DRAIN_POLL_MS);
  }

  listenerAddresses(): ReadonlyMap<string, SocketAddress> {
    return new Map(this.#listeners.list().flatMap(({ name, live }) => (live.address === undefined ? [] : [[name, live.address] as const])));
  }

  adminAddress(): SocketAddress | undefined {
    return this.#admin.address;
  }

  clusterAddress(clusterName: string): string | undefined {
    return this.#clusters.firstAddress(clusterName);
  }

  activeConnections(): number {
    return this.#listeners.activeConnections({ inboundOnly: false });
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeInOrder();
    return this.#closing;
  }

  async #closeInOrder(): Promise<void> {
    this.#isDraining = true;
    this.#listeners.drain({ inboundOnly: false });
    this.#listeners.stopAccepting({ inboundOnly: false });
    const deadline = this.clock.monotonic() + (this.#options.drainTimeMs ?? DEFAULT_DRAIN_MS);
    while (this.activeConnections() > 0 && this.clock.monotonic() < deadline) await delay(this.clock, DRAIN_POLL_MS);
    this.#listeners.close();
    this.#clusters.close();
    await Promise.all([...this.#exporters.values()].map((exporter) => exporter.close()));
    await this.#accessLogs.close();
    await this.#admin.close();
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
    if (this.ready.value || !this.#isStarted) return;
    const isDynamic =
      this.#bootstrap.dynamicResources?.ldsConfig !== undefined || this.#bootstrap.dynamicResources?.adsConfig !== undefined;
    if (this.warmingCount.value === 0 && (!isDynamic || this.#resources.hasListeners)) this.ready.set(true);
  }
}

function isIstioMetric(name: string): boolean {
  return name.startsWith('istio_');
}
