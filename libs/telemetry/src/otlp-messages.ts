import { create } from '@bufbuild/protobuf';
import {
  type ExportMetricsServiceRequest,
  ExportMetricsServiceRequestSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  type ExportTraceServiceRequest,
  ExportTraceServiceRequestSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { AnyValueSchema, type KeyValue, KeyValueSchema } from '@mizzen/xds-api/opentelemetry/proto/common/v1/common';
import {
  AggregationTemporality,
  GaugeSchema,
  HistogramDataPointSchema,
  HistogramSchema,
  type Metric as MetricMessage,
  MetricSchema,
  NumberDataPointSchema,
  ResourceMetricsSchema,
  ScopeMetricsSchema,
  SumSchema,
} from '@mizzen/xds-api/opentelemetry/proto/metrics/v1/metrics';
import { ResourceSchema } from '@mizzen/xds-api/opentelemetry/proto/resource/v1/resource';
import {
  ResourceSpansSchema,
  ScopeSpansSchema,
  Span_SpanKind,
  SpanSchema,
  Status_StatusCode,
  StatusSchema,
} from '@mizzen/xds-api/opentelemetry/proto/trace/v1/trace';
import type { AnyMetric, CounterSeries, HistogramSeries } from './metric-registry.ts';
import type { FinishedSpan } from './tracer.ts';

export type Attributes = readonly (readonly [string, string])[];

function keyValues(attributes: Attributes): KeyValue[] {
  return attributes.map(([key, value]) =>
    create(KeyValueSchema, { key, value: create(AnyValueSchema, { value: { case: 'stringValue', value } }) }),
  );
}

function nanos(timeMs: number): bigint {
  return BigInt(Math.round(timeMs * 1000)) * 1000n;
}

const SCOPE = { name: 'mizzen' };

/** Cumulative points of all series of the given metrics. */
export function metricsRequest(
  metrics: readonly AnyMetric[],
  about: { readonly resource: Attributes; readonly startMs: number; readonly nowMs: number },
): ExportMetricsServiceRequest {
  const messages = metrics.filter((metric) => metric.size > 0).map((metric) => metricMessage(metric, about));
  return create(ExportMetricsServiceRequestSchema, {
    resourceMetrics: [
      create(ResourceMetricsSchema, {
        resource: create(ResourceSchema, { attributes: keyValues(about.resource) }),
        scopeMetrics: [create(ScopeMetricsSchema, { scope: SCOPE, metrics: messages })],
      }),
    ],
  });
}

// Label values never change and their arrays live as long as their series.
const attributesOfSeries = new WeakMap<readonly string[], KeyValue[]>();

function seriesAttributes(metric: AnyMetric, values: readonly string[]): KeyValue[] {
  const known = attributesOfSeries.get(values);
  if (known !== undefined) return known;
  const attributes = keyValues(metric.labels.map((label, index) => [label, values[index] ?? ''] as const));
  attributesOfSeries.set(values, attributes);
  return attributes;
}

function metricMessage(metric: AnyMetric, about: { readonly startMs: number; readonly nowMs: number }): MetricMessage {
  const times = { startTimeUnixNano: nanos(about.startMs), timeUnixNano: nanos(about.nowMs) };
  const base = { name: metric.name, description: metric.help };
  if (metric.kind === 'histogram') {
    const dataPoints = [...metric.entries()].map(({ values, series }) => {
      const { counts, count, sum } = series as HistogramSeries;
      const bucketCounts = Array.from(counts, (value) => BigInt(value));
      return create(HistogramDataPointSchema, {
        ...times,
        attributes: seriesAttributes(metric, values),
        count: BigInt(count),
        sum,
        bucketCounts,
        explicitBounds: [...metric.buckets],
      });
    });
    const value = create(HistogramSchema, { dataPoints, aggregationTemporality: AggregationTemporality.CUMULATIVE });
    return create(MetricSchema, { ...base, data: { case: 'histogram', value } });
  }
  const dataPoints = [...metric.entries()].map(({ values, series }) =>
    create(NumberDataPointSchema, {
      ...times,
      attributes: seriesAttributes(metric, values),
      value: { case: 'asDouble', value: (series as CounterSeries).value },
    }),
  );
  if (metric.kind === 'gauge')
    return create(MetricSchema, { ...base, data: { case: 'gauge', value: create(GaugeSchema, { dataPoints }) } });
  const value = create(SumSchema, { dataPoints, isMonotonic: true, aggregationTemporality: AggregationTemporality.CUMULATIVE });
  return create(MetricSchema, { ...base, data: { case: 'sum', value } });
}

export function traceRequest(spans: readonly FinishedSpan[], resource: Attributes): ExportTraceServiceRequest {
  return create(ExportTraceServiceRequestSchema, {
    resourceSpans: [
      create(ResourceSpansSchema, {
        resource: create(ResourceSchema, { attributes: keyValues(resource) }),
        scopeSpans: [create(ScopeSpansSchema, { scope: SCOPE, spans: spans.map(spanMessage) })],
      }),
    ],
  });
}

function spanMessage(span: FinishedSpan) {
  return create(SpanSchema, {
    traceId: Buffer.from(span.traceId, 'hex'),
    spanId: Buffer.from(span.spanId, 'hex'),
    parentSpanId: Buffer.from(span.parentSpanId, 'hex'),
    name: span.name,
    kind: span.kind === 'client' ? Span_SpanKind.CLIENT : Span_SpanKind.SERVER,
    startTimeUnixNano: nanos(span.startTimeMs),
    endTimeUnixNano: nanos(span.endTimeMs),
    attributes: keyValues(span.tags),
    status: create(StatusSchema, { code: span.isError ? Status_StatusCode.ERROR : Status_StatusCode.UNSET }),
  });
}
