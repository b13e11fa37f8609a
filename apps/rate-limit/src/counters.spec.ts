import { describe, expect, it } from '@jest/globals';
import type { Clock } from '@mizzen/core';
import { Counters } from './counters.ts';
import type { Limit } from './limit.ts';

function clockAt(start: number): Clock & { nowMs: number } {
  const clock = { nowMs: start, now: () => clock.nowMs, monotonic: () => clock.nowMs, after: () => ({ cancel() {} }) };
  return clock;
}

const limit = (key: string, requests = 2, unit: Limit['unit'] = 'SECOND'): { limit: Limit; hits: number } => ({
  limit: { key, requests, unit },
  hits: 1,
});

describe('counters', () => {
  it('count each key for itself', () => {
    const counters = new Counters({ clock: clockAt(0), maxCounters: 10 });
    const isOver = ['a', 'a', 'a', 'b'].map((key) => counters.decide([limit(key)])[0]?.isOver);
    expect(isOver).toEqual([false, false, true, false]);
  });

  it('take nothing of any limit where one of them is over', () => {
    const counters = new Counters({ clock: clockAt(0), maxCounters: 10 });
    for (let count = 0; count < 3; count++) counters.decide([limit('narrow', 1), limit('wide', 3)]);
    expect(counters.decide([limit('wide', 3)])[0]).toMatchObject({ isOver: false, remaining: 1 });
  });

  it('tell what remains and when it grows', () => {
    const clock = clockAt(1000);
    const counters = new Counters({ clock, maxCounters: 10 });
    expect(counters.decide([limit('a')])[0]).toMatchObject({ remaining: 1, untilFreeMs: 1050 });
    clock.nowMs = 2060;
    expect(counters.decide([limit('a')])[0]).toMatchObject({ remaining: 1, isOver: false });
  });

  it('go when nothing of them can be in their window any more', () => {
    const clock = clockAt(0);
    const counters = new Counters({ clock, maxCounters: 10 });
    counters.decide([limit('second')]);
    counters.decide([limit('day', 2, 'DAY')]);
    clock.nowMs = 5000;
    counters.decide([limit('new')]);
    expect([counters.size, counters.forgotten]).toEqual([2, 0]);
  });

  it('are bounded: what was asked longest ago is forgotten, of the shortest window first', () => {
    const counters = new Counters({ clock: clockAt(0), maxCounters: 3 });
    counters.decide([limit('day', 1, 'DAY')]);
    for (const key of ['a', 'b', 'a', 'c']) counters.decide([limit(key)]);
    expect([counters.size, counters.forgotten]).toEqual([3, 1]);
    // `a` was asked again, so that `b` had to go.
    expect(counters.decide([limit('a')])[0]?.isOver).toBe(true);
    expect(counters.decide([limit('day', 1, 'DAY')])[0]?.isOver).toBe(true);
  });
});
