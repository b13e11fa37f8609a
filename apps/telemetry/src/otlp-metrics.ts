import type { ExportMetricsServiceRequest } from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  AggregationTemporality,
  type HistogramDataPoint,
  type Metric,
  type NumberDataPoint,
  type ResourceMetrics,
} from '@mizzen/xds-api/opentelemetry/proto/metrics/v1/metrics';
import { attributesToRecord } from './otlp-attributes.ts';
import type { Labels, MetricKind, Sample } from './sample.ts';

/** OTLP's DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK: the series ended, the point has no value. */
const NO_RECORDED_VALUE = 1;
const NANOS_PER_MS = 1_000_000n;

/**
 * The samples of an OTLP message, and how many of its points are none: kinds other than sum, gauge and explicit histogram, points that
 * contradict themselves, and names and labels that Prometheus could not print.
 * Source: opentelemetry-proto, metrics.proto (1.x).
 */
export function parseMetrics(request: ExportMetricsServiceRequest): { samples: Sample[]; rejected: number } {
  const samples: Sample[] = [];
  let rejected = 0;
  for (const resourceMetrics of request.resourceMetrics) {
    const instance = instanceOf(resourceMetrics);
    for (const metric of resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics)) {
      const parsed = parseMetric(metric, instance);
      samples.push(...parsed.filter((sample) => sample !== undefined));
      rejected += parsed.filter((sample) => sample === undefined).length;
    }
  }
  return { samples, rejected };
}

function instanceOf({ resource }: ResourceMetrics): string {
  const attributes = attributesToRecord(resource?.attributes ?? []);
  return attributes['service.instance.id'] ?? `${attributes['service.namespace'] ?? ''}/${attributes['service.name'] ?? ''}`;
}

/** One entry for each point; `undefined` for one that is rejected. */
function parseMetric(metric: Metric, instance: string): (Sample | undefined)[] {
  const { data } = metric;
  const isValidName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(metric.name);
  if (data.case === undefined) return [undefined];
  if (!isValidName) return data.value.dataPoints.map(() => undefined);
  const common = { metric: metric.name, help: metric.description, instance };
  if (data.case === 'histogram') {
    const isDelta = data.value.aggregationTemporality === AggregationTemporality.DELTA;
    return recorded(data.value.dataPoints).map((point) => parseHistogramPoint(point, { ...common, isDelta }));
  }
  const isCounter = data.case === 'sum' && data.value.isMonotonic;
  const isDelta = data.case === 'sum' && data.value.aggregationTemporality === AggregationTemporality.DELTA;
  // What goes up and down and is given in steps cannot be followed without having seen all steps.
  if (isDelta && !isCounter) return data.value.dataPoints.map(() => undefined);
  const kind: MetricKind = isCounter ? 'counter' : 'gauge';
  return recorded(data.value.dataPoints).map((point) => parseNumberPoint(point, { ...common, isDelta, kind }));
}

type Common = Pick<Sample, 'metric' | 'help' | 'instance' | 'isDelta'>;

function parseNumberPoint(point: NumberDataPoint, common: Common & { kind: MetricKind }): Sample | undefined {
  const labels = parseLabels(point);
  const value = Number(point.value.value ?? Number.NaN);
  if (!labels || !Number.isFinite(value) || (common.kind === 'counter' && value < 0)) return undefined;
  return { ...common, ...timesOf(point), labels, values: [value], bounds: [] };
}

function parseHistogramPoint(point: HistogramDataPoint, common: Common): Sample | undefined {
  const labels = parseLabels(point);
  const bounds = point.explicitBounds;
  const isConsistent =
    point.bucketCounts.length === bounds.length + 1 && bounds.every((bound, index) => index === 0 || bound > (bounds[index - 1] ?? bound));
  const sum = point.sum ?? 0;
  if (!labels || !isConsistent || !Number.isFinite(sum)) return undefined;
  return { ...common, ...timesOf(point), kind: 'histogram', labels, bounds, values: [sum, ...point.bucketCounts.map(Number)] };
}

function recorded<P extends { flags: number }>(points: readonly P[]): P[] {
  return points.filter((point) => (point.flags & NO_RECORDED_VALUE) === 0);
}

function parseLabels(point: NumberDataPoint | HistogramDataPoint): Labels | undefined {
  const labels = attributesToRecord(point.attributes);
  return Object.keys(labels).every((name) => /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && name !== 'le') ? labels : undefined;
}

function timesOf(point: { startTimeUnixNano: bigint; timeUnixNano: bigint }): { startTimeMs: number; timeMs: number } {
  return { startTimeMs: Number(point.startTimeUnixNano / NANOS_PER_MS), timeMs: Number(point.timeUnixNano / NANOS_PER_MS) };
}
