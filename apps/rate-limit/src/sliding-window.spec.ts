import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { SlidingWindow } from './sliding-window.ts';

function tryTake(window: SlidingWindow, limit: number, nowMs: number): boolean {
  if (window.room(limit, nowMs) < 1) return false;
  window.take(1, nowMs);
  return true;
}

describe('a sliding window', () => {
  it('lets the limit through and no more until what it counted has left', () => {
    const window = new SlidingWindow(1000);
    const passed = Array.from({ length: 20 }, (_, index) => tryTake(window, 10, index * 10));
    expect(passed.filter(Boolean)).toHaveLength(10);
    expect(window.room(10, 999)).toBe(0);
    expect(window.room(10, 1049)).toBe(0);
    // The first five fell into the first part of 50 ms.
    expect(window.room(10, 1051)).toBe(5);
    expect(window.room(10, 1101)).toBe(10);
  });

  it('says when something leaves', () => {
    const window = new SlidingWindow(1000);
    expect(window.untilFreeMs(0)).toBe(0);
    window.take(3, 120);
    expect(window.untilFreeMs(120)).toBe(1030);
    expect(window.untilFreeMs(1000)).toBe(150);
    expect(window.untilFreeMs(1200)).toBe(0);
  });

  it('forgets everything after a long silence, and goes below 0 where the limit was lowered', () => {
    const window = new SlidingWindow(1000);
    window.take(8, 0);
    expect(window.room(5, 10)).toBe(-3);
    expect(window.room(5, 100_000)).toBe(5);
  });

  it('never lets more than the limit through in any stretch of its length', () => {
    const gaps = fc.array(fc.double({ min: 0, max: 400, noNaN: true }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(gaps, fc.integer({ min: 1, max: 12 }), (steps, limit) => {
        const window = new SlidingWindow(1000);
        let now = 0;
        const passed: number[] = [];
        for (const step of steps) {
          now += step;
          if (tryTake(window, limit, now)) passed.push(now);
        }
        return passed.every((start) => passed.filter((at) => at >= start && at < start + 1000).length <= limit);
      }),
    );
  });
});
