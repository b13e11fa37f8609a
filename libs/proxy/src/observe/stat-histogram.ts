/** Envoy's default buckets. Source: envoy Stats::HistogramSettingsImpl::defaultBuckets (1.40). */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000,
];

/** The quantiles that Envoy prints. */
export const QUANTILES: readonly number[] = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100];

// Two digits a bucket: 10 to 99 of each decade.
const PER_DECADE = 90;
const LOWEST_EXPONENT = -1;
const DECADES = 10;

/** A histogram as another thread is given it. */
export interface HistogramState {
  readonly count: number;
  readonly sum: number;
  readonly zeros: number;
  readonly decades: readonly (Uint32Array | undefined)[];
}

/**
 * A log-linear histogram with two significant digits, as the one that Envoy records with, so that the same quantiles come out. Memory is
 * taken for a decade when a value of it comes.
 */
export class StatHistogram {
  count = 0;
  sum = 0;
  #zeros = 0;
  readonly #decades: (Uint32Array | undefined)[] = [];

  /** Negative values count as 0. */
  record(value: number): void {
    this.count++;
    if (!(value >= 0.1)) {
      this.#zeros++;
      if (value > 0) this.sum += value;
      return;
    }
    this.sum += value;
    let decade = 0;
    let upper = 1;
    while (value >= upper && decade < DECADES - 1) {
      upper *= 10;
      decade++;
    }
    const digits = Math.min(99, Math.floor((value / upper) * 100 + 1e-9));
    let counts = this.#decades[decade];
    if (counts === undefined) {
      while (this.#decades.length < decade) this.#decades.push(undefined);
      counts = new Uint32Array(PER_DECADE);
      this.#decades[decade] = counts;
    }
    counts[digits - 10] = (counts[digits - 10] as number) + 1;
  }

  /** How many values were in buckets that end at `bound` or below: what Prometheus is given. */
  countUpTo(bound: number): number {
    let total = this.#zeros;
    this.eachBucket((lower, width, count) => {
      if (lower + width <= bound * (1 + 1e-9)) total += count;
    });
    return total;
  }

  /**
   * The value that `percent` of the values do not exceed: that of the nearest rank, where the values of a bucket lie evenly within it; NaN
   * without values. Source: libcircllhist, whose quantiles Envoy 1.40 prints.
   */
  quantile(percent: number): number {
    if (this.count === 0) return Number.NaN;
    const rank = Math.max(1, Math.ceil((percent / 100) * this.count - 1e-9));
    let seen = this.#zeros;
    if (rank <= seen) return 0;
    let found: number | undefined;
    this.eachBucket((lower, width, count) => {
      if (found === undefined && seen + count >= rank) found = lower + (width * (rank - seen)) / (count + 1);
      seen += count;
    });
    return found ?? Number.NaN;
  }

  /** Those that were counted as 0. */
  get zeros(): number {
    return this.#zeros;
  }

  /** What a structured clone keeps. */
  state(): HistogramState {
    return { count: this.count, sum: this.sum, zeros: this.#zeros, decades: this.#decades };
  }

  /** Adds what another histogram recorded. */
  add({ count, sum, zeros, decades }: HistogramState): void {
    this.count += count;
    this.sum += sum;
    this.#zeros += zeros;
    decades.forEach((counts, decade) => {
      if (counts === undefined) return;
      while (this.#decades.length <= decade) this.#decades.push(undefined);
      const own = this.#decades[decade] ?? new Uint32Array(PER_DECADE);
      counts.forEach((value, index) => {
        own[index] = (own[index] as number) + value;
      });
      this.#decades[decade] = own;
    });
  }

  /** Takes away what this histogram had recorded at an earlier time; all of it where it was cleared since. */
  subtract({ count, sum, zeros, decades }: HistogramState): void {
    if (count > this.count) return;
    this.count -= count;
    this.sum -= sum;
    this.#zeros -= zeros;
    decades.forEach((counts, decade) => {
      const own = this.#decades[decade];
      counts?.forEach((value, index) => {
        if (own !== undefined) own[index] = (own[index] as number) - value;
      });
    });
  }

  clear(): void {
    this.count = 0;
    this.sum = 0;
    this.#zeros = 0;
    this.#decades.length = 0;
  }

  /** The buckets above 0 that hold something, from the lowest on. */
  eachBucket(visit: (lower: number, width: number, count: number) => void): void {
    this.#decades.forEach((counts, decade) => {
      if (counts === undefined) return;
      const scale = 10 ** (decade + LOWEST_EXPONENT);
      const width = 10 ** (decade + LOWEST_EXPONENT - 1);
      counts.forEach((count, index) => {
        if (count > 0) visit(((index + 10) / 10) * scale, width, count);
      });
    });
  }
}

/** Records whole milliseconds into a field of an object of counts, where the histogram is made with its first value. */
export function record<K extends string>(stats: { [key in K]: StatHistogram | undefined }, field: K, value: number): void {
  let histogram = stats[field];
  if (histogram === undefined) {
    histogram = new StatHistogram();
    stats[field] = histogram;
  }
  histogram.record(Math.floor(value));
}
