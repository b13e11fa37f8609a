import type { Clock, Random } from '@mizzen/core';
import { formatFlags } from './istio-metrics.ts';
import type { HeaderReader, PeerMetadata, StreamInfo } from './stream-info.ts';
import { randomHex, readTraceContext, type TraceContext, traceHeaders } from './trace-context.ts';

/** A span that ended: what an exporter is given. */
export interface FinishedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: 'client' | 'server';
  readonly startTimeMs: number;
  readonly endTimeMs: number;
  readonly isError: boolean;
  readonly tags: readonly (readonly [string, string])[];
}

export interface SpanSink {
  add(span: FinishedSpan): void;
}

/** Like the proxy's ActiveSpan. */
export interface SpanHandle {
  readonly headersToSet: readonly (readonly [string, string])[];
  end(info: StreamInfo): void;
}

export interface Tracer {
  /** Follows the caller's decision where it made one, else decides by the ratio. Sets `info.traceId`. */
  start(header: HeaderReader, info: StreamInfo): SpanHandle;
}

export interface TracerOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** 0 to 1. */
  readonly samplingRatio: number;
  /** Client on outbound listeners (and gateways), server on inbound ones. */
  readonly kind: 'client' | 'server';
  readonly nodeId: string;
  readonly meshId: string;
  readonly local: PeerMetadata;
  readonly sink: SpanSink;
  /** Longer paths are cut in the tag. Envoy's default is 256. */
  readonly maxPathTagLength?: number;
  /** Tags with a fixed value or of a request header. */
  readonly customTags?: readonly { readonly tag: string; readonly value: (header: HeaderReader) => string | undefined }[];
}

const NO_HEADERS: SpanHandle = { headersToSet: [], end: () => {} };

/** Spans as Istio's proxies make them. Source: envoy source/common/tracing/http_tracer_impl.cc (1.40); istio pilot/pkg/networking/core/tracing.go (1.32). */
export function createTracer(options: TracerOptions): Tracer {
  const istioTags: readonly (readonly [string, string])[] = [
    ['node_id', options.nodeId],
    ['component', 'proxy'],
    ['istio.canonical_service', options.local.canonicalService],
    ['istio.canonical_revision', options.local.canonicalRevision],
    ['istio.mesh_id', options.meshId],
    ['istio.namespace', options.local.namespace],
    ['istio.cluster_id', options.local.clusterId],
  ];
  return {
    start(header, info) {
      const parent = readTraceContext(header);
      // Someone before decided against it: the headers are passed on as they are.
      if (parent !== undefined && !parent.isSampled) {
        info.traceId = parent.traceId;
        return NO_HEADERS;
      }
      const context: TraceContext = {
        traceId: parent?.traceId ?? randomHex(16, options.random),
        spanId: randomHex(8, options.random),
        isSampled: parent !== undefined || options.random() < options.samplingRatio,
        form: parent?.form ?? 'w3c',
      };
      info.traceId = context.traceId;
      const parentSpanId = parent?.spanId ?? '';
      const headersToSet = traceHeaders(context, parentSpanId);
      if (!context.isSampled) return { headersToSet, end: NO_HEADERS.end };
      return {
        headersToSet,
        end(ended) {
          options.sink.add({
            traceId: context.traceId,
            spanId: context.spanId,
            parentSpanId,
            name: spanName(ended),
            kind: options.kind,
            startTimeMs: ended.startTimeMs,
            endTimeMs: ended.startTimeMs + (ended.endMonotonicMs - ended.startMonotonicMs),
            isError: ended.responseCode >= 500 || ended.responseCode === 0,
            tags: [...istioTags, ...requestTags(ended, options)],
          });
        },
      };
    },
  };
}

/** What the route says; without that Istio's form: the service's host and port, and a star for any path. */
function spanName(info: StreamInfo): string {
  if (info.operation !== '') return info.operation;
  const [, port = ''] = /^(?:in|out)bound\|(\d+)\|/.exec(info.upstreamCluster) ?? [];
  const host = info.destinationService?.host;
  return host === undefined || host === '' ? `${info.authority}/*` : `${host}${port === '' ? '' : `:${port}`}/*`;
}

function requestTags(info: StreamInfo, options: TracerOptions): readonly (readonly [string, string])[] {
  const path = (info.originalPath || info.path).slice(0, options.maxPathTagLength ?? 256);
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
    ['upstream_cluster.name', info.upstreamCluster],
    ['peer.address', info.downstreamRemoteAddress],
    ['user_agent', info.requestHeader('user-agent') ?? ''],
  ];
  if (info.responseCode >= 500 || info.responseCode === 0) tags.push(['error', 'true']);
  for (const custom of options.customTags ?? []) tags.push([custom.tag, custom.value(info.requestHeader) ?? '']);
  return tags.filter(([, value]) => value !== '');
}
