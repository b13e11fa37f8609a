import type { Clock, Logger, Random } from '@mizzen/core';
import type { DestinationService } from '@mizzen/telemetry';
import type { ClusterStats, LoadBalancerContext, UpstreamCluster, UpstreamProtocol } from '../contract.ts';
import type { Http2ClientOptions } from '../http2/options.ts';
import { createHttp2Stats } from '../http2/stats.ts';
import { SharedActiveCounts } from './active-counts.ts';
import { AskedEndpoints } from './asked-endpoints.ts';
import { type AssignmentConfig, NO_ENDPOINTS } from './assignment.ts';
import type { ClusterConfig } from './cluster-config.ts';
import type { ClusterCounts } from './cluster-counts.ts';
import { ClusterEndpoints, type LiveLocality } from './cluster-endpoints.ts';
import { type ClusterPeers, decidedOf } from './cluster-peers.ts';
import type { DnsCaches } from './dns-cache.ts';
import { DynamicHosts } from './dynamic-hosts.ts';
import type { Endpoint } from './endpoint.ts';
import { HealthChecker } from './health-checker.ts';
import { HighPriorityCluster } from './high-priority.ts';
import { HostSets } from './host-sets.ts';
import { OriginalDestinations } from './original-destinations.ts';
import { OutlierDetector } from './outlier-detection.ts';
import { Subsets } from './subsets.ts';
import type { LocalProxies, LocalZone } from './zone-routing.ts';

// How often another endpoint is tried when the chosen one was tried already. Source: Istio's host_selection_retry_max_attempts.
const MAX_RESELECTIONS = 5;

export interface LiveClusterOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly counts: ClusterCounts;
  /** For clusters made of others: those in force now. */
  readonly clusterNamed: (name: string) => LiveCluster | undefined;
  /** Of the process, for dynamic forward proxies. */
  readonly dnsCaches: DnsCaches;
  /** The same definition in other event loops. */
  readonly peers?: ClusterPeers | undefined;
  /** Where requests are to stay in the zone; undefined for the cluster of local proxies itself. */
  readonly zone?: LocalZone | undefined;
}

/** One cluster in force. Its endpoints change under it; its definition never does. */
export class LiveCluster implements UpstreamCluster, LocalProxies {
  readonly config: ClusterConfig;
  readonly stats: ClusterStats;
  readonly active: UpstreamCluster['active'];
  readonly outliers: OutlierDetector | undefined;
  readonly healthChecker: HealthChecker | undefined;
  readonly #options: LiveClusterOptions;
  readonly #originalDestinations: OriginalDestinations | undefined;
  readonly dynamicHosts: DynamicHosts | undefined;
  readonly #askedEndpoints: AskedEndpoints;
  readonly #endpoints: ClusterEndpoints;
  #assignment: AssignmentConfig = NO_ENDPOINTS;
  #chooser: Chooser | undefined;
  #http2: Http2ClientOptions | undefined;
  #highPriority: HighPriorityCluster | undefined;
  #revision = 0;
  #isClosed = false;

  constructor(config: ClusterConfig, options: LiveClusterOptions) {
    this.config = config;
    this.#options = options;
    this.#endpoints = new ClusterEndpoints(this);
    this.#askedEndpoints = new AskedEndpoints(config.askedEndpointHealth);
    this.stats = options.counts.stats;
    this.active = options.counts.active;
    const { clock, random, logger, peers } = options;
    const onChange = (endpoint: Endpoint): void => this.#onHealthChange(endpoint);
    if (config.outlierDetection !== undefined)
      this.outliers = new OutlierDetector(config.outlierDetection, { clock, random, peers, onChange });
    const [check] = config.healthChecks;
    if (check !== undefined) this.healthChecker = new HealthChecker(this, check, { clock, random, logger, peers, onChange });
    if (config.discovery.kind === 'dynamicForwardProxy')
      this.dynamicHosts = new DynamicHosts(this, options.dnsCaches.acquire(config.discovery.dnsCache));
    if (config.discovery.kind === 'originalDestination') this.#originalDestinations = new OriginalDestinations(this);
  }

  get name(): string {
    return this.config.name;
  }

  get revision(): number {
    return this.#revision;
  }

  get peers(): ClusterPeers | undefined {
    return this.#options.peers;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get observabilityName(): string {
    return this.config.observabilityName;
  }

  get metadata(): UpstreamCluster['metadata'] {
    const { metadataText } = this.config;
    return metadataText === '' ? undefined : (JSON.parse(metadataText) as UpstreamCluster['metadata']);
  }

  get service(): DestinationService | undefined {
    return this.config.service;
  }

  get isExternal(): boolean {
    return this.config.isExternal;
  }

  get connectTimeoutMs(): number {
    return this.config.connectTimeoutMs;
  }

  get maxRequestsPerConnection(): number {
    return this.config.http.maxRequestsPerConnection;
  }

  get idleTimeoutMs(): number {
    return this.config.http.idleTimeoutMs;
  }

  get maxConnectionDurationMs(): number {
    return this.config.http.maxConnectionDurationMs;
  }

  get upstreamProtocol(): UpstreamProtocol {
    return this.config.http.upstreamProtocol;
  }

  get http2(): Http2ClientOptions {
    this.#http2 ??= { ...this.config.http.http2, stats: createHttp2Stats(), random: this.#options.random };
    return this.#http2;
  }

  /** undefined while no HTTP/2 was spoken to it. */
  get http2Stats(): Http2ClientOptions['stats'] | undefined {
    return this.#http2?.stats;
  }

  get metadataExchangeProtocol(): string | undefined {
    return this.config.metadataExchangeProtocol;
  }

  get connectionsByRequest(): UpstreamCluster['connectionsByRequest'] {
    return this.config.connectionsByRequest;
  }

  get limits(): UpstreamCluster['limits'] {
    return this.config.circuitBreakers.byDefault.limits;
  }

  /** Some requests had high priority. */
  get hasHighPriority(): boolean {
    return this.#options.counts.hasHigh;
  }

  get highPriority(): HighPriorityCluster {
    this.#highPriority ??= new HighPriorityCluster(this, this.#options.counts.activeHigh);
    return this.#highPriority;
  }

  get internalListener(): string | undefined {
    return this.#endpoints.internalListener;
  }

  /** In the order of the assignment, with their priorities and localities: for the admin interface. */
  get localities(): readonly LiveLocality[] {
    return this.#endpoints.localities;
  }

  chooseEndpoint(context: LoadBalancerContext): Endpoint | undefined {
    const { askedEndpoint } = context;
    if (askedEndpoint !== undefined && this.config.discovery.kind !== 'aggregate') {
      const found = this.#askedEndpoints.find(this.localities, askedEndpoint.address);
      if (found !== undefined || askedEndpoint.isStrict) return found;
    }
    if (this.#originalDestinations !== undefined) return this.#originalDestinations.choose(context);
    if (this.dynamicHosts !== undefined) return this.dynamicHosts.choose(context);
    this.#chooser ??= this.#createChooser();
    return this.#chooser.choose(context);
  }

  /** Whether the control plane has this request dropped. Source: envoy docs, ClusterLoadAssignment.Policy.drop_overloads. */
  shouldDrop(): boolean {
    const { drops } = this.#assignment;
    if (drops.length === 0 || !drops.some(({ ratio }) => this.#options.random() < ratio)) return false;
    this.stats.upstreamRqDropOverload++;
    return true;
  }

  /** Replaces the endpoints. One whose address and transport stay keeps its identity, its counters and its connections. */
  setEndpoints(assignment: AssignmentConfig): void {
    this.#assignment = assignment;
    this.#forgetChoice();
    this.#endpoints.replace(assignment);
  }

  endpoints(): Endpoint[] {
    return this.#endpoints.list();
  }

  /** The first event loop has decided about an endpoint of this definition. */
  follow(endpointName: string): void {
    const endpoint = this.#options.peers?.find(this.endpoints(), endpointName);
    if (endpoint?.shared === undefined) return;
    const { isEjected } = decidedOf(endpoint.shared);
    const hasChanged = endpoint.isEjected !== isEjected;
    endpoint.isEjected = isEjected;
    if (hasChanged) this.#onHealthChange(endpoint);
    this.healthChecker?.follow(endpoint);
  }

  /** Another event loop saw an endpoint of this definition fail. */
  onOutlierReported(endpointName: string, reason: string): void {
    const endpoint = this.#options.peers?.find(this.endpoints(), endpointName);
    if (endpoint !== undefined) this.outliers?.onReported(endpoint, reason);
  }

  /** Any event loop has ever connected to it. */
  get hadConnections(): boolean {
    return this.active instanceof SharedActiveCounts ? this.active.hadConnections : this.stats.upstreamCxTotal > 0;
  }

  #createChooser(): Chooser {
    const { loadBalancing, discovery } = this.config;
    if (discovery.kind === 'aggregate') return { choose: (context) => this.#chooseFromOthers(discovery.clusters, context) };
    const { overprovisioningPercent, isHealthWeighted } = this.#assignment;
    const options = {
      ...this.#options,
      active: this.active,
      choice: loadBalancing,
      panicThresholdPercent: loadBalancing.panicThresholdPercent,
      overprovisioningPercent,
      isHealthWeighted,
      maxReselections: MAX_RESELECTIONS,
      stats: this.stats,
    };
    const { subsets } = loadBalancing;
    return subsets === undefined ? new HostSets(this.localities, options) : new Subsets(this.localities, subsets, options);
  }

  /** The first of the clusters that has an endpoint to give. Source: envoy AggregateClusterLoadBalancer (1.40). */
  #chooseFromOthers(names: readonly string[], context: LoadBalancerContext): Endpoint | undefined {
    for (const name of names) {
      const cluster = this.#options.clusterNamed(name);
      // One that is made of this one again would never end.
      if (cluster === undefined || cluster === this || !cluster.hasAvailableEndpoint()) continue;
      const endpoint = cluster.chooseEndpoint(context);
      if (endpoint !== undefined) return endpoint;
    }
    return undefined;
  }

  hasAvailableEndpoint(): boolean {
    if (this.#originalDestinations !== undefined || this.dynamicHosts !== undefined || this.config.discovery.kind === 'aggregate')
      return true;
    return this.localities.some(({ endpoints }) => endpoints.some((endpoint) => endpoint.isUsable));
  }

  #onHealthChange(endpoint: Endpoint): void {
    this.#forgetChoice();
    if (!endpoint.isUsable) this.#endpoints.onUnusable(endpoint);
  }

  #forgetChoice(): void {
    this.#chooser = undefined;
    this.#revision++;
  }

  /** Takes no part any more: idle connections close, busy ones when they are done. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.outliers?.close();
    this.healthChecker?.close();
    this.#originalDestinations?.close();
    if (this.dynamicHosts !== undefined) {
      this.dynamicHosts.close();
      this.#options.dnsCaches.release(this.dynamicHosts.cache);
    }
    this.#endpoints.close();
  }
}

interface Chooser {
  choose(context: LoadBalancerContext): Endpoint | undefined;
}
