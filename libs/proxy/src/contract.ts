import type { Socket } from 'node:net';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { Clock, Logger, Random } from '@mizzen/core';
import type { RouteTable } from '@mizzen/matching';
import type { DestinationService, HeaderReader, PeerMetadata, ResponseFlag, StreamInfo, TrySpan } from '@mizzen/telemetry';
import type { HttpConnectionManager } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { RuntimeValues } from './config/runtime-values.ts';
import type { Http2ClientOptions } from './http2/options.ts';
import type { ClusterStats } from './observe/cluster-stats.ts';
import type { StatRegistry } from './observe/stat-registry.ts';
import type { ProcessShare } from './workers/process-share.ts';

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
  /** The certificate, and it with those that it was sent with, as PEM: made when it is asked for. */
  readonly pem?: () => string;
  readonly chainPem?: () => string;
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
  /** `drain_type: MODIFY_ONLY`: its connections are not asked to end because /healthcheck/fail was called. */
  readonly drainsOnModifyOnly?: boolean;
  /** Of its message, by namespace; absent without. */
  readonly metadata?: Readonly<Record<string, JsonObject>>;
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
  /** Begins the span of a try; its headers take the place of those. undefined where tries have no spans. */
  readonly startTry?: (() => TrySpan) | undefined;
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
  /** Of the filter chain that took it. */
  readonly filterChainName?: string;
  /** SNI of a connection that passes as TLS or ended here, as an inspector read it; absent without (then look at `tls`). */
  readonly requestedServerName?: string;
  /** The socket's own address, where `localAddress` came by the PROXY protocol or from the kernel; absent where both are the same. */
  readonly directLocalAddress?: SocketAddress;
  /** The socket's own peer, where `remoteAddress` came by the PROXY protocol; absent where both are the same. */
  readonly directRemoteAddress?: SocketAddress;
  /** What filters before the last one found out; absent where none of them looks. */
  readonly filterState?: ConnectionFilterState;
}

/** What listener filters and network gates tell the filters after them about one connection. */
export interface ConnectionFilterState {
  /** In the place of tcp_proxy's own cluster: what sni_cluster decides. */
  clusterName?: string;
  /** The downstream's workload, where it told by the metadata exchange of TCP. */
  peer?: PeerMetadata;
  /** By namespace, as RBAC and access logs read it: TLVs of the PROXY protocol. */
  dynamicMetadata?: Record<string, Record<string, JsonValue>>;
  /** Objects that filters set, by key. Source: envoy docs, Well Known Filter State Objects (1.40). */
  objects?: Map<string, FilterStateObject>;
  /** The PROXY header that came, with the TLVs that `pass_through_tlvs` lets through: for upstreams that are sent one. */
  proxyHeader?: ProxyHeader;
}

/** A text that a filter left for other parts. */
export interface FilterStateObject {
  readonly value: string;
  /** Nobody sets it again. */
  readonly isReadOnly: boolean;
  /** Whether a connection that goes on to a listener of this process takes it along: not, to the next one, to all. */
  readonly sharing: 'none' | 'once' | 'transitive';
}

/** A PROXY protocol header. Source: the PROXY protocol, haproxy doc/proxy-protocol.txt §2. */
export interface ProxyHeader {
  /** undefined: LOCAL or UNKNOWN, the sender speaks for itself. */
  readonly addresses: { readonly source: SocketAddress; readonly destination: SocketAddress } | undefined;
  readonly tlvs: readonly ProxyTlv[];
}

export interface ProxyTlv {
  readonly type: number;
  readonly value: Buffer;
}

/** Why a gate closed a connection: %CONNECTION_TERMINATION_DETAILS% ('' for none) and a response flag. */
export interface Refusal {
  readonly details: string;
  readonly flag?: ResponseFlag;
}

/** The last filter of a filter chain: owns the connection from `onConnection` on, until the socket closes. */
export interface NetworkFilter {
  onConnection(connection: DownstreamConnection): void;
  /** A gate before this filter closes the connection; called first, for who logs connections. `why` as access logs print it. */
  onRefused?(connection: DownstreamConnection, why: Refusal): void;
  /**
   * From now on connections end as soon as their exchange does (HTTP: `connection: close`); called when the listener is replaced, removed
   * or drained. `onDrained` resolves once no connection is left.
   */
  drain(): void;
  readonly activeConnections: number;
}

/** One endpoint by its address, as access logs print it. */
export interface AskedEndpoint {
  readonly address: string;
  /** No other one will do. */
  readonly isStrict: boolean;
}

/** What a load balancer may look at. */
export interface LoadBalancerContext {
  /** `host` or `host:port` that the client wants of a forward proxy, where it is not what `:authority` says. */
  readonly forwardedHost?: string | undefined;
  /** Goes before every policy, where the endpoint is there and its health is one of those that the cluster says. */
  readonly askedEndpoint?: AskedEndpoint | undefined;
  /** Hash of the route's hash policy, of 64 bits or a number of 32, unsigned; or undefined. */
  readonly hash: bigint | number | undefined;
  /** `envoy.lb` metadata that endpoints must carry, for clusters with subsets. */
  readonly metadataMatch?: JsonObject | undefined;
  /** Endpoints already tried by this request (previous_hosts). */
  readonly isExcluded: ((endpoint: UpstreamEndpoint) => boolean) | undefined;
  readonly originalDestination: SocketAddress | undefined;
  /** Request header, for ORIGINAL_DST clusters that read the address from one (`:authority` included). */
  readonly header: HeaderReader | undefined;
  /** Dynamic metadata by namespace, for ORIGINAL_DST clusters that read the address from it. */
  readonly dynamicMetadata?: ((namespace: string) => JsonValue | undefined) | undefined;
}

/** One address of a cluster with its state. Identity is stable over EDS updates that do not change the address. */
export interface UpstreamEndpoint {
  readonly address: SocketAddress;
  /** As access logs print it. */
  readonly addressText: string;
  /** The name that the address was resolved from, for auto_host_rewrite; '' where there is none. */
  readonly hostname: string;
  readonly cluster: UpstreamCluster;
  /** What this is a view of, where it is of another priority: the pools of both end together. */
  readonly ordinary?: UpstreamEndpoint;
  readonly peer: PeerMetadata | undefined;
  /** Of its message, by namespace; undefined without. */
  readonly metadata?: Readonly<Record<string, JsonObject>> | undefined;
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
  requestsTimeout: number;
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

/**
 * What a connection must be like for the request or client that it is made for, besides what its endpoint says of all of them. Requests with
 * equal keys share connections. Source: envoy Network::TransportSocketOptions (1.40).
 */
export interface ConnectionNeeds {
  readonly key: string;
  /** SNI in the place of the TLS context's. */
  readonly serverName?: string | undefined;
  /** One of these names must be in the server's certificate, besides what the TLS context demands. */
  readonly subjectAltNames?: readonly string[] | undefined;
  /** Offered by ALPN in the place of all else. */
  readonly alpn?: readonly string[] | undefined;
  /** Who is sent, where the endpoint's transport socket begins with a PROXY header. */
  readonly proxyHeader?: ProxyHeader | undefined;
}

export interface ConnectHandler {
  /**
   * HTTP goes over the connection, in one of these versions (`h2`, `http/1.1`), and not bytes that nobody looks into. A server of the mesh is
   * told so by ALPN, another one where the TLS context has no ALPN of its own.
   */
  readonly alpn?: readonly string[];
  /** The counts that it takes part in, where those are not the cluster's. */
  readonly countedIn?: UpstreamCluster['active'];
  /** What the connection must be like for the one that it is made for. */
  readonly needs?: ConnectionNeeds | undefined;
  /** The socket is connected (TLS finished), paused, TCP_NODELAY set. */
  onConnected(socket: Socket, tls: TlsInfo | undefined): void;
  /** `reason` is what %UPSTREAM_TRANSPORT_FAILURE_REASON% prints for TLS failures, or the system error; `isTimeout` for connect_timeout. */
  onFailed(failure: { readonly reason: string; readonly isTls: boolean; readonly isTimeout: boolean }): void;
}

/** Names that requests bring, and their addresses. */
export interface DnsHosts {
  readonly name: string;
  /** Sees to it that a host (`name` or `name:port`) is resolved; `onAnswered` is called once after 'pending', be the answer one or none. */
  load(authority: string, defaultPort: number, onAnswered: () => void): DnsLoad;
}

/** 'failed': there is no such name; 'overflow': there are too many names; 'pending-overflow': too many requests wait. */
export type DnsLoad =
  | { readonly kind: 'known' | 'failed' | 'overflow' | 'pending-overflow' }
  | { readonly kind: 'pending'; cancel(): void };

/** How connections of a cluster depend on requests. Source: envoy UpstreamHttpProtocolOptions, ProxyProtocolUpstreamTransport (1.40). */
export interface ConnectionsByRequest {
  /** SNI is the request's host. */
  readonly setsServerName: boolean;
  /** The server's certificate must carry the request's host. */
  readonly verifiesHost: boolean;
  /** The request header that is read in the place of the host, lower-case; '' for none. */
  readonly hostHeader: string;
  /** Connections begin with a PROXY header. */
  readonly sendsProxyHeader: boolean;
}

export type UpstreamProtocol = 'http1' | 'http2' | 'auto' | 'downstream';

/** A cluster as the request path sees it. Replaced as a whole when its definition changes; endpoints live on where they can. */
export interface UpstreamCluster {
  readonly name: string;
  /** alt_stat_name or the name. */
  readonly observabilityName: string;
  /** Of its message, by namespace; undefined without. */
  readonly metadata?: Readonly<Record<string, JsonObject>> | undefined;
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
  /**
   * The version of HTTP that its endpoints are spoken to: 'auto' as ALPN agrees (HTTP/1.1 without TLS), 'downstream' the one that the
   * client spoke. Source: envoy HttpProtocolOptions.
   */
  readonly upstreamProtocol: UpstreamProtocol;
  /** Of its HTTP/2 connections; their statistics are the cluster's. */
  readonly http2: Http2ClientOptions;
  /**
   * The ALPN protocol under which both ends of a TCP connection tell each other first who they are: the cluster's filter of Istio's metadata
   * exchange. undefined without it.
   */
  readonly metadataExchangeProtocol?: string | undefined;
  /** What of a connection depends on the request that it is made for; undefined where nothing does. */
  readonly connectionsByRequest?: ConnectionsByRequest | undefined;
  /** Of a dynamic forward proxy, whose requests say where they go. */
  readonly dynamicHosts?: { readonly cache: DnsHosts; readonly defaultPort: number } | undefined;
  /** The cluster is one endpoint that is an internal listener: the connection is handed over inside the process. */
  readonly internalListener: string | undefined;
  readonly limits: {
    readonly maxConnections: number;
    readonly maxPendingRequests: number;
    readonly maxRequests: number;
    readonly maxRetries: number;
    /** Of one endpoint; undefined: only the cluster's limit holds. */
    readonly maxConnectionsPerHost?: number | undefined;
    /** In the place of `maxRetries`: a share (0 to 1) of the requests under way, but `minConcurrency` at least. */
    readonly retryBudget?: { readonly ratio: number; readonly minConcurrency: number } | undefined;
  };
  /** Live counts that the limits apply to; shared by all who use the cluster. */
  readonly active: { connections: number; pendingRequests: number; requests: number; retries: number };
  /** The same for requests of routes with priority HIGH, which have limits and connections of their own. */
  readonly highPriority?: UpstreamCluster;
  readonly stats: ClusterStats;
  /** undefined when no endpoint is there or healthy: 503 UH. */
  chooseEndpoint(context: LoadBalancerContext): UpstreamEndpoint | undefined;
  /** True where the control plane has this request dropped (`drop_overloads`): 503 with the details `drop_overload`. Counts it. */
  shouldDrop?(): boolean;
}

/** Counters under Envoy's names (cluster.<name>.upstream_rq_total, …); plain numbers, read when scraped. */
export type { ClusterStats };

/** What the request path asks of the rest of the proxy. One per process. */
export interface ProxyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where parts that count get their counters from; see its head. */
  readonly stats: StatRegistry;
  /** Envoy's runtime: `runtime_key` of fractions and flags; see `number(key, fallback)`. */
  readonly runtimeValues: RuntimeValues;
  /** undefined when there is no such cluster: 503 NC. */
  cluster(name: string): UpstreamCluster | undefined;
  /** The names that dynamic forward proxies resolved, by the name of their cache. */
  dnsHosts?(name: string): DnsHosts | undefined;
  /** Hands a connection over to an internal listener of this process. False when there is none of that name. */
  handToInternalListener(name: string, connection: DownstreamConnection): boolean;
  /** The cluster that this proxy says it belongs to (node.cluster), or ''. */
  readonly nodeCluster: string;
  /** This proxy as it tells others of itself: node id and the value of x-envoy-peer-metadata. */
  readonly localPeer: { readonly nodeId: string; readonly metadataHeader: string; readonly metadata: PeerMetadata };
  /** What is counted together with the other event loops of the process; undefined where there are none. */
  readonly share?: ProcessShare | undefined;
  /** Whether the process is draining, as far as that means connections of a listener: HTTP/1.1 answers then carry `connection: close`. */
  isDraining(listener?: ListenerInfo): boolean;
}
