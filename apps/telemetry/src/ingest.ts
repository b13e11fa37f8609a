import { create } from '@bufbuild/protobuf';
import {
  type ExportMetricsServiceRequest,
  type ExportMetricsServiceResponse,
  ExportMetricsServiceResponseSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  type ExportTraceServiceRequest,
  type ExportTraceServiceResponse,
  ExportTraceServiceResponseSchema,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import type { MetricFamily, MetricsStore } from './metrics-store.ts';
import { parseMetrics } from './otlp-metrics.ts';
import { parseSpans } from './otlp-traces.ts';
import type { SpanStore } from './span-store.ts';

/** Puts OTLP messages into the stores, whichever way they came, and counts. */
export class Ingest {
  readonly #metrics: MetricsStore;
  readonly #spans: SpanStore;
  readonly #counts = { points: 0, spans: 0, rejectedPoints: 0, rejectedSpans: 0 };

  constructor(stores: { metrics: MetricsStore; spans: SpanStore }) {
    this.#metrics = stores.metrics;
    this.#spans = stores.spans;
  }

  exportMetrics(request: ExportMetricsServiceRequest): ExportMetricsServiceResponse {
    const { samples, rejected } = parseMetrics(request);
    const { dropped } = this.#metrics.record(samples);
    this.#counts.points += samples.length + rejected;
    this.#counts.rejectedPoints += rejected;
    if (rejected + dropped === 0) return create(ExportMetricsServiceResponseSchema);
    const errorMessage = `${rejected} points are not of a known kind or malformed, ${dropped} were dropped; mizzen_telemetry_dropped_total says why`;
    return create(ExportMetricsServiceResponseSchema, { partialSuccess: { rejectedDataPoints: BigInt(rejected + dropped), errorMessage } });
  }

  exportTraces(request: ExportTraceServiceRequest): ExportTraceServiceResponse {
    const { spans, rejected } = parseSpans(request);
    this.#spans.record(spans);
    this.#counts.spans += spans.length + rejected;
    this.#counts.rejectedSpans += rejected;
    if (rejected === 0) return create(ExportTraceServiceResponseSchema);
    return create(ExportTraceServiceResponseSchema, {
      partialSuccess: { rejectedSpans: BigInt(rejected), errorMessage: `${rejected} spans have no valid trace or span id` },
    });
  }

  /** The collector's own metrics. */
  families(): MetricFamily[] {
    const { points, spans, rejectedPoints, rejectedSpans } = this.#counts;
    const dropped = [...this.#metrics.dropped].map(([reason, count]) => sample(count, { signal: 'metrics', reason }));
    return [
      {
        metric: 'mizzen_telemetry_received_total',
        help: 'Data points and spans that were received.',
        kind: 'counter',
        series: [sample(points, { signal: 'metrics' }), sample(spans, { signal: 'traces' })],
      },
      {
        metric: 'mizzen_telemetry_dropped_total',
        help: 'Data points and spans that were not kept, or gave way to newer ones.',
        kind: 'counter',
        series: [
          sample(rejectedPoints, { signal: 'metrics', reason: 'unknown kind or malformed' }),
          ...dropped,
          sample(rejectedSpans, { signal: 'traces', reason: 'no valid id' }),
          sample(this.#spans.evicted, { signal: 'traces', reason: 'made room for newer spans' }),
        ],
      },
      { metric: 'mizzen_telemetry_series', help: 'Series that are kept.', kind: 'gauge', series: [sample(this.#metrics.seriesCount, {})] },
      { metric: 'mizzen_telemetry_spans', help: 'Spans that are kept.', kind: 'gauge', series: [sample(this.#spans.spanCount, {})] },
    ];
  }
}

function sample(value: number, labels: Record<string, string>): MetricFamily['series'][number] {
  return { labels, bounds: [], values: [value] };
}
