import type { HistogramIncrease } from './sample.ts';

/**
 * The value below which `ratio` (0 to 1) of the observations lie, linear within its bucket; `null` without observations.
 * In the bucket without an upper bound it is the last bound. Source: Prometheus, histogram_quantile (promql/quantile.go).
 */
export function quantile(ratio: number, { bounds, bucketCounts }: HistogramIncrease): number | null {
  const total = bucketCounts.reduce((sum, count) => sum + count, 0);
  if (total <= 0 || bounds.length === 0) return null;
  const rank = ratio * total;
  let below = 0;
  for (const [index, bound] of bounds.entries()) {
    const count = bucketCounts[index] ?? 0;
    if (count > 0 && below + count >= rank) {
      const lower = bounds[index - 1] ?? Math.min(0, bound);
      return lower + (bound - lower) * ((rank - below) / count);
    }
    below += count;
  }
  return bounds.at(-1) ?? null;
}
