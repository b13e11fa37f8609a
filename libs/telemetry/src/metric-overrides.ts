import type { Expression } from './expression.ts';
import type { StreamInfo } from './stream-info.ts';

/** What a configuration changes of Istio's standard metrics. Source: istio/proxy stats.PluginConfig, MetricConfig (1.32). */
export interface MetricOverride {
  /** Without `istio_`: `requests_total`; '' for all. */
  readonly metric: string;
  readonly isDropped: boolean;
  readonly removedLabels: readonly string[];
  /** Labels that are added, or that get another value. */
  readonly labels: readonly (readonly [name: string, value: Expression])[];
}

/** How one metric is labelled. */
export interface MetricPlan {
  readonly labels: readonly string[];
  /** The values of `labels`, from those of the standard labels. */
  values(standard: readonly string[], info: StreamInfo): string[];
}

/** undefined where the metric is switched off. Later overrides win. */
export function planMetric(name: string, standard: readonly string[], overrides: readonly MetricOverride[]): MetricPlan | undefined {
  const mine = overrides.filter(({ metric }) => metric === '' || `istio_${metric}` === name);
  if (mine.length === 0) return { labels: standard, values: (values) => [...values] };
  if (mine.some(({ isDropped }) => isDropped)) return undefined;
  const sources = new Map<string, number | Expression>(standard.map((label, index) => [label, index]));
  for (const { labels, removedLabels } of mine) {
    for (const [label, value] of labels) sources.set(label, value);
    for (const label of removedLabels) sources.delete(label);
  }
  const entries = [...sources];
  return {
    labels: entries.map(([label]) => label),
    values: (values, info) =>
      entries.map(([, source]) => (typeof source === 'number' ? (values[source] as string) : labelText(source(info)))),
  };
}

/** What overrides compute of a stream: streams that differ in it have series of their own. */
export function overrideKey(overrides: readonly MetricOverride[]): ((info: StreamInfo) => string) | undefined {
  const values = overrides.flatMap(({ labels }) => labels.map(([, value]) => value));
  if (values.length === 0) return undefined;
  return (info) => values.map((value) => labelText(value(info))).join('\n');
}

function labelText(value: ReturnType<Expression>): string {
  return value === undefined ? 'unknown' : String(value);
}
