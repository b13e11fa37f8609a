import type { Clock } from '@mizzen/core';
import { addValues, type Labels, labelsKey, type MetricKind, type Sample } from './sample.ts';

export interface MetricsStoreOptions {
  readonly clock: Clock;
  /** How far back windows may reach. */
  readonly historyMs: number;
  /** A series that nobody has reported for this long is forgotten. */
  readonly expiryMs: number;
  /** Bound on series as reported, each process counted on its own. */
  readonly maxSeries: number;
  /** The metrics that `increases` can be asked for; of the others only totals are kept, which saves most of the memory. */
  readonly windowMetrics: readonly string[];
}

/** A series summed over all processes that report it. `values` as in `Sample`. */
export interface AggregateSeries {
  readonly labels: Labels;
  readonly bounds: readonly number[];
  readonly values: readonly number[];
}

export interface MetricFamily {
  readonly metric: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly series: readonly AggregateSeries[];
}

export type DropReason = 'too many series' | 'other kind or buckets than before';

interface Family {
  readonly help: string;
  readonly kind: MetricKind;
  readonly aggregates: Map<string, Aggregate>;
}

interface Aggregate {
  readonly labels: Labels;
  readonly bounds: readonly number[];
  readonly totals: number[];
  /** What was added, by the second of its arrival; oldest first. A second without news has no slot. */
  readonly slots: { readonly atMs: number; readonly added: number[] }[];
  sourceCount: number;
}

/** What one process last said of one series. */
interface SourceSeries {
  readonly metric: string;
  readonly key: string;
  readonly aggregate: Aggregate;
  values: readonly number[];
  startTimeMs: number;
  timeMs: number;
  lastSeenMs: number;
}

interface Instance {
  readonly firstBatch: number;
  /** Some of its series were dropped, so that one which appears later may be an old one. */
  isIncomplete: boolean;
  lastSeenMs: number;
}

const SLOT_MS = 1_000;
const SWEEP_INTERVAL_MS = 10_000;
/** What a process counted before it was first heard of is taken as new when it began to count no longer ago than this. */
const RECENT_START_MS = 60_000;

/**
 * The series that proxies report, in memory: totals since the processes started, and what was added in the last minutes.
 * Restarts of a process (a new start time, or a smaller value) add to the totals instead of setting them back.
 */
export class MetricsStore {
  readonly #options: MetricsStoreOptions;
  readonly #startedAtMs: number;
  readonly #families = new Map<string, Family>();
  readonly #sources = new Map<string, SourceSeries>();
  readonly #instances = new Map<string, Instance>();
  readonly #dropped = new Map<DropReason, number>();
  #batch = 0;
  #sweptAtMs: number;

  constructor(options: MetricsStoreOptions) {
    this.#options = options;
    this.#startedAtMs = options.clock.now();
    this.#sweptAtMs = this.#startedAtMs;
  }

  get seriesCount(): number {
    return this.#sources.size;
  }

  /** How many samples were not kept, by reason. */
  get dropped(): ReadonlyMap<DropReason, number> {
    return this.#dropped;
  }

  /** Takes in what arrived in one message; returns how many samples of it were dropped. */
  record(samples: readonly Sample[]): { dropped: number } {
    this.#sweep();
    this.#batch += 1;
    let dropped = 0;
    for (const sample of samples) {
      const reason = this.#recordSample(sample);
      if (!reason) continue;
      dropped += 1;
      this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + 1);
      const instance = this.#instances.get(sample.instance);
      if (instance) instance.isIncomplete = true;
    }
    return { dropped };
  }

  /** Everything in aggregate, families and series in the order in which they first came. */
  families(): MetricFamily[] {
    this.#sweep();
    return [...this.#families].map(([metric, { help, kind, aggregates }]) => ({
      metric,
      help,
      kind,
      series: [...aggregates.values()].map(({ labels, bounds, totals }) => ({ labels, bounds, values: totals })),
    }));
  }

  /** What was added to each series of one of `windowMetrics` in the last `windowMs`; series to which nothing was added are left out. */
  increases(metric: string, windowMs: number): AggregateSeries[] {
    const since = this.#options.clock.now() - windowMs;
    const increases: AggregateSeries[] = [];
    for (const aggregate of this.#families.get(metric)?.aggregates.values() ?? []) {
      const slots = aggregate.slots.filter((slot) => slot.atMs > since);
      if (slots.length === 0) continue;
      const values = aggregate.totals.map(() => 0);
      for (const slot of slots) addValues(values, slot.added);
      increases.push({ labels: aggregate.labels, bounds: aggregate.bounds, values });
    }
    return increases;
  }

  #recordSample(sample: Sample): DropReason | undefined {
    const key = labelsKey(sample.labels);
    const sourceKey = `${sample.instance}\u0000${sample.metric}\u0000${key}`;
    const known = this.#sources.get(sourceKey);
    if (!known && this.#sources.size >= this.#options.maxSeries) return 'too many series';
    const instance = this.#instance(sample.instance);
    instance.lastSeenMs = this.#options.clock.now();
    if (known) return this.#update(known, sample);
    const aggregate = this.#aggregate(sample, key);
    if (!aggregate || !fits(aggregate, sample)) return 'other kind or buckets than before';
    aggregate.sourceCount += 1;
    this.#sources.set(sourceKey, {
      metric: sample.metric,
      key,
      aggregate,
      values: sample.values,
      startTimeMs: sample.startTimeMs,
      timeMs: sample.timeMs,
      lastSeenMs: this.#options.clock.now(),
    });
    this.#add(aggregate, { sample, added: sample.values, isNews: this.#isNews(sample, instance) });
    return undefined;
  }

  #update(source: SourceSeries, sample: Sample): DropReason | undefined {
    if (!fits(source.aggregate, sample) || this.#families.get(source.metric)?.kind !== sample.kind)
      return 'other kind or buckets than before';
    source.lastSeenMs = this.#options.clock.now();
    // A retried message carries the same point again.
    if (sample.timeMs <= source.timeMs) return undefined;
    this.#add(source.aggregate, { sample, added: addedSince(source, sample), isNews: true });
    source.values = sample.values;
    source.startTimeMs = sample.startTimeMs;
    source.timeMs = sample.timeMs;
    return undefined;
  }

  #add(aggregate: Aggregate, { sample, added, isNews }: { sample: Sample; added: readonly number[]; isNews: boolean }): void {
    addValues(aggregate.totals, added);
    if (!isNews || !this.#options.windowMetrics.includes(sample.metric) || added.every((value) => value === 0)) return;
    const now = this.#options.clock.now();
    const atMs = now - (now % SLOT_MS);
    const last = aggregate.slots.at(-1);
    if (last?.atMs === atMs) addValues(last.added, added);
    else aggregate.slots.push({ atMs, added: [...added] });
    while (aggregate.slots[0] && aggregate.slots[0].atMs <= now - this.#options.historyMs) aggregate.slots.shift();
  }

  /**
   * Whether the first value of a series was counted just now, and not over hours before this process came up.
   * A process that is known already has started to count something new; one that is not is judged by when it began to count.
   */
  #isNews(sample: Sample, instance: Instance): boolean {
    if (sample.isDelta) return true;
    if (instance.firstBatch < this.#batch && !instance.isIncomplete) return true;
    return sample.startTimeMs >= this.#startedAtMs || sample.timeMs - sample.startTimeMs <= RECENT_START_MS;
  }

  #instance(name: string): Instance {
    const instance = this.#instances.get(name) ?? { firstBatch: this.#batch, isIncomplete: false, lastSeenMs: this.#options.clock.now() };
    this.#instances.set(name, instance);
    return instance;
  }

  #aggregate(sample: Sample, key: string): Aggregate | undefined {
    const family = this.#families.get(sample.metric) ?? { help: sample.help, kind: sample.kind, aggregates: new Map<string, Aggregate>() };
    if (family.kind !== sample.kind) return undefined;
    const { labels, bounds } = sample;
    const aggregate = family.aggregates.get(key) ?? { labels, bounds, totals: sample.values.map(() => 0), slots: [], sourceCount: 0 };
    family.aggregates.set(key, aggregate);
    this.#families.set(sample.metric, family);
    return aggregate;
  }

  /** Forgets what has expired. Run before the store is read or written, so that it needs no timer. */
  #sweep(): void {
    const now = this.#options.clock.now();
    if (now - this.#sweptAtMs < SWEEP_INTERVAL_MS) return;
    this.#sweptAtMs = now;
    const expired = now - this.#options.expiryMs;
    for (const [sourceKey, source] of this.#sources) {
      if (source.lastSeenMs > expired) continue;
      this.#sources.delete(sourceKey);
      this.#release(source);
    }
    for (const [name, instance] of this.#instances) if (instance.lastSeenMs <= expired) this.#instances.delete(name);
  }

  #release(source: SourceSeries): void {
    const family = this.#families.get(source.metric);
    if (family?.kind === 'gauge') addValues(source.aggregate.totals, negated(source.values));
    source.aggregate.sourceCount -= 1;
    if (source.aggregate.sourceCount > 0) return;
    family?.aggregates.delete(source.key);
    if (family?.aggregates.size === 0) this.#families.delete(source.metric);
  }
}

function addedSince(source: SourceSeries, sample: Sample): readonly number[] {
  if (sample.isDelta) return sample.values;
  const added = sample.values.map((value, index) => value - (source.values[index] ?? 0));
  if (sample.kind === 'gauge') return added;
  const isRestarted = sample.startTimeMs > source.startTimeMs || added.some((value) => value < 0);
  return isRestarted ? sample.values : added;
}

function fits(aggregate: Aggregate, sample: Sample): boolean {
  return (
    aggregate.totals.length === sample.values.length &&
    aggregate.bounds.length === sample.bounds.length &&
    aggregate.bounds.every((bound, index) => bound === sample.bounds[index])
  );
}

function negated(values: readonly number[]): number[] {
  return values.map((value) => -value);
}
