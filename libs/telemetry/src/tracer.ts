import type { Clock, Random } from '@mizzen/core';
import { isErrorSpan, requestEvents, requestTags, type SpanEvent } from './span-tags.ts';
import type { HeaderReader, PeerMetadata, SpanTag, StreamInfo } from './stream-info.ts';
import { type Propagation, randomHex, readB3Decision, readTraceContext, type TraceContext, traceHeaders } from './trace-context.ts';

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
  /** With `verbose` alone. */
  readonly events?: readonly SpanEvent[];
  /** The span has the id of its caller's (Zipkin's shared span context). */
  readonly isShared?: boolean;
}

export interface SpanSink {
  add(span: FinishedSpan): void;
}

/** What is known of one try of a request at an upstream when it ends. */
export interface TryFacts {
  readonly info: StreamInfo;
  readonly startMonotonicMs: number;
  readonly endMonotonicMs: number;
  /** Of the host. */
  readonly address: string;
  readonly cluster: string;
  /** The cluster's name in statistics. */
  readonly clusterAlias: string;
  /** '' where there was no connection. */
  readonly protocol: string;
  /** 0 without an answer. */
  readonly status: number;
  /** Counted from 0. */
  readonly retry: number;
  /** `UF`, or '-'. */
  readonly flags: string;
  /** The proxy gave it up. */
  readonly isCanceled: boolean;
  /** Why there is no whole answer; '' where there is one. */
  readonly failure: string;
}

/** The span of one try. */
export interface TrySpan {
  readonly headersToSet: readonly (readonly [string, string])[];
  end(facts: TryFacts): void;
}

/** Like the proxy's ActiveSpan. */
export interface SpanHandle {
  readonly headersToSet: readonly (readonly [string, string])[];
  /** Begins the span of a try, whose headers go upstream in the place of the request's; undefined where tries have none of their own. */
  readonly startTry?: (() => TrySpan) | undefined;
  end(info: StreamInfo): void;
}

export interface Tracer {
  /** Follows the caller's decision where it made one, else decides by the ratio. Sets `info.traceId`. */
  start(header: HeaderReader, info: StreamInfo): SpanHandle;
}

export interface TracerOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** The share of requests that nobody decided about yet, 0 to 1. */
  readonly samplingRatio: number;
  /** The share of requests with x-client-trace-id that is recorded, 0 to 1. Default 1. */
  readonly clientSamplingRatio?: number;
  /** Of those that would be recorded for one of these reasons, 0 to 1. Default 1. */
  readonly overallSamplingRatio?: number;
  /** Which headers carry the context. Default 'any': W3C, and B3 where a request came with it. */
  readonly propagation?: Propagation;
  /** Trace ids of 16 digits, as B3 once had. */
  readonly usesShortTraceIds?: boolean;
  /** A server's span has its caller's id. */
  readonly sharesSpans?: boolean;
  readonly isVerbose?: boolean;
  /** Every try is a span below the request's, which is a server's then. Source: envoy HttpConnectionManager.Tracing.spawn_upstream_span (1.40). */
  readonly spawnsUpstreamSpans?: boolean;
  /** What a span is called whose route has no operation: the authority, or `egress` and the authority. */
  readonly nameWithoutOperation?: 'authority';
  /** Client on outbound listeners (and gateways), server on inbound ones. */
  readonly kind: 'client' | 'server';
  readonly nodeId: string;
  readonly meshId: string;
  readonly local: PeerMetadata;
  readonly sink: SpanSink;
  /** Longer paths are cut in the tag. Envoy's default is 256. */
  readonly maxPathTagLength?: number;
  /** Beside Envoy's own; '' and undefined are left out. */
  readonly customTags?: readonly SpanTag[];
}

const NO_HEADERS: SpanHandle = { headersToSet: [], end: () => {} };

/** Spans as Istio's proxies make them. Source: envoy source/common/tracing/http_tracer_impl.cc (1.40); istio pilot/pkg/networking/core/tracing.go (1.32). */
export function createTracer(given: TracerOptions): Tracer {
  const options: TracerOptions = given.spawnsUpstreamSpans === true ? { ...given, kind: 'server' } : given;
  const istioTags: readonly (readonly [string, string])[] = [
    ['node_id', options.nodeId],
    ['component', 'proxy'],
    ['istio.canonical_service', options.local.canonicalService],
    ['istio.canonical_revision', options.local.canonicalService === '' ? '' : options.local.canonicalRevision],
    ['istio.mesh_id', options.meshId],
    ['istio.namespace', options.local.namespace],
    ['istio.cluster_id', options.local.clusterId],
  ];
  const propagation = options.propagation ?? 'any';
  return {
    start(header, info) {
      const parent = readTraceContext(header, propagation);
      // Someone before decided against it: the headers are passed on as they are.
      if (parent !== undefined && !parent.isSampled) {
        info.traceId = parent.traceId;
        return NO_HEADERS;
      }
      const decision = parent === undefined ? readB3Decision(header) : undefined;
      const traceId = parent?.traceId ?? newTraceId(options);
      const isShared = options.sharesSpans === true && options.kind === 'server' && parent !== undefined;
      const context: TraceContext = {
        traceId,
        spanId: isShared ? parent.spanId : randomHex(8, options.random),
        isSampled: parent !== undefined || (decision?.isSampled ?? decide(header, { ...options, ...info.tracingOverrides })),
        form: parent?.form ?? decision?.form ?? (propagation === 'b3' ? 'b3' : 'w3c'),
      };
      info.traceId = context.traceId;
      info.isTraced = context.isSampled;
      info.spanId = context.spanId;
      const parentSpanId = isShared ? (parent.parentSpanId ?? '') : (parent?.spanId ?? '');
      const headersToSet = traceHeaders(context, { parentSpanId, propagation });
      const startTry = options.spawnsUpstreamSpans === true ? () => startTrySpan(context, options) : undefined;
      if (!context.isSampled) return { headersToSet, startTry, end: NO_HEADERS.end };
      return {
        headersToSet,
        startTry,
        end(ended) {
          const custom = customTags(ended, options);
          const tags = [...istioTags, ...requestTags(ended, options.maxPathTagLength ?? 256), ...custom].filter(
            ([, value]) => value !== '',
          );
          options.sink.add({
            traceId: context.traceId,
            spanId: context.spanId,
            parentSpanId,
            name: spanName(ended, options),
            kind: options.kind,
            startTimeMs: ended.startTimeMs,
            endTimeMs: ended.startTimeMs + (ended.endMonotonicMs - ended.startMonotonicMs),
            isError: isErrorSpan(ended),
            tags,
            ...(options.isVerbose === true ? { events: requestEvents(ended) } : {}),
            ...(isShared ? { isShared } : {}),
          });
        },
      };
    },
  };
}

function newTraceId({ random, usesShortTraceIds = false }: TracerOptions): string {
  return usesShortTraceIds ? randomHex(8, random) : randomHex(16, random);
}

/**
 * Whether a request that brings no decision is recorded: asked for by the client, by a service of the mesh, or by chance; and then
 * `overall_sampling` of those. Source: envoy ConnectionManagerUtility::mutateTracingRequestHeader (1.40).
 */
function decide(header: HeaderReader, options: TracerOptions): boolean {
  const chance = (ratio: number): boolean => ratio >= 1 || options.random() < ratio;
  const isAsked =
    (header('x-client-trace-id') !== undefined && chance(options.clientSamplingRatio ?? 1)) ||
    (header('x-envoy-force-trace') !== undefined && header('x-envoy-internal') === 'true') ||
    chance(options.samplingRatio);
  return isAsked && chance(options.overallSamplingRatio ?? 1);
}

/** What the route says; else Istio's form where the service is known (its host and port, and a star for any path); else as Envoy. */
function spanName(info: StreamInfo, options: TracerOptions): string {
  if (info.operation !== '') return info.operation;
  const host = info.destinationService?.host ?? '';
  if (host === '') return options.nameWithoutOperation === 'authority' ? info.authority : `egress ${info.authority}`;
  const [, port = ''] = /^(?:in|out)bound\|(\d+)\|/.exec(info.upstreamCluster) ?? [];
  return `${host}${port === '' ? '' : `:${port}`}/*`;
}

/** Those of the route come first, and take the place of those of the connection manager by their names. */
function customTags(info: StreamInfo, options: TracerOptions): readonly (readonly [string, string])[] {
  const ofRoute = info.tracingOverrides?.customTags ?? [];
  const others = (options.customTags ?? []).filter(({ tag }) => ofRoute.every((own) => own.tag !== tag));
  return [...ofRoute, ...others].map(({ tag, value }) => [tag, value(info) ?? ''] as const);
}

/** Source: envoy UpstreamRequest, HttpTracerUtility::finalizeUpstreamSpan (1.40). */
function startTrySpan(request: TraceContext, options: TracerOptions): TrySpan {
  const context: TraceContext = { ...request, spanId: randomHex(8, options.random) };
  const { propagation = 'any' } = options;
  return {
    headersToSet: traceHeaders(context, { parentSpanId: request.spanId, propagation }),
    end(facts) {
      if (!request.isSampled) return;
      const { info } = facts;
      const isError = facts.status >= 500 || facts.failure !== '';
      const tags = [...tryTags(facts, isError), ...customTags(info, options)].filter(([, value]) => value !== '');
      const at = (ms: number): number => info.startTimeMs + (ms - info.startMonotonicMs);
      options.sink.add({
        traceId: context.traceId,
        spanId: context.spanId,
        parentSpanId: request.spanId,
        name: `router ${facts.clusterAlias} egress`,
        kind: 'client',
        startTimeMs: at(facts.startMonotonicMs),
        endTimeMs: at(facts.endMonotonicMs),
        isError,
        tags,
      });
    },
  };
}

function tryTags(facts: TryFacts, isError: boolean): readonly (readonly [string, string])[] {
  return [
    ['component', 'proxy'],
    ['http.protocol', facts.protocol || '-'],
    ['http.status_code', String(facts.status)],
    ['upstream_address', facts.address],
    ['peer.address', facts.address],
    ['upstream_cluster', facts.cluster],
    ['upstream_cluster.name', facts.clusterAlias],
    ['response_flags', facts.flags],
    ['retry.count', facts.retry === 0 ? '' : String(facts.retry)],
    ['canceled', facts.isCanceled ? 'true' : ''],
    ['error', isError ? 'true' : ''],
    ['error.reason', facts.failure],
  ];
}
