import { describe, expect, it } from '@jest/globals';
import { quantile } from './quantile.ts';

describe('quantile', () => {
  it.each([
    { name: 'is null without observations', bucketCounts: [0, 0, 0], ratio: 0.5, expected: null },
    { name: 'is linear within the bucket', bucketCounts: [0, 10, 0], ratio: 0.5, expected: 15 },
    { name: 'starts the first bucket at 0', bucketCounts: [10, 0, 0], ratio: 0.5, expected: 5 },
    { name: 'passes over empty buckets', bucketCounts: [5, 5, 0], ratio: 0.9, expected: 18 },
    { name: 'is the last bound beyond it', bucketCounts: [0, 0, 4], ratio: 0.99, expected: 20 },
  ])('$name', ({ bucketCounts, ratio, expected }) => {
    expect(quantile(ratio, { bounds: [10, 20], bucketCounts })).toBe(expected);
  });
});
