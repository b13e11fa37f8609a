import { formatFlags } from './response-flags.ts';
import type { StreamInfo } from './stream-info.ts';

export type SpanTags = readonly (readonly [string, string])[];

/** Something that happened in the course of a span. */
export interface SpanEvent {
  readonly name: string;
  readonly timeMs: number;
}

// Statuses that are the server's fault. Source: envoy Tracing::HttpTracerUtility annotateGrpc (1.40).
const GRPC_ERRORS = ['2', '4', '12', '13', '14', '15'];

export function isErrorSpan(info: StreamInfo): boolean {
  return info.responseCode >= 500 || info.responseCode === 0 || (isGrpc(info) && GRPC_ERRORS.includes(info.grpcStatus));
}

/** The tags that Envoy gives the span of a request. Source: envoy HttpTracerUtility::finalizeDownstreamSpan (1.40). */
export function requestTags(info: StreamInfo, maxPathTagLength: number): SpanTags {
  const path = (info.originalPath || info.path).slice(0, maxPathTagLength);
  const header = (name: string): string => info.requestHeader(name) ?? '';
  const tags: (readonly [string, string])[] = [
    ['guid:x-request-id', info.requestId],
    ['http.method', info.method],
    ['http.url', `${info.scheme || 'http'}://${info.authority}${path}`],
    ['http.protocol', info.protocol],
    ['http.status_code', String(info.responseCode)],
    ['response_flags', formatFlags(info)],
    ['request_size', String(info.bytesReceived)],
    ['response_size', String(info.bytesSent)],
    ['upstream_cluster', info.upstreamCluster],
    ['upstream_cluster.name', info.upstreamClusterAlias ?? info.upstreamCluster],
    ['downstream_cluster', header('x-envoy-downstream-service-cluster') || '-'],
    ['peer.address', withoutPort(info.downstreamDirectRemoteAddress ?? info.downstreamRemoteAddress)],
    ['user_agent', header('user-agent') || '-'],
    ['guid:x-client-trace-id', header('x-client-trace-id')],
    ...(isGrpc(info) ? grpcTags(info) : []),
  ];
  if (isErrorSpan(info)) tags.push(['error', 'true']);
  return tags.filter(([, value]) => value !== '');
}

function grpcTags(info: StreamInfo): SpanTags {
  const header = (name: string): string => info.requestHeader(name) ?? '';
  return [
    ['grpc.path', info.originalPath || info.path],
    ['grpc.authority', info.authority],
    ['grpc.content_type', header('content-type')],
    ['grpc.timeout', header('grpc-timeout')],
    ['grpc.status_code', info.grpcStatus],
    ['grpc.message', info.responseTrailer('grpc-message') ?? info.responseHeader('grpc-message') ?? ''],
  ];
}

/** Points of the request that `verbose` tracing records, where they are known. */
export function requestEvents(info: StreamInfo): readonly SpanEvent[] {
  const points: readonly (readonly [string, number])[] = [
    ['last_downstream_rx_byte_received', info.requestEndMs ?? 0],
    ['first_upstream_tx_byte_sent', info.upstreamRequestSentMs],
    ['first_upstream_rx_byte_received', info.upstreamResponseStartMs],
    ['last_downstream_tx_byte_sent', info.endMonotonicMs],
  ];
  return points.flatMap(([name, ms]) => (ms === 0 ? [] : [{ name, timeMs: info.startTimeMs + (ms - info.startMonotonicMs) }]));
}

function isGrpc(info: StreamInfo): boolean {
  return info.requestHeader('content-type')?.startsWith('application/grpc') ?? false;
}

function withoutPort(address: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(address);
  return match?.[1] ?? match?.[2] ?? address;
}
