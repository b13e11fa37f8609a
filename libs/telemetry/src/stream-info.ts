/** Envoy's response flags, in the order in which Envoy prints them. Source: envoy StreamInfo::ResponseFlagUtils (1.40). */
export const RESPONSE_FLAG = {
  failedLocalHealthCheck: 'LH',
  noHealthyUpstream: 'UH',
  upstreamRequestTimeout: 'UT',
  localReset: 'LR',
  upstreamRemoteReset: 'UR',
  upstreamConnectionFailure: 'UF',
  upstreamConnectionTermination: 'UC',
  upstreamOverflow: 'UO',
  noRouteFound: 'NR',
  dnsResolutionFailed: 'DF',
  delayInjected: 'DI',
  faultInjected: 'FI',
  rateLimited: 'RL',
  unauthorizedExternalService: 'UAEX',
  rateLimitServiceError: 'RLSE',
  downstreamConnectionTermination: 'DC',
  upstreamRetryLimitExceeded: 'URX',
  streamIdleTimeout: 'SI',
  invalidEnvoyRequestHeaders: 'IH',
  downstreamProtocolError: 'DPE',
  upstreamProtocolError: 'UPE',
  upstreamMaxStreamDurationReached: 'UMSDR',
  noClusterFound: 'NC',
  durationTimeout: 'DT',
  dropOverload: 'DO',
  downstreamRemoteReset: 'DR',
} as const;

export type ResponseFlag = keyof typeof RESPONSE_FLAG;

/** A workload as its proxy describes it to others; what Istio's source_* and destination_* labels are made of. */
export interface PeerMetadata {
  readonly workload: string;
  readonly namespace: string;
  readonly clusterId: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  readonly app: string;
  readonly version: string;
}

/** The service that a cluster stands for: Istio's `metadata.filter_metadata.istio.services[0]` of the cluster. */
export interface DestinationService {
  /** `reviews.default.svc.cluster.local` */
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
}

/** One header of a message: lower-cased name, value as received. */
export type HeaderReader = (lowerCaseName: string) => string | undefined;

/**
 * What is known of one request (or, for TCP, one connection) when it ends. The router fills it; the access log, the metrics and the
 * span read it. Times are `Clock.monotonic()` milliseconds, except `startTimeMs`, which is since the epoch. Unknown strings are ''.
 */
export interface StreamInfo {
  readonly startTimeMs: number;
  readonly startMonotonicMs: number;
  /** `HTTP/1.1`, `HTTP/1.0`, `HTTP/2`; '' for TCP. */
  protocol: string;
  /** Why an entry is logged before the end: `TcpUpstreamConnected`, `TcpPeriodic`; absent at the end. */
  accessLogType?: string | undefined;
  method: string;
  /** Path with query, as routed (rewritten); the original is `originalPath` where a rewrite happened, else ''. */
  path: string;
  originalPath: string;
  authority: string;
  scheme: string;
  requestHeader: HeaderReader;
  responseHeader: HeaderReader;
  responseTrailer: HeaderReader;
  /** 0 when no response was sent. */
  responseCode: number;
  responseCodeDetails: string;
  connectionTerminationDetails: string;
  flags: ResponseFlag[];
  /** Body bytes, as in Envoy's %BYTES_RECEIVED% and %BYTES_SENT%. */
  bytesReceived: number;
  bytesSent: number;
  /** Bytes on the wire, headers included: what istio_request_bytes and istio_response_bytes record. */
  wireBytesReceived: number;
  wireBytesSent: number;
  /** Set at the end. */
  endMonotonicMs: number;
  /** First byte to and first byte from the upstream, for x-envoy-upstream-service-time; 0 when none. */
  upstreamRequestSentMs: number;
  upstreamResponseStartMs: number;
  upstreamAttempts: number;
  routeName: string;
  /** What the route calls its requests (`decorator.operation`), or ''. */
  operation: string;
  virtualHostName: string;
  /** The group of requests of its virtual host that it belongs to; '' or absent: to none. */
  virtualClusterName?: string;
  upstreamCluster: string;
  /** `127.0.0.1:9080`, or a socket's path. */
  upstreamHost: string;
  upstreamLocalAddress: string;
  upstreamTransportFailureReason: string;
  /** First URI SAN of the peer's certificate, both ways; '' without mTLS. */
  upstreamPeerUriSan: string;
  downstreamPeerUriSan: string;
  /** First URI SAN of the certificate that this proxy presented. */
  downstreamLocalUriSan: string;
  upstreamLocalUriSan: string;
  downstreamLocalAddress: string;
  downstreamRemoteAddress: string;
  requestedServerName: string;
  /** Whether the downstream connection proved an identity by mTLS. */
  isDownstreamMtls: boolean;
  destinationService: DestinationService | undefined;
  /** The other side's metadata: upstream's on the client's proxy, downstream's on the server's. */
  peer: PeerMetadata | undefined;
  grpcStatus: string;
  traceId: string;
  requestId: string;
  /** What only some streams have; undefined reads as nothing. */
  readonly connectionId?: number;
  readonly dynamicMetadata?: ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined;
  /** The peer of the connection itself, whatever headers say. */
  readonly downstreamDirectRemoteAddress?: string;
  /** Where the connection came in, whatever a PROXY header or the capture says; absent where it is the same. */
  readonly downstreamDirectLocalAddress?: string;
  /** Of the span that is recorded of it. */
  spanId?: string;
  readonly headerBytesReceived?: number;
  /** When the whole request was there (monotonic ms); 0 before. */
  readonly requestEndMs?: number;
  /** gRPC messages that went through, where the filter counted them. */
  readonly grpcMessages?: { readonly request: number; readonly response: number } | undefined;
  /** What its route says of spans in the place of the connection manager. */
  readonly tracingOverrides?: TracingOverrides | undefined;
  /** Whether a span of this request is recorded. */
  isTraced?: boolean;
  readonly isHealthCheck?: boolean;
  /** The name of the cluster in statistics (`alt_stat_name`), where it is another than `upstreamCluster`. */
  upstreamClusterAlias?: string | undefined;
  readonly headerBytesSent?: number;
  /** What the fields of the messages take, names and values, as they are at the end. */
  readonly requestFieldBytes?: number;
  readonly responseFieldBytes?: number;
  readonly responseTrailerBytes?: number;
  readonly filterChainName?: string;
  /** What filters set for one another, by key. */
  filterStateObject?(key: string): string | undefined;
  /** What the configuration says of what took part, by namespace. */
  configuredMetadata?(source: MetadataSource, namespace: string): object | undefined;
  /** The upstream's side, looked at when it is asked for; undefined where no endpoint was chosen. */
  upstream?(): UpstreamFacts | undefined;
  /** TLS of the downstream connection, looked at when it is asked for. */
  downstreamTls?(): TlsFacts | undefined;
}

/** A tag of spans; undefined and '' : no tag. */
export interface SpanTag {
  readonly tag: string;
  readonly value: (info: StreamInfo) => string | undefined;
}

/** A route's own way to trace: ratios from 0 to 1, and tags beside those of the connection manager, which they replace by name. */
export interface TracingOverrides {
  readonly samplingRatio: number;
  readonly clientSamplingRatio: number;
  readonly overallSamplingRatio: number;
  readonly customTags: readonly SpanTag[];
}

/** Whose metadata. */
export type MetadataSource = 'route' | 'virtual-host' | 'cluster' | 'endpoint' | 'listener';

/** A host that was tried. */
export interface AttemptedHost {
  readonly address: string;
  /** '' where the endpoint has none. */
  readonly hostname: string;
}

/** What is known of the upstream's side of a stream, of its last try where there were several. Times are monotonic milliseconds, 0 where unknown. */
export interface UpstreamFacts {
  /** '' for TCP, and where there was no connection. */
  readonly protocol: string;
  readonly hostname: string;
  readonly attempted: readonly AttemptedHost[];
  readonly connectionIds: readonly number[];
  readonly sentWireBytes: number;
  readonly sentHeaderBytes: number;
  readonly receivedWireBytes: number;
  readonly receivedHeaderBytes: number;
  /** When a connection was asked for. */
  readonly requestedMs: number;
  readonly responseEndMs: number;
  readonly connectStartMs: number;
  readonly connectedMs: number;
  readonly securedMs: number;
  tls(): TlsFacts | undefined;
  /** SNI that was sent; '' for none. */
  serverName(): string;
}

/** What is known of a TLS connection; '' where nothing is. */
export interface TlsFacts {
  /** `TLSv1.3` */
  readonly version: string;
  /** OpenSSL's name: `TLS_AES_256_GCM_SHA384`. */
  readonly cipher: string;
  readonly sessionId: string;
  /** The group of the key exchange: `X25519`; '' where the library does not tell, as on a server's side. */
  readonly group?: string;
  readonly peer: CertificateFacts | undefined;
  readonly local: CertificateFacts | undefined;
}

export interface CertificateFacts {
  readonly subject: string;
  readonly issuer: string;
  /** Lower-case hex. */
  readonly serial: string;
  readonly sha256: string;
  readonly sha1: string;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly ipSans: readonly string[];
  readonly emailSans: readonly string[];
  readonly validFromMs: number;
  readonly validToMs: number;
  /** PEM. */
  readonly pem: string;
}
