import type { MetricFamily } from './metrics-store.ts';
import type { Labels } from './sample.ts';

/** Families in the Prometheus text format 0.0.4. */
export function toPrometheusText(families: readonly MetricFamily[]): string {
  return families.map(familyText).join('');
}

function familyText({ metric, help, kind, series }: MetricFamily): string {
  const head = `# HELP ${metric} ${escapeHelp(help)}\n# TYPE ${metric} ${kind}\n`;
  if (kind !== 'histogram') return head + series.map(({ labels, values: [value = 0] }) => line(metric, labels, value)).join('');
  return (
    head +
    series
      .map(({ labels, bounds, values: [sum = 0, ...bucketCounts] }) => histogramText({ metric, labels, bounds, sum, bucketCounts }))
      .join('')
  );
}

interface HistogramSeries {
  readonly metric: string;
  readonly labels: Labels;
  readonly bounds: readonly number[];
  readonly sum: number;
  readonly bucketCounts: readonly number[];
}

function histogramText({ metric, labels, bounds, sum, bucketCounts }: HistogramSeries): string {
  let count = 0;
  const buckets = bucketCounts.map((bucketCount, index) => {
    count += bucketCount;
    return line(`${metric}_bucket`, { ...labels, le: index < bounds.length ? String(bounds[index]) : '+Inf' }, count);
  });
  return `${buckets.join('')}${line(`${metric}_sum`, labels, sum)}${line(`${metric}_count`, labels, count)}`;
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}\n`;
}

function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
