import type { MetricRegistry } from '@mizzen/telemetry';
import type { StatScope } from '../observe/stat-registry.ts';
import type { MetricReport, StatReport, WorkerReport } from '../workers/protocol.ts';
import { MetricAdder, scopeOf } from '../workers/reports.ts';

/** What a process has counted. Histograms are not carried over, as in Envoy. */
export type ProcessCounts = Pick<WorkerReport, 'activeConnections' | 'stats' | 'metrics'>;

/**
 * In the old process: what it counts from the hand-over on. What was counted before was told already, to whoever is told; adding it would
 * count it twice. Source: envoy HotRestartingParent::Internal::exportStatsToChild (1.40), which sends what was not flushed yet.
 */
export class CountsSince {
  readonly #counters: ReadonlyMap<string, number>;
  readonly #series: ReadonlyMap<string, number>;

  constructor({ stats, metrics }: ProcessCounts) {
    this.#counters = new Map(stats.map(({ name, value }) => [name, value]));
    this.#series = new Map(
      metrics.flatMap((metric) => metric.series.map(({ values, value }) => [seriesKey(metric, values), value] as const)),
    );
  }

  /** Counters as they have grown, gauges as they are. */
  growth({ activeConnections, stats, metrics }: ProcessCounts): ProcessCounts {
    const grown = stats.flatMap((stat): readonly StatReport[] => {
      if (stat.kind === 'histogram') return [];
      const value = stat.kind === 'gauge' ? stat.value : stat.value - (this.#counters.get(stat.name) ?? 0);
      return value > 0 ? [{ ...stat, value, histogram: undefined }] : [];
    });
    const grownMetrics = metrics.flatMap((metric): readonly MetricReport[] => {
      if (metric.kind !== 'counter') return [];
      const series = metric.series
        .map(({ values, value }) => ({ values, value: value - (this.#series.get(seriesKey(metric, values)) ?? 0), counts: [] }))
        .filter(({ value }) => value > 0);
      return series.length === 0 ? [] : [{ ...metric, series }];
    });
    return { activeConnections, stats: grown, metrics: grownMetrics };
  }
}

function seriesKey({ name }: MetricReport, values: readonly string[]): string {
  return JSON.stringify([name, ...values]);
}

/** In the new process: what the one before it goes on to count until it ends. Its counters stay then, its gauges go. */
export class ParentCounts {
  readonly #adder: MetricAdder;
  #stats: readonly StatReport[] = [];
  #activeConnections = 0;

  constructor(registry: MetricRegistry) {
    this.#adder = new MetricAdder(registry);
  }

  get activeConnections(): number {
    return this.#activeConnections;
  }

  take({ activeConnections, stats, metrics }: ProcessCounts): void {
    this.#activeConnections = activeConnections;
    this.#stats = stats;
    this.#adder.add(metrics);
  }

  onEnd(): void {
    this.#activeConnections = 0;
    this.#stats = this.#stats.filter(({ kind }) => kind === 'counter');
  }

  *scopes(): Generator<StatScope> {
    for (const stat of this.#stats) yield scopeOf(stat);
  }
}
