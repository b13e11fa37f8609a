import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { CompiledRoute, FormatSource, RequestView } from '@mizzen/matching';
import type {
  DestinationService,
  MetadataSource,
  PeerMetadata,
  ResponseFlag,
  StreamInfo,
  TlsFacts,
  TracingOverrides,
  UpstreamFacts,
} from '@mizzen/telemetry';
import { addressText } from '../config/values.ts';
import type { FilterStateObject, UpstreamCluster } from '../contract.ts';
import { tlsFactsOf } from '../observe/tls-facts.ts';
import { factsOfAttempts } from '../observe/upstream-facts.ts';
import type { ConnectionFacts } from './connection-facts.ts';
import type { HeaderMap } from './headers.ts';
import type { RequestHead, UpstreamStream } from './stream.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

/** All that is known of one request: what routes look at, what header formats read, what observers are told at the end. */
export class HttpStreamInfo implements StreamInfo, RequestView, FormatSource {
  readonly head: RequestHead;
  readonly facts: ConnectionFacts;
  readonly startTimeMs: number;
  readonly startMonotonicMs: number;
  readonly random: number;
  protocol: string;
  method: string;
  path: string;
  originalPath = '';
  authority: string;
  /** The first host stands in x-envoy-original-host already. */
  isHostRewritten = false;
  scheme: string;
  responseHeaders: HeaderMap | undefined = undefined;
  responseTrailers: HeaderMap | undefined = undefined;
  responseContentLength = -1;
  responseCode = 0;
  responseCodeDetails = '';
  connectionTerminationDetails = '';
  flags: ResponseFlag[] = [];
  bytesReceived = 0;
  bytesSent = 0;
  wireBytesReceived: number;
  wireBytesSent = 0;
  endMonotonicMs = 0;
  upstreamRequestSentMs = 0;
  upstreamResponseStartMs = 0;
  upstreamAttempts = 0;
  routeName = '';
  operation = '';
  virtualHostName = '';
  virtualClusterName = '';
  upstreamCluster = '';
  upstreamHost = '';
  upstreamLocalAddress = '';
  upstreamTransportFailureReason = '';
  upstreamPeerUriSan = '';
  upstreamLocalUriSan = '';
  destinationService: DestinationService | undefined = undefined;
  peer: PeerMetadata | undefined = undefined;
  grpcStatus = '';
  traceId = '';
  spanId = '';
  requestId = '';
  /** When the whole request was there; 0 before. */
  requestEndMs: number;
  /** A span of this request is recorded. */
  isTraced = false;
  /** Where the filter for gRPC counts its messages; undefined for other streams. */
  grpcMessages: { readonly request: number; readonly response: number } | undefined = undefined;
  /** The proxy answered a health check of itself. */
  isHealthCheck = false;
  /** Of the route that it takes, while there is one. */
  cluster: UpstreamCluster | undefined = undefined;
  route: CompiledRoute | undefined = undefined;
  /** The last try, and those before it that had a connection. */
  attempt: UpstreamAttempt | undefined = undefined;
  earlierAttempts: UpstreamAttempt[] | undefined = undefined;
  sentHeaderBytes = 0;
  /** What filters found out, by namespace; undefined for most streams. */
  dynamicMetadata: Map<string, Record<string, JsonValue>> | undefined = undefined;
  /** Objects that filters set for this request, by key; undefined for most streams. */
  filterState: Map<string, FilterStateObject> | undefined = undefined;
  /** The client's address as x-forwarded-for tells it, where it may be believed. */
  downstreamRemoteAddress: string;

  constructor(
    head: RequestHead,
    facts: ConnectionFacts,
    at: { readonly nowMs: number; readonly monotonicMs: number; readonly random: number },
  ) {
    this.head = head;
    this.facts = facts;
    this.startTimeMs = at.nowMs;
    this.startMonotonicMs = at.monotonicMs;
    this.random = at.random;
    this.protocol = head.protocol;
    this.method = head.method;
    this.path = head.path;
    this.authority = head.authority;
    this.scheme = facts.scheme;
    this.wireBytesReceived = head.wireBytes;
    this.requestEndMs = head.hasBody ? 0 : at.monotonicMs;
    this.downstreamRemoteAddress = facts.remoteAddress;
  }

  get downstreamPeerUriSan(): string {
    return this.facts.peerUriSan;
  }

  get downstreamLocalUriSan(): string {
    return this.facts.localUriSan;
  }

  get downstreamLocalAddress(): string {
    return this.facts.localAddress;
  }

  get requestedServerName(): string {
    return this.facts.requestedServerName;
  }

  get downstreamDirectRemoteAddress(): string {
    return this.facts.remoteAddress;
  }

  get downstreamDirectLocalAddress(): string {
    const address = this.facts.connection.directLocalAddress;
    return address === undefined ? '' : addressText(address);
  }

  get connectionId(): number {
    return this.facts.connection.id;
  }

  get headerBytesReceived(): number {
    return this.head.headerBytes ?? this.head.wireBytes;
  }

  get headerBytesSent(): number {
    return this.sentHeaderBytes;
  }

  get tracingOverrides(): TracingOverrides | undefined {
    return this.route?.tracing as TracingOverrides | undefined;
  }

  get upstreamClusterAlias(): string | undefined {
    return this.cluster?.observabilityName;
  }

  get filterChainName(): string {
    return this.facts.connection.filterChainName ?? '';
  }

  /** A try begins. */
  onAttempt(attempt: UpstreamAttempt): void {
    const before = this.attempt;
    if (before?.stream !== undefined) {
      this.earlierAttempts ??= [];
      this.earlierAttempts.push(before);
    }
    this.attempt = attempt;
    this.upstreamHost = attempt.endpoint.addressText;
  }

  /** It has a connection, over which the request is sent now. */
  onAttemptReady({ localAddress, tls }: UpstreamStream, nowMs: number): void {
    this.upstreamLocalAddress = localAddress;
    this.upstreamPeerUriSan = tls?.peer?.uriSans[0] ?? '';
    this.upstreamLocalUriSan = tls?.localUriSan ?? '';
    this.upstreamRequestSentMs = nowMs;
  }

  upstream(): UpstreamFacts | undefined {
    return this.attempt === undefined ? undefined : factsOfAttempts(this.attempt, this.earlierAttempts ?? []);
  }

  configuredMetadata(source: MetadataSource, namespace: string): JsonObject | undefined {
    switch (source) {
      case 'route':
        return this.route?.metadata?.[namespace];
      case 'virtual-host':
        return this.route?.virtualHost.metadata?.[namespace];
      case 'cluster':
        return this.cluster?.metadata?.[namespace];
      case 'endpoint':
        return this.attempt?.endpoint.metadata?.[namespace];
      case 'listener':
        return this.facts.connection.listener.metadata?.[namespace];
    }
  }

  /** Fields and their values, as they are now; pseudo header fields too. */
  get requestFieldBytes(): number {
    const { head, method, path, authority, scheme } = this;
    const pseudo = [
      [':method', method],
      [':path', path],
      [':authority', authority],
      [':scheme', scheme],
    ];
    let bytes = head.contentLength < 0 ? 0 : 'content-length'.length + String(head.contentLength).length;
    for (const [name = '', value = ''] of pseudo) if (value !== '') bytes += name.length + value.length;
    return bytes + fieldBytes(head.headers);
  }

  get responseFieldBytes(): number {
    const length = this.responseContentLength;
    const status = this.responseCode === 0 ? 0 : ':status200'.length;
    return status + (length < 0 ? 0 : 'content-length'.length + String(length).length) + fieldBytes(this.responseHeaders);
  }

  get responseTrailerBytes(): number {
    return fieldBytes(this.responseTrailers);
  }

  downstreamTls(): TlsFacts | undefined {
    return tlsFactsOf(this.facts.connection);
  }

  get isDownstreamMtls(): boolean {
    return this.facts.isMtls;
  }

  header(name: string): string | undefined {
    return this.requestHeader(name);
  }

  requestHeader(name: string): string | undefined {
    const { head } = this;
    switch (name) {
      case 'host':
      case ':authority':
        return this.authority;
      case ':path':
        return this.path === '' ? undefined : this.path;
      case ':method':
        return this.method;
      case ':scheme':
        return this.scheme;
      case 'content-length':
        return head.contentLength < 0 ? undefined : String(head.contentLength);
      case 'upgrade':
        return head.upgrade === '' ? undefined : head.upgrade;
      default:
        return head.headers.get(name);
    }
  }

  responseHeader(name: string): string | undefined {
    if (name === ':status') return this.responseCode === 0 ? undefined : String(this.responseCode);
    if (name === 'content-length') return this.responseContentLength < 0 ? undefined : String(this.responseContentLength);
    return this.responseHeaders?.get(name);
  }

  responseTrailer(name: string): string | undefined {
    return this.responseTrailers?.get(name);
  }

  /** Adds to what is known under a namespace; a key that is there is replaced. Source: envoy StreamInfo::setDynamicMetadata (1.40). */
  setDynamicMetadata(namespace: string, values: Readonly<Record<string, JsonValue>>): void {
    this.dynamicMetadata ??= new Map();
    this.dynamicMetadata.set(namespace, { ...this.dynamicMetadata.get(namespace), ...values });
  }

  /** What filters of the request set under a key, or else those of its connection. */
  filterStateObject(key: string): string | undefined {
    return (this.filterState?.get(key) ?? this.facts.connection.filterState?.objects?.get(key))?.value;
  }

  addFlag(flag: ResponseFlag): void {
    if (!this.flags.includes(flag)) this.flags.push(flag);
  }
}

function fieldBytes(headers: HeaderMap | undefined): number {
  let bytes = 0;
  if (headers === undefined) return 0;
  for (const name of headers.names) bytes += name.length;
  for (const value of headers.values) bytes += value.length;
  return bytes;
}
