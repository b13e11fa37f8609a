import { DEFAULT_BUCKETS, QUANTILES, StatHistogram } from './stat-histogram.ts';
import type { StatRegistry, StatTag } from './stat-registry.ts';
import type { StatsPolicy, TaggedName } from './stat-tags.ts';

export type StatKind = 'counter' | 'gauge' | 'histogram';

export interface StatsQuery {
  /** On the dotted name. */
  readonly matches?: ((name: string) => boolean) | undefined;
  /** Only what is not 0. */
  readonly usedOnly?: boolean | undefined;
  readonly kinds?: readonly StatKind[] | undefined;
}

/** One statistic as it is now. */
export interface Stat {
  readonly name: string;
  readonly kind: StatKind;
  value: number;
  histogram: StatHistogram | undefined;
  readonly known: readonly StatTag[];
}

/** Reads all statistics that the policy and the query let through, sorted by name; equal names are added up. */
export function readStats(registry: StatRegistry, policy: Pick<StatsPolicy, 'includes'>, query: StatsQuery = {}): readonly Stat[] {
  const stats = new Map<string, Stat>();
  const wants = (kind: StatKind): boolean => query.kinds?.includes(kind) ?? true;
  const add = (kind: StatKind, name: string, found: { value: number; known: readonly StatTag[]; histogram?: StatHistogram }): void => {
    const isUsed = found.histogram === undefined ? found.value !== 0 : found.histogram.count > 0;
    if (query.usedOnly === true && !isUsed) return;
    const same = stats.get(name);
    if (same !== undefined) {
      same.value += found.value;
      if (found.histogram !== undefined) same.histogram = sumOf(same.histogram, found.histogram);
      return;
    }
    if (!policy.includes(name) || query.matches?.(name) === false) return;
    stats.set(name, { name, kind, value: found.value, histogram: found.histogram, known: found.known });
  };
  for (const { prefix, tags: known, names, values, more } of registry.scopes()) {
    const fields = values as Readonly<Record<string, unknown>>;
    if (wants('counter')) {
      for (const field in names.counters) add('counter', `${prefix}.${names.counters[field]}`, { value: fields[field] as number, known });
      if (more !== undefined) for (const [name, value] of more) add('counter', `${prefix}.${name}`, { value, known });
    }
    if (wants('gauge'))
      for (const field in names.gauges) add('gauge', `${prefix}.${names.gauges[field]}`, { value: fields[field] as number, known });
    if (!wants('histogram')) continue;
    for (const field in names.histograms) {
      const histogram = fields[field] as StatHistogram | undefined;
      if (histogram !== undefined) add('histogram', `${prefix}.${names.histograms[field]}`, { value: 0, known, histogram });
    }
  }
  return [...stats.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** A new one: neither of the two may change. */
function sumOf(a: StatHistogram | undefined, b: StatHistogram): StatHistogram {
  const sum = new StatHistogram();
  if (a !== undefined) sum.add(a.state());
  sum.add(b.state());
  return sum;
}

/** `name: value` a line, histograms at the end. Source: envoy docs, "GET /stats" (1.40). */
export function statsText(stats: readonly Stat[], buckets: HistogramView): string {
  let numbers = '';
  let histograms = '';
  for (const { name, value, histogram } of stats) {
    if (histogram === undefined) numbers += `${name}: ${value}\n`;
    else histograms += `${name}: ${histogramText(histogram, buckets)}\n`;
  }
  return numbers + histograms;
}

/** How histograms are shown: quantiles, or counts of buckets. */
export type HistogramView = 'quantiles' | 'cumulative' | 'disjoint';

// Envoy prints the last interval and all time; here there is all time alone, and Envoy's word for an interval without values.
function histogramText(histogram: StatHistogram, view: HistogramView): string {
  if (histogram.count === 0) return 'No recorded values';
  if (view === 'quantiles') return QUANTILES.map((percent) => `P${percent}(nan,${round(histogram.quantile(percent))})`).join(' ');
  return bucketCounts(histogram, view)
    .map(([bound, count]) => `B${bound}(0,${count})`)
    .join(' ');
}

function bucketCounts(histogram: StatHistogram, view: 'cumulative' | 'disjoint'): readonly (readonly [bound: number, count: number])[] {
  let before = 0;
  return DEFAULT_BUCKETS.map((bound) => {
    const upTo = histogram.countUpTo(bound);
    const count = view === 'cumulative' ? upTo : upTo - before;
    before = upTo;
    return [bound, count] as const;
  });
}

/** Envoy's JSON: numbers in one list, histograms in one object at its end. */
export function statsJson(stats: readonly Stat[], view: HistogramView): object {
  const numbers: object[] = stats.filter(({ histogram }) => histogram === undefined).map(({ name, value }) => ({ name, value }));
  const histograms = stats.filter(({ histogram }) => histogram !== undefined);
  if (histograms.length === 0) return { stats: numbers };
  if (view === 'quantiles') {
    const computed_quantiles = histograms.map(({ name, histogram }) => ({
      name,
      values: QUANTILES.map((percent) => ({ interval: null, cumulative: finite((histogram as StatHistogram).quantile(percent)) })),
    }));
    numbers.push({ histograms: { supported_quantiles: QUANTILES, computed_quantiles } });
  } else {
    numbers.push({
      histograms: histograms.map(({ name, histogram }) => ({
        name,
        buckets: bucketCounts(histogram as StatHistogram, view).map(([upper_bound, cumulative]) => ({
          upper_bound,
          interval: 0,
          cumulative,
        })),
      })),
    });
  }
  return { stats: numbers };
}

/** `envoy_cluster_upstream_rq_total{envoy_cluster_name="…"}`, a TYPE line for each name. Source: envoy PrometheusStatsFormatter (1.40). */
export function statsPrometheus(stats: readonly Stat[], policy: StatsPolicy): string {
  const families = new Map<string, { readonly kind: StatKind; lines: string }>();
  for (const stat of stats) {
    const tagged = policy.split(stat.name, stat.known);
    const metric = `envoy_${sanitize(tagged.name)}`;
    const family = families.get(metric) ?? { kind: stat.kind, lines: '' };
    families.set(metric, family);
    const labels = labelText(tagged);
    if (stat.histogram === undefined) family.lines += `${metric}${labels === '' ? '' : `{${labels}}`} ${stat.value}\n`;
    else
      family.lines += histogramLines(metric, labels, { histogram: stat.histogram, bounds: policy.bucketsOf(stat.name) ?? DEFAULT_BUCKETS });
  }
  let text = '';
  for (const [metric, { kind, lines }] of families) text += `# TYPE ${metric} ${kind}\n${lines}`;
  return text;
}

function histogramLines(
  metric: string,
  labels: string,
  { histogram, bounds }: { readonly histogram: StatHistogram; readonly bounds: readonly number[] },
): string {
  const prefix = labels === '' ? '' : `${labels},`;
  let text = '';
  for (const bound of bounds) text += `${metric}_bucket{${prefix}le="${bound}"} ${histogram.countUpTo(bound)}\n`;
  text += `${metric}_bucket{${prefix}le="+Inf"} ${histogram.count}\n`;
  const braces = labels === '' ? '' : `{${labels}}`;
  return `${text}${metric}_sum${braces} ${histogram.sum}\n${metric}_count${braces} ${histogram.count}\n`;
}

function labelText({ tags }: TaggedName): string {
  return tags.map(([name, value]) => `${sanitize(name)}="${escapeLabel(value)}"`).join(',');
}

function sanitize(name: string): string {
  return name.replace(/[^a-zA-Z0-9_]/g, '_');
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function round(value: number): number {
  return Number(value.toPrecision(6));
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? round(value) : null;
}
