/** One counter series. The hot path is `series.value += n`; it only ever grows. */
export interface CounterSeries {
  value: number;
}

/** One gauge series: a value that goes up and down. */
export interface GaugeSeries {
  value: number;
}

/** One histogram series. `counts[i]` holds what was at most `buckets[i]` and above the bucket before; the last one holds the rest. */
export interface HistogramSeries {
  readonly counts: Float64Array;
  count: number;
  sum: number;
  observe(value: number): void;
}

export type MetricKind = 'counter' | 'gauge' | 'histogram';

export interface MetricOptions {
  /** Metric names are exported as given: nothing is appended. */
  readonly name: string;
  readonly help: string;
  /** In the order in which they are exported. */
  readonly labels?: readonly string[];
}

/** All series of one metric name. */
export interface Metric<S> {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending; empty for the other kinds. */
  readonly buckets: readonly number[];
  /**
   * The series with these label values (in the order of `labels`), made on first use. Keep the handle where it is used often.
   * Over the registry's bound a detached series comes back: it counts for nobody, and `mizzen_metric_series_dropped_total` says so.
   */
  series(...values: string[]): S;
  /** Forgets a series; a handle that is still held counts for nobody. */
  remove(...values: string[]): void;
  readonly size: number;
  /** Every series with its label values. */
  entries(): IterableIterator<{ readonly values: readonly string[]; readonly series: S }>;
}

// biome-ignore lint/suspicious/noExplicitAny: a registry holds metrics of every kind; `kind` tells them apart
export type AnyMetric = Metric<any>;

export interface MetricRegistry {
  counter(options: MetricOptions): Metric<CounterSeries>;
  gauge(options: MetricOptions): Metric<GaugeSeries>;
  /** `buckets` defaults to Envoy's (milliseconds). */
  histogram(options: MetricOptions & { readonly buckets?: readonly number[] }): Metric<HistogramSeries>;
  /** Runs before every read: for gauges that are computed only when somebody looks. Returns what ends it. */
  onCollect(collect: () => void): () => void;
  /** Every metric, after the collectors ran. */
  collect(): readonly AnyMetric[];
  /** The text format of Prometheus (version 0.0.4). `filter` chooses by name. */
  renderPrometheus(filter?: (name: string) => boolean): string;
}

/** Envoy's default histogram buckets. Source: envoy Stats::HistogramSettingsImpl::defaultBuckets (1.40). */
const ENVOY_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000,
];

const DEFAULT_MAX_SERIES = 10_000;

/** Label values come from peers; without a bound one peer could fill the memory. `maxSeriesPerMetric` defaults to 10,000. */
export function createMetricRegistry(options: { readonly maxSeriesPerMetric?: number } = {}): MetricRegistry {
  const maxSeries = options.maxSeriesPerMetric ?? DEFAULT_MAX_SERIES;
  const metrics = new Map<string, AnyMetric>();
  const collectors = new Set<() => void>();

  const kinds = new Map<string, MetricKind>();

  const define = <S>(shape: MetricShape<S>): Metric<S> => {
    const kind = kinds.get(shape.name) ?? shape.kind;
    if (kind !== shape.kind) throw new Error(`metric ${shape.name} is already defined as a ${kind}`);
    kinds.set(shape.name, kind);
    const key = `${shape.name}\n${shape.labels.join()}`;
    const known = metrics.get(key);
    if (known !== undefined) return known as Metric<S>;
    const metric = new SeriesTable<S>(shape, maxSeries, (name) => {
      dropped.series(name).value++;
    });
    metrics.set(key, metric);
    return metric;
  };

  const registry: MetricRegistry = {
    counter: (given) => define({ ...shapeOf(given), kind: 'counter', create: () => ({ value: 0 }) }),
    gauge: (given) => define({ ...shapeOf(given), kind: 'gauge', create: () => ({ value: 0 }) }),
    histogram(given) {
      const buckets = given.buckets ?? ENVOY_BUCKETS;
      return define<HistogramSeries>({ ...shapeOf(given), kind: 'histogram', buckets, create: () => new Histogram(buckets) });
    },
    onCollect(collect) {
      collectors.add(collect);
      return () => collectors.delete(collect);
    },
    collect() {
      for (const collect of collectors) collect();
      return [...metrics.values()];
    },
    renderPrometheus(filter) {
      // Metrics of one name and several sets of labels are one family.
      const families = new Map<string, string>();
      for (const metric of registry.collect()) {
        if (metric.size === 0 || filter?.(metric.name) === false) continue;
        families.set(metric.name, (families.get(metric.name) ?? renderHead(metric)) + renderSeries(metric));
      }
      return [...families.values()].join('');
    },
  };
  const dropped = registry.counter({
    name: 'mizzen_metric_series_dropped_total',
    help: 'Times that a series was not recorded because its metric has too many',
    labels: ['metric'],
  });
  return registry;
}

interface MetricShape<S> {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly labels: readonly string[];
  readonly buckets: readonly number[];
  readonly create: () => S;
}

function shapeOf(options: MetricOptions): { name: string; help: string; labels: readonly string[]; buckets: readonly number[] } {
  return { name: options.name, help: options.help, labels: options.labels ?? [], buckets: [] };
}

// A character that no header value and no configured name may hold.
const SEPARATOR = '\u0000';

class SeriesTable<S> implements Metric<S> {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly labels: readonly string[];
  readonly buckets: readonly number[];
  readonly #create: () => S;
  readonly #maxSeries: number;
  readonly #onDropped: (name: string) => void;
  readonly #entries = new Map<string, { readonly values: readonly string[]; readonly series: S }>();
  #overflow: S | undefined;

  constructor(shape: MetricShape<S>, maxSeries: number, onDropped: (name: string) => void) {
    this.name = shape.name;
    this.help = shape.help;
    this.kind = shape.kind;
    this.labels = shape.labels;
    this.buckets = shape.buckets;
    this.#create = shape.create;
    this.#maxSeries = maxSeries;
    this.#onDropped = onDropped;
  }

  get size(): number {
    return this.#entries.size;
  }

  series(...values: string[]): S {
    const key = values.join(SEPARATOR);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.series;
    if (values.length !== this.labels.length) throw new Error(`metric ${this.name} has ${this.labels.length} labels, not ${values.length}`);
    if (this.#entries.size >= this.#maxSeries) {
      this.#onDropped(this.name);
      this.#overflow ??= this.#create();
      return this.#overflow;
    }
    const series = this.#create();
    this.#entries.set(key, { values, series });
    return series;
  }

  remove(...values: string[]): void {
    this.#entries.delete(values.join(SEPARATOR));
  }

  entries(): IterableIterator<{ readonly values: readonly string[]; readonly series: S }> {
    return this.#entries.values();
  }
}

class Histogram implements HistogramSeries {
  readonly counts: Float64Array;
  count = 0;
  sum = 0;
  readonly #buckets: readonly number[];

  constructor(buckets: readonly number[]) {
    this.#buckets = buckets;
    this.counts = new Float64Array(buckets.length + 1);
  }

  observe(value: number): void {
    const buckets = this.#buckets;
    let index = 0;
    while (index < buckets.length && value > (buckets[index] as number)) index++;
    (this.counts[index] as number)++;
    this.count++;
    this.sum += value;
  }
}

function renderHead({ name, help, kind }: AnyMetric): string {
  return `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${kind}\n`;
}

function renderSeries(metric: AnyMetric): string {
  let text = '';
  for (const { values, series } of metric.entries()) {
    const labels = renderLabels(metric.labels, values);
    if (metric.kind === 'histogram') text += renderHistogram(metric, labels, series as HistogramSeries);
    else text += `${metric.name}${labels === '' ? '' : `{${labels}}`} ${(series as CounterSeries).value}\n`;
  }
  return text;
}

function renderHistogram(metric: AnyMetric, labels: string, series: HistogramSeries): string {
  const before = labels === '' ? '{' : `{${labels},`;
  let text = '';
  let cumulated = 0;
  metric.buckets.forEach((bucket, index) => {
    cumulated += series.counts[index] as number;
    text += `${metric.name}_bucket${before}le="${bucket}"} ${cumulated}\n`;
  });
  text += `${metric.name}_bucket${before}le="+Inf"} ${series.count}\n`;
  const plain = labels === '' ? '' : `{${labels}}`;
  return `${text}${metric.name}_sum${plain} ${series.sum}\n${metric.name}_count${plain} ${series.count}\n`;
}

function renderLabels(names: readonly string[], values: readonly string[]): string {
  return names.map((name, index) => `${name}="${escapeLabel(values[index] ?? '')}"`).join(',');
}

function escapeLabel(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value;
}

function escapeHelp(help: string): string {
  return help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
