import type { Clock, Random } from '@mizzen/core';
import type { DestinationService } from '@mizzen/telemetry';
import type { ClusterStats, LoadBalancerContext, SocketAddress, UpstreamCluster } from '../contract.ts';
import type { AssignmentConfig, EndpointConfig } from './assignment.ts';
import type { ClusterConfig } from './cluster-config.ts';
import { Endpoint } from './endpoint.ts';
import { createLoadBalancer, cumulate, type LoadBalancer, search } from './load-balancers.ts';
import { OriginalDestinations } from './original-destinations.ts';
import { OutlierDetector } from './outlier-detection.ts';

// How often another endpoint is tried when the chosen one was tried already. Source: Istio's host_selection_retry_max_attempts.
const MAX_RESELECTIONS = 5;

/** What outlives a cluster's definition: counters and live counts are those of the name. */
export interface ClusterCounts {
  readonly stats: ClusterStats;
  readonly active: UpstreamCluster['active'];
}

export function createClusterCounts(): ClusterCounts {
  return {
    stats: {
      upstreamCxTotal: 0,
      upstreamCxActive: 0,
      upstreamCxConnectFail: 0,
      upstreamCxConnectTimeout: 0,
      upstreamCxOverflow: 0,
      upstreamCxDestroyLocalWithActiveRq: 0,
      upstreamCxDestroyRemoteWithActiveRq: 0,
      upstreamRqTotal: 0,
      upstreamRqActive: 0,
      upstreamRqPendingActive: 0,
      upstreamRqPendingOverflow: 0,
      upstreamRqTimeout: 0,
      upstreamRqPerTryTimeout: 0,
      upstreamRqRetry: 0,
      upstreamRqRetrySuccess: 0,
      upstreamRqRetryOverflow: 0,
      upstreamRqRetryLimitExceeded: 0,
      upstreamRqRxReset: 0,
      upstreamRqTxReset: 0,
      upstreamRq2xx: 0,
      upstreamRq3xx: 0,
      upstreamRq4xx: 0,
      upstreamRq5xx: 0,
    },
    active: { connections: 0, pendingRequests: 0, requests: 0, retries: 0 },
  };
}

/** One cluster in force. Its endpoints change under it; its definition never does. */
export class LiveCluster implements UpstreamCluster {
  readonly config: ClusterConfig;
  readonly clock: Clock;
  readonly stats: ClusterStats;
  readonly active: UpstreamCluster['active'];
  readonly outliers: OutlierDetector | undefined;
  readonly #random: Random;
  readonly #originalDestinations: OriginalDestinations | undefined;
  #endpoints: readonly Endpoint[] = [];
  #localities: readonly LiveLocality[] = [];
  #internalListener: string | undefined;
  #choice: Choice | undefined;
  #isClosed = false;

  constructor(config: ClusterConfig, options: { readonly clock: Clock; readonly random: Random; readonly counts: ClusterCounts }) {
    this.config = config;
    this.clock = options.clock;
    this.#random = options.random;
    this.stats = options.counts.stats;
    this.active = options.counts.active;
    if (config.outlierDetection !== undefined) {
      this.outliers = new OutlierDetector(config.outlierDetection, {
        ...options,
        onChange: () => {
          this.#choice = undefined;
        },
      });
    }
    if (config.discovery.kind === 'originalDestination') this.#originalDestinations = new OriginalDestinations(this);
  }

  get name(): string {
    return this.config.name;
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
    return this.config.maxRequestsPerConnection;
  }

  get idleTimeoutMs(): number {
    return this.config.idleTimeoutMs;
  }

  get maxConnectionDurationMs(): number {
    return this.config.maxConnectionDurationMs;
  }

  get limits(): UpstreamCluster['limits'] {
    return this.config.limits;
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
    if (this.config.isGrpcOnly) return undefined;
    this.#choice ??= this.#buildChoice();
    const { balancers, cumulatedWeights } = this.#choice;
    if (balancers.length === 0) return undefined;
    let endpoint: Endpoint | undefined;
    for (let attempt = 0; attempt <= MAX_RESELECTIONS; attempt++) {
      const index =
        balancers.length === 1 ? 0 : search(cumulatedWeights, this.#random() * (cumulatedWeights[cumulatedWeights.length - 1] as number));
      endpoint = (balancers[index] as LoadBalancer).choose(context);
      if (context.isExcluded === undefined || !context.isExcluded(endpoint)) return endpoint;
    }
    return endpoint;
  }

  /** Replaces the endpoints. One whose address and transport stay keeps its identity, its counters and its connections. */
  setEndpoints(assignment: AssignmentConfig): void {
    const known = new Map(this.#endpoints.map((endpoint) => [identityOf(endpoint, endpoint.tls), endpoint]));
    const kept = new Set<Endpoint>();
    this.#internalListener = undefined;
    this.#localities = assignment.localities.map((locality) => ({
      locality: locality.locality,
      priority: locality.priority,
      weight: locality.weight,
      endpoints: locality.endpoints.flatMap((config) => this.#endpointFor(config, known) ?? []),
    }));
    for (const locality of this.#localities) for (const endpoint of locality.endpoints) kept.add(endpoint);
    const gone = this.#endpoints.filter((endpoint) => !kept.has(endpoint));
    this.#endpoints = [...kept];
    this.#choice = undefined;
    this.outliers?.retain(kept);
    for (const endpoint of gone) endpoint.pool?.drain();
  }

  #endpointFor(config: EndpointConfig, known: ReadonlyMap<string, Endpoint>): Endpoint | undefined {
    if (config.address.kind === 'internal') {
      this.#internalListener = config.address.name;
      return undefined;
    }
    const tls = this.#transportFor(config);
    const address: SocketAddress = config.address;
    const endpoint = known.get(identityOf({ address, hostname: config.hostname }, tls));
    if (endpoint === undefined) return new Endpoint(this, { ...config, address, tls });
    endpoint.weight = config.weight;
    endpoint.health = config.health;
    endpoint.workload = config.workload;
    return endpoint;
  }

  #transportFor(config: EndpointConfig): ClusterConfig['defaultTls'] {
    for (const match of this.config.transportMatches) {
      const labels = config.transportLabels ?? {};
      if (Object.entries(match.labels).every(([name, value]) => labels[name] === value)) return match.tls;
    }
    return this.config.defaultTls;
  }

  #buildChoice(): Choice {
    const endpoints = this.#selectable();
    if (endpoints.length === 0) return { balancers: [], cumulatedWeights: new Float64Array() };
    if (!this.config.isLocalityWeighted)
      return { balancers: [createLoadBalancer(endpoints, this.config, this.#random)], cumulatedWeights: new Float64Array([1]) };
    const chosen = new Set(endpoints);
    const localities = this.#localities
      .map((locality) => ({ weight: locality.weight, endpoints: locality.endpoints.filter((endpoint) => chosen.has(endpoint)) }))
      .filter((locality) => locality.weight > 0 && locality.endpoints.length > 0);
    return {
      balancers: localities.map((locality) => createLoadBalancer(locality.endpoints, this.config, this.#random)),
      cumulatedWeights: cumulate(localities),
    };
  }

  /** The endpoints of the first priority that has a usable one; in panic all endpoints of the first priority. */
  #selectable(): readonly Endpoint[] {
    const priorities = [...new Set(this.#localities.map((locality) => locality.priority))].sort((a, b) => a - b);
    let first: readonly Endpoint[] = [];
    for (const priority of priorities) {
      const all = this.#localities.filter((locality) => locality.priority === priority).flatMap((locality) => locality.endpoints);
      if (all.length === 0) continue;
      if (first.length === 0) first = all;
      const usable = all.filter((endpoint) => endpoint.isUsable);
      const healthy = usable.filter((endpoint) => endpoint.health === 'healthy');
      const isLast = priority === priorities.at(-1);
      const isPanic = (usable.length / all.length) * 100 < this.config.panicThresholdPercent;
      if (isPanic && isLast && all === first) return all;
      if (healthy.length > 0) return healthy;
      if (usable.length > 0) return usable;
    }
    return this.config.panicThresholdPercent > 0 ? first : [];
  }

  /** Takes no part any more: idle connections close, busy ones when they are done. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.outliers?.close();
    this.#originalDestinations?.close();
    for (const endpoint of this.#endpoints) endpoint.pool?.drain();
  }
}

export interface LiveLocality {
  readonly locality: string;
  readonly priority: number;
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
}

interface Choice {
  readonly balancers: readonly LoadBalancer[];
  readonly cumulatedWeights: Float64Array;
}

const transportNumbers = new WeakMap<object, number>();
let transportCount = 0;

function identityOf(endpoint: { readonly address: SocketAddress; readonly hostname: string }, tls: object | undefined): string {
  const { address } = endpoint;
  const place = address.kind === 'pipe' ? address.path : `${address.host}|${address.port}`;
  return `${place}|${endpoint.hostname}|${tls === undefined ? 0 : transportNumber(tls)}`;
}

function transportNumber(tls: object): number {
  const known = transportNumbers.get(tls);
  if (known !== undefined) return known;
  transportNumbers.set(tls, ++transportCount);
  return transportCount;
}
