import type { HistogramSeries, MetricRegistry } from '@mizzen/telemetry';
import { StatHistogram } from '../observe/stat-histogram.ts';
import { defineStats, type StatRegistry, type StatScope } from '../observe/stat-registry.ts';
import { readStats } from '../observe/stats-view.ts';
import type { MetricReport, SeriesReport, StatReport } from './protocol.ts';

/** The gauges of which each event loop has its part; the others (clusters, state, time) are the same in all. */
const SHARED_OUT =
  /(?:^server\.total_connections|(?:cx|rq|cx_(?:http[12]|ssl|upgrades)|pending|flush|streams)_active|\.(?:pending_send_bytes|active_connections|active_faults|active))$/;

const EVERYTHING = { includes: () => true };

export function reportStats(registry: StatRegistry): readonly StatReport[] {
  return readStats(registry, EVERYTHING, { usedOnly: true })
    .filter(({ kind, name }) => kind !== 'gauge' || SHARED_OUT.test(name))
    .map(({ name, kind, value, histogram, known }) => ({ name, kind, value, histogram: histogram?.state(), tags: known }));
}

/** The one name of a scope is put in its place below. */
const NO_NAMES = defineStats({});

/** As a source of the first event loop's registry, which adds up what has one name. */
export function scopeOf({ name, kind, value, histogram, tags }: StatReport): StatScope {
  const dot = name.lastIndexOf('.');
  const prefix = name.slice(0, dot);
  const field = { value: name.slice(dot + 1) };
  switch (kind) {
    case 'counter':
      return { prefix, tags, names: { ...NO_NAMES, counters: field }, values: { value } };
    case 'gauge':
      return { prefix, tags, names: { ...NO_NAMES, gauges: field }, values: { value } };
    default: {
      const recorded = new StatHistogram();
      if (histogram !== undefined) recorded.add(histogram);
      return { prefix, tags, names: { ...NO_NAMES, histograms: field }, values: { value: recorded } };
    }
  }
}

export function reportMetrics(registry: MetricRegistry): readonly MetricReport[] {
  return registry.collect().map((metric) => {
    const { name, help, kind, labels, buckets } = metric;
    const series = [...metric.entries()].map(({ values, series: found }): SeriesReport => {
      if (kind !== 'histogram') return { values, value: (found as { readonly value: number }).value, counts: [] };
      const { sum, counts } = found as HistogramSeries;
      return { values, value: sum, counts: [...counts] };
    });
    return { name, help, kind, labels, buckets, series };
  });
}

/** Adds what one worker counted since its last report to the registry of the first event loop, which exports all of it. */
export class MetricAdder {
  readonly #registry: MetricRegistry;
  #before = new Map<string, SeriesReport>();

  constructor(registry: MetricRegistry) {
    this.#registry = registry;
  }

  add(metrics: readonly MetricReport[]): void {
    const now = new Map<string, SeriesReport>();
    for (const metric of metrics) {
      for (const series of metric.series) {
        const key = JSON.stringify([metric.name, ...series.values]);
        now.set(key, series);
        this.#addSeries(metric, series, this.#before.get(key));
      }
    }
    this.#before = now;
  }

  #addSeries(metric: MetricReport, series: SeriesReport, before: SeriesReport | undefined): void {
    const growth = series.value - (before?.value ?? 0);
    if (metric.kind !== 'histogram') {
      this.#registry[metric.kind](metric).series(...series.values).value += growth;
      return;
    }
    const target = this.#registry.histogram(metric).series(...series.values);
    target.sum += growth;
    series.counts.forEach((count, bucket) => {
      const added = count - (before?.counts[bucket] ?? 0);
      target.counts[bucket] = (target.counts[bucket] ?? 0) + added;
      target.count += added;
    });
  }
}
