const MAX_TOTAL = 2 ** 32 - 1;

/** Weights whose sum fits the 32 bits that Envoy adds them up in: as given, or divided by the same number. None falls to 0 that was not. */
export function fittingWeights(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total <= MAX_TOTAL) return [...weights];
  // Room for each to be rounded up.
  const divisor = total / (MAX_TOTAL - weights.length);
  return weights.map((weight) => (weight === 0 ? 0 : Math.max(1, Math.floor(weight / divisor))));
}
