// Builders for this project's specs.
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@mizzen/core';
import {
  type ExportMetricsServiceRequest,
  ExportMetricsServiceRequestSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  type ExportTraceServiceRequest,
  ExportTraceServiceRequestSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { type KeyValue, KeyValueSchema } from '@mizzen/xds-api/opentelemetry/proto/common/v1/common';
import { AggregationTemporality, type Metric, MetricSchema } from '@mizzen/xds-api/opentelemetry/proto/metrics/v1/metrics';
import { Span_SpanKind, Status_StatusCode } from '@mizzen/xds-api/opentelemetry/proto/trace/v1/trace';
import type { Labels, Sample } from './sample.ts';

export const BUCKET_BOUNDS_MS = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000];

/** A clock that only the test moves. */
export class FakeClock implements Clock {
  nowMs = Date.UTC(2026, 0, 1);

  now(): number {
    return this.nowMs;
  }

  monotonic(): number {
    return this.nowMs;
  }

  after(): { cancel(): void } {
    throw new Error('the collector sets no timers');
  }
}

/** Istio's labels of a call of productpage to reviews v1, as the caller reports it. */
export function callLabels(overrides: Labels = {}): Labels {
  return {
    reporter: 'source',
    source_workload: 'productpage-v1',
    source_workload_namespace: 'default',
    source_app: 'productpage',
    source_version: 'v1',
    destination_workload: 'reviews-v1',
    destination_workload_namespace: 'default',
    destination_app: 'reviews',
    destination_version: 'v1',
    destination_service: 'reviews.default.svc.cluster.local',
    request_protocol: 'http',
    response_code: '200',
    grpc_response_status: '',
    connection_security_policy: 'unknown',
    ...overrides,
  };
}

export function aSample(overrides: Partial<Sample> & { clock: FakeClock }): Sample {
  const { clock, ...rest } = overrides;
  return {
    metric: 'istio_requests_total',
    help: '',
    kind: 'counter',
    labels: callLabels(),
    instance: 'sidecar~127.0.0.1~productpage-v1-0.default~default.svc.cluster.local',
    values: [1],
    bounds: [],
    isDelta: false,
    startTimeMs: clock.now(),
    timeMs: clock.now(),
    ...rest,
  };
}

export interface PointTimes {
  readonly startTimeMs: number;
  readonly timeMs: number;
}

export function counterMetric(name: string, points: readonly { labels: Labels; value: number }[], times: PointTimes): Metric {
  const dataPoints = points.map(({ labels, value }) => ({
    attributes: keyValues(labels),
    ...nanos(times),
    value: { case: 'asInt' as const, value: BigInt(value) },
  }));
  return create(MetricSchema, {
    name,
    description: `number of ${name}`,
    data: { case: 'sum', value: { isMonotonic: true, aggregationTemporality: AggregationTemporality.CUMULATIVE, dataPoints } },
  });
}

export function histogramMetric(
  name: string,
  point: { labels: Labels; bucketCounts: readonly number[]; sum: number },
  times: PointTimes,
): Metric {
  const { labels, bucketCounts, sum } = point;
  const dataPoint = {
    attributes: keyValues(labels),
    ...nanos(times),
    sum,
    count: BigInt(bucketCounts.reduce((total, count) => total + count, 0)),
    bucketCounts: bucketCounts.map(BigInt),
    explicitBounds: BUCKET_BOUNDS_MS,
  };
  return create(MetricSchema, {
    name,
    data: { case: 'histogram', value: { aggregationTemporality: AggregationTemporality.CUMULATIVE, dataPoints: [dataPoint] } },
  });
}

export function metricsRequest(instance: string, metrics: Metric[]): ExportMetricsServiceRequest {
  const attributes = keyValues({ 'service.name': 'productpage-v1', 'service.namespace': 'default', 'service.instance.id': instance });
  return create(ExportMetricsServiceRequestSchema, { resourceMetrics: [{ resource: { attributes }, scopeMetrics: [{ metrics }] }] });
}

export interface SpanSpec {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly service: string;
  readonly startTimeMs: number;
  readonly durationMs: number;
  readonly isError?: boolean;
}

export function traceRequest(spans: readonly SpanSpec[]): ExportTraceServiceRequest {
  return create(ExportTraceServiceRequestSchema, {
    resourceSpans: spans.map((span) => ({
      resource: { attributes: keyValues({ 'service.name': span.service, 'service.namespace': 'default' }) },
      scopeSpans: [
        {
          spans: [
            {
              traceId: Buffer.from(span.traceId, 'hex'),
              spanId: Buffer.from(span.spanId, 'hex'),
              parentSpanId: Buffer.from(span.parentSpanId ?? '', 'hex'),
              name: span.name,
              kind: Span_SpanKind.SERVER,
              startTimeUnixNano: BigInt(span.startTimeMs) * 1_000_000n,
              endTimeUnixNano: BigInt(span.startTimeMs + span.durationMs) * 1_000_000n,
              attributes: keyValues({ 'http.method': 'GET' }),
              status: { code: span.isError ? Status_StatusCode.ERROR : Status_StatusCode.UNSET },
            },
          ],
        },
      ],
    })),
  });
}

function keyValues(record: Labels): KeyValue[] {
  return Object.entries(record).map(([key, value]) => create(KeyValueSchema, { key, value: { value: { case: 'stringValue', value } } }));
}

function nanos({ startTimeMs, timeMs }: PointTimes): { startTimeUnixNano: bigint; timeUnixNano: bigint } {
  return { startTimeUnixNano: BigInt(startTimeMs) * 1_000_000n, timeUnixNano: BigInt(timeMs) * 1_000_000n };
}
