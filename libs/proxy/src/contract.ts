import type { Socket } from 'node:net';
import type { Clock, Logger, Random } from '@mizzen/core';
import type { RouteTable } from '@mizzen/matching';
import type { DestinationService, HeaderReader, PeerMetadata, StreamInfo } from '@mizzen/telemetry';
import type { HttpConnectionManager } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';

/** Where a socket is bound or connected to. */
export type SocketAddress =
  | { readonly kind: 'ip'; readonly host: string; readonly port: number }
  | { readonly kind: 'pipe'; readonly path: string };

/** What the peer proved by its certificate. */
export interface PeerCertificate {
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly subject: string;
  /** SHA-256 of the DER, lower-case hex: XFCC's Hash. */
  readonly sha256: string;
}

export interface TlsInfo {
  readonly requestedServerName: string;
  /** The protocol agreed by ALPN, or ''. */
  readonly alpn: string;
  readonly peer: PeerCertificate | undefined;
  /** First URI SAN of the certificate that this side presented, or ''. */
  readonly localUriSan: string;
}

/** What a listener knows of itself; `direction` is the listener's traffic_direction. */
export interface ListenerInfo {
  readonly name: string;
  readonly direction: 'inbound' | 'outbound' | 'unspecified';
}

/**
 * What watches the streams of one HCM or TCP proxy: access logs, metrics, spans. Compiled from the filter's message by `observe/`;
 * the filter calls it and knows none of them.
 */
export interface StreamObservers {
  /** Called exactly once, when the stream is over and `info` is complete. Never throws. */
  onStreamEnd(info: StreamInfo): void;
  /**
   * Called in the place of `onStreamEnd` for a tunnel that went to a listener of this process: only logged, because what comes out of it
   * there is counted and traced there. Never throws.
   */
  onStreamHandedOver(info: StreamInfo): void;
  /** undefined when the HCM has no tracing. Call it before the request goes upstream; never throws. */
  readonly startSpan: ((readHeader: HeaderReader, info: StreamInfo) => ActiveSpan) | undefined;
}

export interface ActiveSpan {
  /** Trace headers that the upstream request must carry instead of those that it has (lower-case names). */
  readonly headersToSet: readonly (readonly [name: string, value: string])[];
  /** Ends and records the span; called right before `onStreamEnd`. */
  end(info: StreamInfo): void;
}

/**
 * What the HCM is made with. `createHttpConnectionManager(options)` of `http/connection-manager.ts` answers
 * `{ filter, routeConfigName, rejections }`: with rejections there is no filter; `routeConfigName` is the RDS name it looks up.
 */
export interface HttpConnectionManagerOptions {
  readonly message: HttpConnectionManager;
  readonly context: ProxyContext;
  readonly listener: ListenerInfo;
  readonly observers: StreamObservers;
  /** Live route tables by RDS name, looked up once per request; a swap is one write. No table: 404 NR. */
  readonly routeTables: { get(name: string): RouteTable | undefined };
  /** Reads a peer's x-envoy-peer-metadata header value; undefined where it is not valid. Cached by whoever gives it. */
  readonly decodePeerMetadata: (headerValue: string) => PeerMetadata | undefined;
}

/**
 * A connection that passed the listener filters, was matched to a filter chain and, where the chain says so, finished its TLS handshake.
 * `socket` is paused; bytes that were read before stand in `initialData` and come first. Half-open is allowed on it (as on upstream
 * sockets): who is told of its 'end' must end or destroy it. Its end may have come before the owner listens: look at `readableEnded`.
 */
export interface DownstreamConnection {
  readonly id: number;
  readonly socket: Socket;
  readonly initialData: Buffer | undefined;
  /** Where the client wanted to go: before capture, where the connection was captured. */
  readonly localAddress: SocketAddress;
  readonly remoteAddress: SocketAddress;
  /** `localAddress` where an original_dst listener filter restored it, undefined otherwise: what ORIGINAL_DST clusters connect to. */
  readonly originalDestination: SocketAddress | undefined;
  readonly tls: TlsInfo | undefined;
  readonly listener: ListenerInfo;
}

/** The last filter of a filter chain: owns the connection from `onConnection` on, until the socket closes. */
export interface NetworkFilter {
  onConnection(connection: DownstreamConnection): void;
  /**
   * From now on connections end as soon as their exchange does (HTTP: `connection: close`); called when the listener is replaced, removed
   * or drained. `onDrained` resolves once no connection is left.
   */
  drain(): void;
  readonly activeConnections: number;
}

/** What a load balancer may look at. */
export interface LoadBalancerContext {
  /** 32-bit unsigned hash of the route's hash policy, or undefined. */
  readonly hash: number | undefined;
  /** Endpoints already tried by this request (previous_hosts). */
  readonly isExcluded: ((endpoint: UpstreamEndpoint) => boolean) | undefined;
  readonly originalDestination: SocketAddress | undefined;
  /** Request header, for ORIGINAL_DST clusters that read the address from one (`:authority` included). */
  readonly header: HeaderReader | undefined;
}

/** One address of a cluster with its state. Identity is stable over EDS updates that do not change the address. */
export interface UpstreamEndpoint {
  readonly address: SocketAddress;
  /** As access logs print it. */
  readonly addressText: string;
  /** The name that the address was resolved from, for auto_host_rewrite; '' where there is none. */
  readonly hostname: string;
  readonly cluster: UpstreamCluster;
  readonly peer: PeerMetadata | undefined;
  /** Requests (or TCP connections) under way; the router counts up and down, least request reads. */
  activeRequests: number;
  readonly stats: EndpointStats;
  /**
   * Starts a connection (TLS included where the transport socket says so). Never throws, calls back later. It counts the connection itself:
   * `cluster.active.connections`, `upstreamCxTotal`, `upstreamCxActive`, `upstreamCxConnectFail`, `upstreamCxConnectTimeout` and the
   * endpoint's `connections…`, until the socket closes. The socket is handed over without an 'error' listener.
   */
  connect(handler: ConnectHandler): UpstreamConnecting;
  /** The HTTP/1.1 pool of this endpoint; the http1 code makes it on first use. Closed when the endpoint goes. */
  pool: EndpointPool | undefined;
  /** Outlier detection: the upstream answered with this status. */
  onResponse(status: number): void;
  /** Outlier detection: no answer came (connect failure, reset, timeout). */
  onFailure(): void;
}

export interface EndpointStats {
  requestsTotal: number;
  requestsSuccess: number;
  requestsError: number;
  connectionsTotal: number;
  connectionsActive: number;
  connectFailures: number;
}

/** A pool hung to an endpoint. `drain` closes what is idle at once and the rest when it becomes idle. */
export interface EndpointPool {
  drain(): void;
}

export interface UpstreamConnecting {
  /** Gives the attempt up; no callback follows. */
  cancel(): void;
}

export interface ConnectHandler {
  /** HTTP goes over the connection, and not bytes that nobody looks into: a server of the mesh is told so by ALPN. */
  readonly isHttp?: boolean;
  /** The socket is connected (TLS finished), paused, TCP_NODELAY set. */
  onConnected(socket: Socket, tls: TlsInfo | undefined): void;
  /** `reason` is what %UPSTREAM_TRANSPORT_FAILURE_REASON% prints for TLS failures, or the system error; `isTimeout` for connect_timeout. */
  onFailed(failure: { readonly reason: string; readonly isTls: boolean; readonly isTimeout: boolean }): void;
}

/** A cluster as the request path sees it. Replaced as a whole when its definition changes; endpoints live on where they can. */
export interface UpstreamCluster {
  readonly name: string;
  /** alt_stat_name or the name. */
  readonly observabilityName: string;
  readonly service: DestinationService | undefined;
  /** The service is outside of the mesh: its metadata says `istio.external`, as Istio marks clusters of MESH_EXTERNAL services. */
  readonly isExternal: boolean;
  readonly connectTimeoutMs: number;
  /** 0 means unlimited. */
  readonly maxRequestsPerConnection: number;
  /** How long an idle pooled connection is kept; default 1 h as Envoy's. */
  readonly idleTimeoutMs: number;
  /** How long a pooled connection may carry new requests; 0 means without end. Source: envoy HttpProtocolOptions.max_connection_duration. */
  readonly maxConnectionDurationMs: number;
  /** The cluster is one endpoint that is an internal listener: the connection is handed over inside the process. */
  readonly internalListener: string | undefined;
  readonly limits: {
    readonly maxConnections: number;
    readonly maxPendingRequests: number;
    readonly maxRequests: number;
    readonly maxRetries: number;
  };
  /** Live counts that the limits apply to; shared by all who use the cluster. */
  readonly active: { connections: number; pendingRequests: number; requests: number; retries: number };
  readonly stats: ClusterStats;
  /** undefined when no endpoint is there or healthy: 503 UH. */
  chooseEndpoint(context: LoadBalancerContext): UpstreamEndpoint | undefined;
}

/** Counters under Envoy's names (cluster.<name>.upstream_rq_total, …); plain numbers, read when scraped. */
export interface ClusterStats {
  upstreamCxTotal: number;
  upstreamCxActive: number;
  upstreamCxConnectFail: number;
  upstreamCxConnectTimeout: number;
  upstreamCxOverflow: number;
  upstreamCxDestroyLocalWithActiveRq: number;
  upstreamCxDestroyRemoteWithActiveRq: number;
  upstreamRqTotal: number;
  upstreamRqActive: number;
  upstreamRqPendingActive: number;
  upstreamRqPendingOverflow: number;
  upstreamRqTimeout: number;
  upstreamRqPerTryTimeout: number;
  upstreamRqRetry: number;
  upstreamRqRetrySuccess: number;
  upstreamRqRetryOverflow: number;
  upstreamRqRetryLimitExceeded: number;
  upstreamRqRxReset: number;
  upstreamRqTxReset: number;
  upstreamRq2xx: number;
  upstreamRq3xx: number;
  upstreamRq4xx: number;
  upstreamRq5xx: number;
}

/** What the request path asks of the rest of the proxy. One per process. */
export interface ProxyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** undefined when there is no such cluster: 503 NC. */
  cluster(name: string): UpstreamCluster | undefined;
  /** Hands a connection over to an internal listener of this process. False when there is none of that name. */
  handToInternalListener(name: string, connection: DownstreamConnection): boolean;
  /** This proxy as it tells others of itself: node id and the value of x-envoy-peer-metadata. */
  readonly localPeer: { readonly nodeId: string; readonly metadataHeader: string; readonly metadata: PeerMetadata };
  /** Whether the process is draining: HTTP/1.1 answers then carry `connection: close`. */
  isDraining(): boolean;
}
