import type { JsonValue } from '@bufbuild/protobuf';
import type { FormatSource, RequestView } from '@mizzen/matching';
import type { DestinationService, PeerMetadata, ResponseFlag, StreamInfo, TlsFacts } from '@mizzen/telemetry';
import { tlsFactsOf } from '../observe/tls-facts.ts';
import type { ConnectionFacts } from './connection-facts.ts';
import type { HeaderMap } from './headers.ts';
import type { RequestHead } from './stream.ts';

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
  requestId = '';
  /** When the whole request was there; 0 before. */
  requestEndMs: number;
  /** A span of this request is recorded. */
  isTraced = false;
  /** Where the filter for gRPC counts its messages; undefined for other streams. */
  grpcMessages: { readonly request: number; readonly response: number } | undefined = undefined;
  /** The proxy answered a health check of itself. */
  isHealthCheck = false;
  /** What filters found out, by namespace; undefined for most streams. */
  dynamicMetadata: Map<string, Record<string, JsonValue>> | undefined = undefined;
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

  get connectionId(): number {
    return this.facts.connection.id;
  }

  get headerBytesReceived(): number {
    return this.head.wireBytes;
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

  addFlag(flag: ResponseFlag): void {
    if (!this.flags.includes(flag)) this.flags.push(flag);
  }
}
