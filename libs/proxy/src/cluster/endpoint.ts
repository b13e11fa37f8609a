import type { JsonObject } from '@bufbuild/protobuf';
import { type PeerMetadata, peerOfWorkload } from '@mizzen/telemetry';
import { addressText } from '../config/values.ts';
import type { ConnectHandler, EndpointPool, EndpointStats, SocketAddress, UpstreamConnecting, UpstreamEndpoint } from '../contract.ts';
import type { UpstreamTls } from '../tls/upstream-tls.ts';
import type { EndpointConfig, EndpointDetails, EndpointHealth } from './assignment.ts';
import type { LiveCluster } from './cluster.ts';
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
  #stats: EndpointStats | undefined;
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
    this.#stats ??= {
      requestsTotal: 0,
      requestsSuccess: 0,
      requestsError: 0,
      connectionsTotal: 0,
      connectionsActive: 0,
      connectFailures: 0,
    };
    return this.#stats;
  }

  get peer(): PeerMetadata | undefined {
    return this.workload === '' ? undefined : peerOfWorkload(this.workload);
  }

  get lbMetadata(): JsonObject | undefined {
    return this.details.lbMetadata;
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
}
