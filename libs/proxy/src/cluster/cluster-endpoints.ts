import type { SocketAddress } from '../contract.ts';
import type { AssignmentConfig, EndpointConfig, LocalityConfig } from './assignment.ts';
import type { LiveCluster } from './cluster.ts';
import { decidedOf } from './cluster-peers.ts';
import { Endpoint } from './endpoint.ts';
import type { Transport } from './transports.ts';

export interface LiveLocality {
  readonly locality: string;
  readonly priority: number;
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
  /** The control plane took them away, active checks keep them. */
  readonly isGone: boolean;
}

/** The endpoints that a cluster was given, and those that it keeps although they were taken away. */
export class ClusterEndpoints {
  readonly #cluster: LiveCluster;
  #localities: readonly LiveLocality[] = [];
  #internalListener: string | undefined;

  constructor(cluster: LiveCluster) {
    this.#cluster = cluster;
  }

  /** In the order of the assignment; another array after every change. */
  get localities(): readonly LiveLocality[] {
    return this.#localities;
  }

  /** The assignment names this listener of the process instead of addresses. */
  get internalListener(): string | undefined {
    return this.#internalListener;
  }

  list(): Endpoint[] {
    return this.#localities.flatMap(({ endpoints }) => endpoints);
  }

  /** One whose address and transport stay keeps its identity, its counters and its connections. */
  replace(assignment: AssignmentConfig): void {
    const placesBefore = this.#localities;
    const before = this.list();
    const known = new Map(before.map((endpoint) => [identityOf(endpoint, endpoint.transport), endpoint]));
    this.#internalListener = undefined;
    this.#localities = assignment.localities.map((locality) => this.#localityFor(locality, known));
    const present = new Set(this.list());
    const gone = before.filter((endpoint) => !present.has(endpoint));
    const kept = this.#keepHealthy(gone, placesBefore);
    for (const endpoint of kept) present.add(endpoint);
    this.#watch(present);
    const isChanged = gone.length > kept.length || present.size > before.length;
    if (isChanged) this.#cluster.stats.membershipChange++;
    for (const endpoint of gone) if (!present.has(endpoint)) endpoint.leave();
    if (isChanged && this.#cluster.config.closesOnHostSetChange) for (const endpoint of present) retirePool(endpoint);
  }

  /** An endpoint is no longer fit for requests. One that was only kept because its checks passed goes now. */
  onUnusable(endpoint: Endpoint): void {
    if (this.#cluster.config.closesOnHealthFailure) retirePool(endpoint);
    const isGone = this.#localities.some((locality) => locality.isGone && locality.endpoints.includes(endpoint));
    if (!isGone || endpoint.checkResult !== 'unhealthy') return;
    this.#localities = this.#localities
      .map((locality) =>
        locality.isGone ? { ...locality, endpoints: locality.endpoints.filter((other) => other !== endpoint) } : locality,
      )
      .filter((locality) => !locality.isGone || locality.endpoints.length > 0);
    this.#watch(new Set(this.list()));
    this.#cluster.stats.membershipChange++;
    endpoint.leave();
  }

  /** Idle connections close, busy ones when they are done. */
  close(): void {
    for (const endpoint of this.list()) endpoint.leave();
  }

  #watch(present: ReadonlySet<Endpoint>): void {
    this.#cluster.outliers?.retain(present);
    this.#cluster.healthChecker?.setEndpoints(present);
  }

  /**
   * With active checks an endpoint that the control plane took away stays where it was until it fails one: discovery may be behind.
   * Source: envoy BaseDynamicClusterImpl::updateDynamicHostList, "stabilized" hosts (1.40).
   */
  #keepHealthy(gone: readonly Endpoint[], before: readonly LiveLocality[]): readonly Endpoint[] {
    if (this.#cluster.healthChecker === undefined || this.#cluster.config.ignoresHealthOnRemoval) return [];
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
      const made = new Endpoint(this.#cluster, { ...config, address, transport });
      made.healthySinceMs = this.#cluster.clock.monotonic();
      this.#share(made);
      return made;
    }
    endpoint.weight = config.weight;
    endpoint.health = config.health;
    endpoint.workload = config.workload;
    endpoint.details = config.details;
    return endpoint;
  }

  #transportFor(config: EndpointConfig): Transport {
    for (const match of this.#cluster.config.transportMatches) {
      const labels = config.details.transportLabels ?? {};
      if (Object.entries(match.labels).every(([name, value]) => labels[name] === value)) return match;
    }
    return this.#cluster.config.defaultTransport;
  }

  #share(endpoint: Endpoint): void {
    const { outliers, healthChecker, limits, peers } = this.#cluster;
    if (outliers === undefined && healthChecker === undefined && limits.maxConnectionsPerHost === undefined) return;
    endpoint.shared = peers?.acquire(endpoint);
    if (endpoint.shared !== undefined && peers?.decides === false) endpoint.isEjected = decidedOf(endpoint.shared).isEjected;
  }
}

/** Its connections end with their exchange; further ones are made anew. */
function retirePool(endpoint: Endpoint): void {
  endpoint.pool?.drain();
  endpoint.pool = undefined;
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
