import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { fittingWeights } from './weights.ts';

describe('fittingWeights', () => {
  it('leaves weights alone that fit', () => {
    expect(fittingWeights([80, 20, 0])).toEqual([80, 20, 0]);
  });

  it('never exceeds 32 bits, keeps the order, and drops no weight to 0', () => {
    const weight = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 2 ** 31, max: 2 ** 32 - 1 }));
    fc.assert(
      fc.property(fc.array(weight, { maxLength: 50 }), (weights) => {
        const fitting = fittingWeights(weights);
        expect(fitting.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(2 ** 32 - 1);
        expect(fitting.map((each) => each === 0)).toEqual(weights.map((each) => each === 0));
      }),
    );
  });
});
