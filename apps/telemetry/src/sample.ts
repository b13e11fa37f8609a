export type Labels = Readonly<Record<string, string>>;

/** A counter and a histogram only grow until their process restarts; a gauge is what it was last said to be. */
export type MetricKind = 'counter' | 'gauge' | 'histogram';

/**
 * One value of one series, as one process reported it.
 * A counter and a gauge have one number in `values`; a histogram has its sum and then the count of each bucket, the last being +Inf.
 */
export interface Sample {
  readonly metric: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly labels: Labels;
  /** Who reported it: OTLP's `service.instance.id`, the node id of a proxy. */
  readonly instance: string;
  readonly values: readonly number[];
  /** Upper bounds of the buckets without +Inf. Empty unless a histogram. */
  readonly bounds: readonly number[];
  /** Whether `values` are what was added since the last report, instead of everything since `startTimeMs`. */
  readonly isDelta: boolean;
  /** When the process began to count, since the epoch. */
  readonly startTimeMs: number;
  readonly timeMs: number;
}

export interface HistogramIncrease {
  readonly bounds: readonly number[];
  /** Per bucket, the last being +Inf; not cumulative. */
  readonly bucketCounts: readonly number[];
}

/** Equal for equal labels in any order. */
export function labelsKey(labels: Labels): string {
  return Object.keys(labels)
    .sort()
    .map((name) => `${name}\u0001${labels[name]}`)
    .join('\u0002');
}

/** Adds `increase` to `total` in place. */
export function addValues(total: number[], increase: readonly number[]): void {
  for (let index = 0; index < total.length; index++) total[index] = (total[index] ?? 0) + (increase[index] ?? 0);
}
