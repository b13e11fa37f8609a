import type { JsonObject } from '@bufbuild/protobuf';
import { type PeerMetadata, peerOfWorkload } from '@mizzen/telemetry';
import { addressText } from '../config/values.ts';
import type { ConnectHandler, EndpointPool, EndpointStats, SocketAddress, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import type { UpstreamTls } from '../tls/upstream-tls.ts';
import type { SharedSlot } from '../workers/shared-memory.ts';
import type { EndpointConfig, EndpointDetails, EndpointHealth } from './assignment.ts';
import type { LiveCluster } from './cluster.ts';
import { SHARED_ENDPOINT } from './cluster-peers.ts';
import { connectTo } from './connecting.ts';
import type { Transport } from './transports.ts';

/** What active health checks say of an endpoint: 'none' where there are none, 'pending' before the first result. */
export type CheckResult = 'none' | 'pending' | 'healthy' | 'degraded' | 'unhealthy';

export type EndpointAvailability = 'healthy' | 'degraded' | 'unhealthy';

/** One address of a cluster. Small: a proxy knows tens of thousands, and most are never used. */
export class Endpoint implements UpstreamEndpoint {
  readonly address: SocketAddress;
  readonly cluster: LiveCluster;
  readonly hostname: string;
  /** What its connections begin with; two endpoints with the same address and transport are the same endpoint. */
  readonly transport: Transport;
  details: EndpointDetails;
  weight: number;
  /** As the control plane says. */
  health: EndpointHealth;
  workload: string;
  activeRequests = 0;
  /** When the load balancer chose it last, as a count of choices: ties go to the one that waited longest. */
  lastChosen = 0;
  isEjected = false;
  checkResult: CheckResult = 'none';
  /** Monotonic; when it came, or passed its first check after failing: slow start counts from there. */
  healthySinceMs = Number.NEGATIVE_INFINITY;
  pool: EndpointPool | undefined = undefined;
  /** What all event loops know of it; undefined where there is one, or where nothing is decided about endpoints. */
  shared: SharedSlot | undefined = undefined;
  #stats: EndpointStats | undefined;
  /** Those of this event loop, where `shared` counts those of all. */
  #ownConnections = 0;
  #addressText: string | undefined;

  constructor(
    cluster: LiveCluster,
    config: Omit<EndpointConfig, 'address'> & { readonly address: SocketAddress; readonly transport: Transport },
  ) {
    this.cluster = cluster;
    this.address = config.address;
    this.hostname = config.hostname;
    this.weight = config.weight;
    this.health = config.health;
    this.workload = config.workload;
    this.details = config.details;
    this.transport = config.transport;
  }

  get addressText(): string {
    this.#addressText ??= addressText(this.address);
    return this.#addressText;
  }

  get stats(): EndpointStats {
    this.#stats ??= this.#createStats();
    return this.#stats;
  }

  get peer(): PeerMetadata | undefined {
    return this.workload === '' ? undefined : peerOfWorkload(this.workload);
  }

  get lbMetadata(): JsonObject | undefined {
    return this.details.lbMetadata;
  }

  get metadata(): Readonly<Record<string, JsonObject>> | undefined {
    const { transportLabels, lbMetadata, otherMetadata } = this.details;
    const all = {
      ...(this.workload === '' ? undefined : { istio: { workload: this.workload } }),
      ...(transportLabels === undefined ? undefined : { 'envoy.transport_socket_match': transportLabels }),
      ...(lbMetadata === undefined ? undefined : { 'envoy.lb': lbMetadata }),
      ...otherMetadata,
    };
    return Object.keys(all).length === 0 ? undefined : all;
  }

  get tls(): UpstreamTls | undefined {
    return this.transport.tls;
  }

  /** What load balancers go by: the control plane, active checks and outlier detection must agree on "healthy". */
  get availability(): EndpointAvailability {
    if (this.health === 'unhealthy' || this.isEjected || this.checkResult === 'unhealthy' || this.checkResult === 'pending')
      return 'unhealthy';
    return this.health === 'degraded' || this.checkResult === 'degraded' ? 'degraded' : 'healthy';
  }

  get isUsable(): boolean {
    return this.availability !== 'unhealthy';
  }

  /** Does not count among the endpoints of its priority: it was not checked yet, and the cluster says that such ones do not. */
  get isExcluded(): boolean {
    return this.checkResult === 'pending' && this.cluster.config.ignoresUnchecked;
  }

  onResponse(status: number): void {
    this.cluster.outliers?.onResponse(this, status);
  }

  onFailure(): void {
    this.cluster.outliers?.onFailure(this);
  }

  connect(handler: ConnectHandler): UpstreamConnecting {
    return connectTo(this, handler);
  }

  /** It takes no part any more: idle connections close, busy ones when they are done, and count for nobody. */
  leave(): void {
    this.pool?.drain();
    const { shared } = this;
    if (shared === undefined || shared.isReleased) return;
    // Another event loop may hold the numbers on, for the same endpoint when it comes again.
    shared.add(SHARED_ENDPOINT.connections, -this.#ownConnections);
    shared.release();
  }

  /** Connections count together with those of other event loops, for the limit of one host. */
  #createStats(): EndpointStats {
    const stats = {
      requestsTotal: 0,
      requestsSuccess: 0,
      requestsError: 0,
      requestsTimeout: 0,
      connectionsTotal: 0,
      connectionsActive: 0,
      connectFailures: 0,
    };
    const { shared } = this;
    if (shared === undefined) return stats;
    let seen = 0;
    // Only ever changed by ++ and --, which read first.
    return Object.defineProperty(stats, 'connectionsActive', {
      enumerable: true,
      get: () => {
        seen = shared.isReleased ? 0 : shared.get(SHARED_ENDPOINT.connections);
        return seen;
      },
      set: (value: number) => {
        if (shared.isReleased) return;
        this.#ownConnections += value - seen;
        shared.add(SHARED_ENDPOINT.connections, value - seen);
      },
    });
  }
}
