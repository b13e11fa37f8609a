import type { JsonObject } from '@bufbuild/protobuf';
import type { DestinationService, PeerMetadata } from '@mizzen/telemetry';
import type {
  ConnectHandler,
  EndpointPool,
  EndpointStats,
  LoadBalancerContext,
  SocketAddress,
  UpstreamCluster,
  UpstreamConnecting,
  UpstreamEndpoint,
} from '../contract.ts';
import type { Http2ClientOptions } from '../http2/options.ts';
import type { LiveCluster } from './cluster.ts';
import type { Endpoint } from './endpoint.ts';

/**
 * A cluster as requests of routes with priority HIGH see it: the same endpoints and counters, with limits and connections of its own, so that
 * the others cannot use them up. Source: envoy docs, Priority routing (1.40).
 */
export class HighPriorityCluster implements UpstreamCluster {
  readonly limits: UpstreamCluster['limits'];
  readonly active: UpstreamCluster['active'];
  readonly #cluster: LiveCluster;
  readonly #endpoints = new WeakMap<UpstreamEndpoint, HighPriorityEndpoint>();

  constructor(cluster: LiveCluster, active: UpstreamCluster['active']) {
    this.#cluster = cluster;
    this.limits = cluster.config.circuitBreakers.high.limits;
    this.active = active;
  }

  chooseEndpoint(context: LoadBalancerContext): UpstreamEndpoint | undefined {
    const { isExcluded } = context;
    const asked =
      isExcluded === undefined
        ? context
        : { ...context, isExcluded: (other: UpstreamEndpoint) => isExcluded(this.viewOf(other as Endpoint)) };
    const endpoint = this.#cluster.chooseEndpoint(asked);
    return endpoint === undefined ? undefined : this.viewOf(endpoint);
  }

  /** One object for each endpoint. Those that an aggregate cluster gives are another cluster's, whose limits and protocol count. */
  viewOf(endpoint: Endpoint): UpstreamEndpoint {
    if (endpoint.cluster !== this.#cluster) return endpoint.cluster.highPriority.viewOf(endpoint);
    let view = this.#endpoints.get(endpoint);
    if (view === undefined) {
      view = new HighPriorityEndpoint(endpoint, this);
      this.#endpoints.set(endpoint, view);
    }
    return view;
  }

  shouldDrop(): boolean {
    return this.#cluster.shouldDrop();
  }

  get name(): string {
    return this.#cluster.name;
  }

  get observabilityName(): string {
    return this.#cluster.observabilityName;
  }

  get metadata(): UpstreamCluster['metadata'] {
    return this.#cluster.metadata;
  }

  get service(): DestinationService | undefined {
    return this.#cluster.service;
  }

  get isExternal(): boolean {
    return this.#cluster.isExternal;
  }

  get connectTimeoutMs(): number {
    return this.#cluster.connectTimeoutMs;
  }

  get maxRequestsPerConnection(): number {
    return this.#cluster.maxRequestsPerConnection;
  }

  get idleTimeoutMs(): number {
    return this.#cluster.idleTimeoutMs;
  }

  get maxConnectionDurationMs(): number {
    return this.#cluster.maxConnectionDurationMs;
  }

  get upstreamProtocol(): UpstreamCluster['upstreamProtocol'] {
    return this.#cluster.upstreamProtocol;
  }

  get http2(): Http2ClientOptions {
    return this.#cluster.http2;
  }

  get metadataExchangeProtocol(): string | undefined {
    return this.#cluster.metadataExchangeProtocol;
  }

  get connectionsByRequest(): UpstreamCluster['connectionsByRequest'] {
    return this.#cluster.connectionsByRequest;
  }

  get dynamicHosts(): UpstreamCluster['dynamicHosts'] {
    return this.#cluster.dynamicHosts;
  }

  get internalListener(): string | undefined {
    return this.#cluster.internalListener;
  }

  get stats(): UpstreamCluster['stats'] {
    return this.#cluster.stats;
  }
}

/** An endpoint of it: what differs is whose limits its connections count against. */
class HighPriorityEndpoint implements UpstreamEndpoint {
  readonly ordinary: UpstreamEndpoint;
  readonly cluster: UpstreamCluster;
  pool: EndpointPool | undefined = undefined;

  constructor(ordinary: UpstreamEndpoint, cluster: UpstreamCluster) {
    this.ordinary = ordinary;
    this.cluster = cluster;
  }

  connect(handler: ConnectHandler): UpstreamConnecting {
    return this.ordinary.connect({ ...handler, countedIn: this.cluster.active });
  }

  onResponse(status: number): void {
    this.ordinary.onResponse(status);
  }

  onFailure(): void {
    this.ordinary.onFailure();
  }

  get address(): SocketAddress {
    return this.ordinary.address;
  }

  get addressText(): string {
    return this.ordinary.addressText;
  }

  get hostname(): string {
    return this.ordinary.hostname;
  }

  get peer(): PeerMetadata | undefined {
    return this.ordinary.peer;
  }

  get metadata(): Readonly<Record<string, JsonObject>> | undefined {
    return this.ordinary.metadata;
  }

  get stats(): EndpointStats {
    return this.ordinary.stats;
  }

  get activeRequests(): number {
    return this.ordinary.activeRequests;
  }

  set activeRequests(count: number) {
    this.ordinary.activeRequests = count;
  }
}
