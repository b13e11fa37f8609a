import { toBinary } from '@bufbuild/protobuf';
import type { FinishedSpan, SpanSink } from '@mizzen/telemetry';
import { ExportTraceServiceRequestSchema } from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { callUnary, GRPC_OK } from '../grpc/unary-client.ts';
import { type CallRuntime, sendAsyncRequest } from '../http/async-client.ts';
import { HeaderMap } from '../http/headers.ts';
import { Batch } from './batch.ts';

// Spans over this are dropped: the collector is away or slow.
const MAX_QUEUED_SPANS = 4096;
const EXPORT_TIMEOUT_MS = 5000;

/** A sink whose spans are sent in batches. */
export interface SpanExporter extends SpanSink {
  readonly dropped: number;
  close(): Promise<void>;
}

interface ExporterOptions {
  readonly calls: CallRuntime;
  readonly cluster: string;
  /** A batch of so many spans is sent at once, and any after `flushMs`. */
  readonly minFlushSpans: number;
  readonly flushMs: number;
}

type SendSpans = (spans: readonly FinishedSpan[], done: (lost: number) => void) => void;

function spanExporter(options: ExporterOptions, send: SendSpans): SpanExporter {
  const batch = new Batch<FinishedSpan>({
    clock: options.calls.context.clock,
    flushMs: options.flushMs,
    maxBatchBytes: options.minFlushSpans,
    maxQueuedBytes: MAX_QUEUED_SPANS,
    send,
  });
  return {
    add: (span) => batch.add(span, 1),
    get dropped() {
      return batch.dropped;
    },
    close: () => batch.close(),
  };
}

interface HttpTarget {
  readonly path: string;
  readonly authority: string;
  readonly contentType: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly timeoutMs: number;
}

function postBatch(options: ExporterOptions, target: HttpTarget, body: (spans: readonly FinishedSpan[]) => Buffer): SendSpans {
  return (spans, done) => {
    const headers = new HeaderMap();
    headers.push('content-type', target.contentType);
    for (const [name, value] of target.headers) headers.append(name, value);
    const { path, authority, timeoutMs } = target;
    sendAsyncRequest(
      options.calls,
      { cluster: options.cluster, method: 'POST', path, authority, headers, body: body(spans), timeoutMs },
      {
        onResponse: ({ status }) => done(status >= 200 && status < 300 ? 0 : spans.length),
        onFailure: () => done(spans.length),
      },
    );
  };
}

/** Zipkin's HTTP API, JSON version 2. Source: openzipkin zipkin2-api.yaml; envoy ReporterImpl (1.40). */
export function zipkinExporter(
  options: ExporterOptions & {
    readonly path: string;
    readonly hostname: string;
    readonly serviceName: string;
    readonly localAddress: string;
  },
): SpanExporter {
  const localEndpoint = { serviceName: options.serviceName, ...(options.localAddress === '' ? {} : { ipv4: options.localAddress }) };
  const target = {
    path: options.path,
    authority: options.hostname || options.cluster,
    contentType: 'application/json',
    headers: [],
    timeoutMs: EXPORT_TIMEOUT_MS,
  };
  return spanExporter(
    options,
    postBatch(options, target, (spans) => Buffer.from(JSON.stringify(spans.map((span) => zipkinSpan(span, localEndpoint))))),
  );
}

function zipkinSpan(span: FinishedSpan, localEndpoint: object): object {
  const micros = (ms: number): number => Math.round(ms * 1000);
  const annotations = (span.events ?? []).map(({ name, timeMs }) => ({ timestamp: micros(timeMs), value: name }));
  return {
    traceId: span.traceId,
    id: span.spanId,
    ...(span.parentSpanId === '' ? {} : { parentId: span.parentSpanId }),
    name: span.name,
    kind: span.kind === 'client' ? 'CLIENT' : 'SERVER',
    timestamp: micros(span.startTimeMs),
    duration: Math.max(1, micros(span.endTimeMs - span.startTimeMs)),
    localEndpoint,
    ...(annotations.length === 0 ? {} : { annotations }),
    tags: Object.fromEntries(span.tags),
    ...(span.isShared === true ? { shared: true } : {}),
  };
}

type Resource = readonly (readonly [string, string])[];

/** OTLP over HTTP, binary protobuf. Source: OTLP specification 1.x, OTLP/HTTP. */
export function otlpHttpExporter(
  options: ExporterOptions & { readonly resource: Resource; readonly target: Omit<HttpTarget, 'contentType'> },
): SpanExporter {
  const target = { ...options.target, contentType: 'application/x-protobuf' };
  const messages = otlpMessages();
  const send = (body: (spans: readonly FinishedSpan[]) => Buffer): SendSpans => postBatch(options, target, body);
  return spanExporter(options, (spans, done) => {
    void messages.then(({ traceRequest }) =>
      send((batch) => Buffer.from(toBinary(ExportTraceServiceRequestSchema, traceRequest(batch, options.resource))))(spans, done),
    );
  });
}

/** OTLP over gRPC, through the pools of the collector's cluster. */
export function otlpGrpcExporter(options: ExporterOptions & { readonly resource: Resource }): SpanExporter {
  const messages = otlpMessages();
  return spanExporter(options, (spans, done) => {
    void messages.then(({ traceRequest }) => {
      const message = toBinary(ExportTraceServiceRequestSchema, traceRequest(spans, options.resource));
      const method = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
      callUnary(options.calls, { cluster: options.cluster, method, message, timeoutMs: EXPORT_TIMEOUT_MS }, ({ status }) =>
        done(status === GRPC_OK ? 0 : spans.length),
      );
    });
  });
}

/** The messages cost memory: who exports nothing does not load them. */
function otlpMessages(): Promise<typeof import('@mizzen/telemetry/otlp-messages')> {
  return import('@mizzen/telemetry/otlp-messages');
}
