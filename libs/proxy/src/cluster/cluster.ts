import type { Clock, Logger, Random } from '@mizzen/core';
import type { DestinationService } from '@mizzen/telemetry';
import type { ClusterStats, LoadBalancerContext, SocketAddress, UpstreamCluster, UpstreamProtocol } from '../contract.ts';
import type { Http2ClientOptions } from '../http2/options.ts';
import { createHttp2Stats } from '../http2/stats.ts';
import { createClusterStats } from '../observe/cluster-stats.ts';
import { type AssignmentConfig, type EndpointConfig, type LocalityConfig, NO_ENDPOINTS } from './assignment.ts';
import type { ClusterConfig } from './cluster-config.ts';
import { Endpoint } from './endpoint.ts';
import { HealthChecker } from './health-checker.ts';
import { HostSets } from './host-sets.ts';
import { OriginalDestinations } from './original-destinations.ts';
import { OutlierDetector } from './outlier-detection.ts';
import { Subsets } from './subsets.ts';
import type { Transport } from './transports.ts';

// How often another endpoint is tried when the chosen one was tried already. Source: Istio's host_selection_retry_max_attempts.
const MAX_RESELECTIONS = 5;

/** What outlives a cluster's definition: counters and live counts are those of the name. */
export interface ClusterCounts {
  readonly stats: ClusterStats;
  readonly active: UpstreamCluster['active'];
}

export function createClusterCounts(): ClusterCounts {
  return {
    stats: createClusterStats(),
    active: { connections: 0, pendingRequests: 0, requests: 0, retries: 0 },
  };
}

export interface LiveClusterOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly counts: ClusterCounts;
  /** For clusters made of others: those in force now. */
  readonly clusterNamed: (name: string) => LiveCluster | undefined;
}

/** One cluster in force. Its endpoints change under it; its definition never does. */
export class LiveCluster implements UpstreamCluster {
  readonly config: ClusterConfig;
  readonly stats: ClusterStats;
  readonly active: UpstreamCluster['active'];
  readonly outliers: OutlierDetector | undefined;
  readonly healthChecker: HealthChecker | undefined;
  readonly #options: LiveClusterOptions;
  readonly #originalDestinations: OriginalDestinations | undefined;
  #assignment: AssignmentConfig = NO_ENDPOINTS;
  #localities: readonly LiveLocality[] = [];
  #internalListener: string | undefined;
  #chooser: Chooser | undefined;
  #http2: Http2ClientOptions | undefined;
  #isClosed = false;

  constructor(config: ClusterConfig, options: LiveClusterOptions) {
    this.config = config;
    this.#options = options;
    this.stats = options.counts.stats;
    this.active = options.counts.active;
    const { clock, random, logger } = options;
    const onChange = (endpoint: Endpoint): void => this.#onHealthChange(endpoint);
    if (config.outlierDetection !== undefined) this.outliers = new OutlierDetector(config.outlierDetection, { clock, random, onChange });
    const [check] = config.healthChecks;
    if (check !== undefined) this.healthChecker = new HealthChecker(this, check, { clock, random, logger, onChange });
    if (config.discovery.kind === 'originalDestination') this.#originalDestinations = new OriginalDestinations(this);
  }

  get name(): string {
    return this.config.name;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get observabilityName(): string {
    return this.config.observabilityName;
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

  get limits(): UpstreamCluster['limits'] {
    return this.config.circuitBreakers.byDefault.limits;
  }

  get internalListener(): string | undefined {
    return this.#internalListener;
  }

  /** In the order of the assignment, with their priorities and localities: for the admin interface. */
  get localities(): readonly LiveLocality[] {
    return this.#localities;
  }

  chooseEndpoint(context: LoadBalancerContext): Endpoint | undefined {
    if (this.#originalDestinations !== undefined) return this.#originalDestinations.choose(context);
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
    const placesBefore = this.#localities;
    const before = this.endpoints();
    const known = new Map(before.map((endpoint) => [identityOf(endpoint, endpoint.transport), endpoint]));
    this.#assignment = assignment;
    this.#internalListener = undefined;
    this.#localities = assignment.localities.map((locality) => this.#localityFor(locality, known));
    const present = new Set(this.endpoints());
    const gone = before.filter((endpoint) => !present.has(endpoint));
    const kept = this.#keepHealthy(gone, placesBefore);
    for (const endpoint of kept) present.add(endpoint);
    this.#chooser = undefined;
    this.outliers?.retain(present);
    this.healthChecker?.setEndpoints(present);
    const isChanged = gone.length > kept.length || present.size > before.length;
    if (isChanged) this.stats.membershipChange++;
    for (const endpoint of gone) if (!present.has(endpoint)) endpoint.pool?.drain();
    if (isChanged && this.config.closesOnHostSetChange) for (const endpoint of present) retirePool(endpoint);
  }

  endpoints(): Endpoint[] {
    return this.#localities.flatMap(({ endpoints }) => endpoints);
  }

  /**
   * With active checks an endpoint that the control plane took away stays where it was until it fails one: discovery may be behind.
   * Source: envoy BaseDynamicClusterImpl::updateDynamicHostList, "stabilized" hosts (1.40).
   */
  #keepHealthy(gone: readonly Endpoint[], before: readonly LiveLocality[]): readonly Endpoint[] {
    if (this.healthChecker === undefined || this.config.ignoresHealthOnRemoval) return [];
    const kept = new Set(gone.filter(({ checkResult }) => checkResult === 'healthy' || checkResult === 'degraded'));
    if (kept.size === 0) return [];
    const places = before
      .map((locality) => ({ ...locality, endpoints: locality.endpoints.filter((endpoint) => kept.has(endpoint)), isGone: true }))
      .filter(({ endpoints }) => endpoints.length > 0);
    this.#localities = [...this.#localities, ...places];
    return [...kept];
  }

  #localityFor(locality: LocalityConfig, known: ReadonlyMap<string, Endpoint>): LiveLocality {
    const endpoints: Endpoint[] = [];
    for (const config of locality.endpoints) {
      const endpoint = this.#endpointFor(config, known);
      if (endpoint !== undefined) endpoints.push(endpoint);
    }
    return { locality: locality.locality, priority: locality.priority, weight: locality.weight, endpoints, isGone: false };
  }

  #endpointFor(config: EndpointConfig, known: ReadonlyMap<string, Endpoint>): Endpoint | undefined {
    if (config.address.kind === 'internal') {
      this.#internalListener = config.address.name;
      return undefined;
    }
    const transport = this.#transportFor(config);
    const address: SocketAddress = config.address;
    const endpoint = known.get(identityOf({ address, hostname: config.hostname }, transport));
    if (endpoint === undefined) {
      const made = new Endpoint(this, { ...config, address, transport });
      made.healthySinceMs = this.clock.monotonic();
      return made;
    }
    endpoint.weight = config.weight;
    endpoint.health = config.health;
    endpoint.workload = config.workload;
    endpoint.details = config.details;
    return endpoint;
  }

  #transportFor(config: EndpointConfig): Transport {
    for (const match of this.config.transportMatches) {
      const labels = config.details.transportLabels ?? {};
      if (Object.entries(match.labels).every(([name, value]) => labels[name] === value)) return match;
    }
    return this.config.defaultTransport;
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
    return subsets === undefined ? new HostSets(this.#localities, options) : new Subsets(this.#localities, subsets, options);
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
    if (this.#originalDestinations !== undefined || this.config.discovery.kind === 'aggregate') return true;
    return this.#localities.some(({ endpoints }) => endpoints.some((endpoint) => endpoint.isUsable));
  }

  #onHealthChange(endpoint: Endpoint): void {
    this.#chooser = undefined;
    if (endpoint.isUsable) return;
    if (this.config.closesOnHealthFailure) retirePool(endpoint);
    this.#dropGone(endpoint);
  }

  /** One that was only kept because its checks passed. */
  #dropGone(endpoint: Endpoint): void {
    const isGone = this.#localities.some((locality) => locality.isGone && locality.endpoints.includes(endpoint));
    if (!isGone || endpoint.checkResult !== 'unhealthy') return;
    this.#localities = this.#localities
      .map((locality) =>
        locality.isGone ? { ...locality, endpoints: locality.endpoints.filter((other) => other !== endpoint) } : locality,
      )
      .filter((locality) => !locality.isGone || locality.endpoints.length > 0);
    const present = new Set(this.endpoints());
    this.outliers?.retain(present);
    this.healthChecker?.setEndpoints(present);
    this.stats.membershipChange++;
    endpoint.pool?.drain();
  }

  /** Takes no part any more: idle connections close, busy ones when they are done. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.outliers?.close();
    this.healthChecker?.close();
    this.#originalDestinations?.close();
    for (const endpoint of this.endpoints()) endpoint.pool?.drain();
  }
}

export interface LiveLocality {
  readonly locality: string;
  readonly priority: number;
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
  /** The control plane took them away, active checks keep them. */
  readonly isGone: boolean;
}

/** Its connections end with their exchange; further ones are made anew. */
function retirePool(endpoint: Endpoint): void {
  endpoint.pool?.drain();
  endpoint.pool = undefined;
}

interface Chooser {
  choose(context: LoadBalancerContext): Endpoint | undefined;
}

const transportNumbers = new WeakMap<object, number>();
let transportCount = 0;

function identityOf(endpoint: { readonly address: SocketAddress; readonly hostname: string }, transport: object): string {
  const { address } = endpoint;
  const place = address.kind === 'pipe' ? address.path : `${address.host}|${address.port}`;
  return `${place}|${endpoint.hostname}|${transportNumber(transport)}`;
}

function transportNumber(transport: object): number {
  const known = transportNumbers.get(transport);
  if (known !== undefined) return known;
  transportNumbers.set(transport, ++transportCount);
  return transportCount;
}
