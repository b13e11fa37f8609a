import type { ExportTraceServiceRequest } from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { type Span, Span_SpanKind, Status_StatusCode } from '@mizzen/xds-api/opentelemetry/proto/trace/v1/trace';
import { attributesToRecord } from './otlp-attributes.ts';
import type { StoredSpan } from './span-store.ts';

const KINDS: Readonly<Record<number, StoredSpan['kind']>> = {
  [Span_SpanKind.INTERNAL]: 'internal',
  [Span_SpanKind.SERVER]: 'server',
  [Span_SpanKind.CLIENT]: 'client',
  [Span_SpanKind.PRODUCER]: 'producer',
  [Span_SpanKind.CONSUMER]: 'consumer',
};

/** The spans of an OTLP message, and how many of them have no valid id. Source: opentelemetry-proto, trace.proto (1.x). */
export function parseSpans(request: ExportTraceServiceRequest): { spans: StoredSpan[]; rejected: number } {
  const spans: StoredSpan[] = [];
  let rejected = 0;
  for (const resourceSpans of request.resourceSpans) {
    const resource = attributesToRecord(resourceSpans.resource?.attributes ?? []);
    const origin = { service: resource['service.name'] || 'unknown', namespace: resource['service.namespace'] || 'unknown' };
    for (const span of resourceSpans.scopeSpans.flatMap((scope) => scope.spans)) {
      if (isId(span.traceId, 16) && isId(span.spanId, 8)) spans.push(toStoredSpan(span, origin));
      else rejected += 1;
    }
  }
  return { spans, rejected };
}

function toStoredSpan(span: Span, origin: Pick<StoredSpan, 'service' | 'namespace'>): StoredSpan {
  const { code = Status_StatusCode.UNSET, message = '' } = span.status ?? {};
  return {
    traceId: toHex(span.traceId),
    spanId: toHex(span.spanId),
    ...(isId(span.parentSpanId, 8) && { parentSpanId: toHex(span.parentSpanId) }),
    name: span.name,
    kind: KINDS[span.kind] ?? 'unspecified',
    ...origin,
    startTimeMs: Number(span.startTimeUnixNano / 1_000n) / 1_000,
    durationMs: Math.max(0, Number(span.endTimeUnixNano - span.startTimeUnixNano) / 1e6),
    status: code === Status_StatusCode.ERROR ? 'error' : code === Status_StatusCode.OK ? 'ok' : 'unset',
    statusMessage: message,
    attributes: attributesToRecord(span.attributes),
  };
}

function isId(bytes: Uint8Array, length: number): boolean {
  return bytes.length === length && bytes.some((byte) => byte !== 0);
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
