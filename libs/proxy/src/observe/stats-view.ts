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

/** What of a histogram came of late; undefined where nothing did. */
export type Recent = (name: string, whole: StatHistogram) => StatHistogram | undefined;

const nothingRecent: Recent = () => undefined;

/** `name: value` a line, histograms at the end. Source: envoy docs, "GET /stats" (1.40). */
export function statsText(stats: readonly Stat[], view: HistogramView, recent: Recent = nothingRecent): string {
  let numbers = '';
  let histograms = '';
  for (const { name, value, histogram } of stats) {
    if (histogram === undefined) numbers += `${name}: ${value}\n`;
    else histograms += `${name}:${histogramText(histogram, recent(name, histogram), view)}\n`;
  }
  return numbers + histograms;
}

/** How histograms are shown: quantiles, counts of Envoy's buckets, or the buckets as they are kept. */
export type HistogramView = 'quantiles' | 'cumulative' | 'disjoint' | 'detailed';

function histogramText(whole: StatHistogram, recent: StatHistogram | undefined, view: HistogramView): string {
  if (whole.count === 0) return ' No recorded values';
  if (view === 'detailed')
    return `\n  totals=${keptBuckets(whole).map(keptText).join(', ')}\n  intervals=${keptBuckets(recent).map(keptText).join(', ')}\n  summary=${quantilesText(whole, recent)}`;
  if (view === 'quantiles') return ` ${quantilesText(whole, recent)}`;
  const lately = bucketCounts(recent, view);
  const counts = bucketCounts(whole, view).map(([bound, count], index) => `B${general(bound)}(${lately[index]?.[1] ?? 0},${count})`);
  return ` ${counts.join(' ')}`;
}

function quantilesText(whole: StatHistogram, recent: StatHistogram | undefined): string {
  return QUANTILES.map((percent) => `P${percent}(${recent?.quantile(percent) ?? 'nan'},${whole.quantile(percent)})`).join(' ');
}

/** As C's %g prints what is a whole number or has few digits. */
function general(value: number): string {
  return value < 1e6 ? String(value) : value.toExponential().replace(/e\+(\d)$/, 'e+0$1');
}

function bucketCounts(
  histogram: StatHistogram | undefined,
  view: 'cumulative' | 'disjoint',
): readonly (readonly [bound: number, count: number])[] {
  let before = 0;
  return DEFAULT_BUCKETS.map((bound) => {
    const upTo = histogram?.countUpTo(bound) ?? 0;
    const count = view === 'cumulative' ? upTo : upTo - before;
    before = upTo;
    return [bound, count] as const;
  });
}

interface KeptBucket {
  readonly lower_bound: number;
  readonly width: number;
  readonly count: number;
}

function keptBuckets(histogram: StatHistogram | undefined): readonly KeptBucket[] {
  if (histogram === undefined) return [];
  const buckets: KeptBucket[] = histogram.zeros === 0 ? [] : [{ lower_bound: 0, width: 0, count: histogram.zeros }];
  histogram.eachBucket((lower_bound, width, count) => buckets.push({ lower_bound, width, count }));
  return buckets;
}

function keptText({ lower_bound, width, count }: KeptBucket): string {
  return `${lower_bound},${width}:${count}`;
}

/** Envoy's JSON: numbers in one list, histograms in one object at its end. */
export function statsJson(stats: readonly Stat[], view: HistogramView, recent: Recent = nothingRecent): object {
  const numbers: object[] = stats.filter(({ histogram }) => histogram === undefined).map(({ name, value }) => ({ name, value }));
  const histograms = stats.flatMap(({ name, histogram }) =>
    histogram === undefined ? [] : [{ name, whole: histogram, recent: recent(name, histogram) }],
  );
  if (histograms.length > 0) numbers.push({ histograms: histogramsJson(histograms, view) });
  return { stats: numbers };
}

interface NamedHistogram {
  readonly name: string;
  readonly whole: StatHistogram;
  readonly recent: StatHistogram | undefined;
}

function histogramsJson(histograms: readonly NamedHistogram[], view: HistogramView): object {
  switch (view) {
    case 'quantiles':
      return {
        supported_quantiles: QUANTILES,
        computed_quantiles: histograms.map((each) => ({ name: each.name, values: quantilesJson(each) })),
      };
    case 'detailed':
      return {
        supported_percentiles: QUANTILES,
        details: histograms.map((each) => ({
          name: each.name,
          totals: keptBuckets(each.whole),
          intervals: keptBuckets(each.recent),
          percentiles: quantilesJson(each),
        })),
      };
    default:
      return histograms.map(({ name, whole, recent }) => {
        const lately = bucketCounts(recent, view);
        return {
          name,
          buckets: bucketCounts(whole, view).map(([upper_bound, cumulative], index) => ({
            upper_bound,
            interval: lately[index]?.[1] ?? 0,
            cumulative,
          })),
        };
      });
  }
}

function quantilesJson({ whole, recent }: NamedHistogram): readonly object[] {
  return QUANTILES.map((percent) => ({ cumulative: finite(whole.quantile(percent)), interval: finite(recent?.quantile(percent)) }));
}

/** `envoy_cluster_upstream_rq_total{envoy_cluster_name="…"}`, a TYPE line for each name. Source: envoy PrometheusStatsFormatter (1.40). */
export function statsPrometheus(stats: readonly Stat[], policy: StatsPolicy, showsQuantiles = false): string {
  const families = new Map<string, { readonly kind: StatKind | 'summary'; lines: string }>();
  for (const stat of stats) {
    const tagged = policy.split(stat.name, stat.known);
    const metric = `envoy_${sanitize(tagged.name)}`;
    const kind = stat.kind === 'histogram' && showsQuantiles ? 'summary' : stat.kind;
    const family = families.get(metric) ?? { kind, lines: '' };
    families.set(metric, family);
    const labels = labelText(tagged);
    if (stat.histogram === undefined) family.lines += `${metric}${labels === '' ? '' : `{${labels}}`} ${stat.value}\n`;
    else if (showsQuantiles) family.lines += summaryLines(metric, labels, stat.histogram);
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

function summaryLines(metric: string, labels: string, histogram: StatHistogram): string {
  const prefix = labels === '' ? '' : `${labels},`;
  let text = '';
  for (const percent of QUANTILES)
    text += `${metric}{${prefix}quantile="${Number((percent / 100).toPrecision(4))}"} ${histogram.quantile(percent)}\n`;
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

/** JSON has no word for what is no number. */
function finite(value = Number.NaN): number | null {
  return Number.isFinite(value) ? value : null;
}
