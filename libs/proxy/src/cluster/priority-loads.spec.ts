import { describe, expect, it } from '@jest/globals';
import { type PriorityHealth, priorityLoads } from './priority-loads.ts';

function priority(hosts: number, healthy: number, degraded = 0): PriorityHealth {
  return { hosts, healthy, degraded, hostCount: hosts, healthyCount: healthy, degradedCount: degraded };
}

function loads(priorities: readonly PriorityHealth[], panicThresholdPercent = 50): unknown {
  return priorityLoads(priorities, { overprovisioningPercent: 140, panicThresholdPercent }).map(
    ({ healthyPercent, degradedPercent, isPanic }) => [healthyPercent, degradedPercent, ...(isPanic ? ['panic'] : [])],
  );
}

describe('priorityLoads', () => {
  // Source: envoy docs, "Priority levels" and "Degraded endpoints", tables of examples (1.40).
  it.each([
    [
      '72 % healthy take all',
      [priority(100, 72), priority(100, 100)],
      [
        [100, 0],
        [0, 0],
      ],
    ],
    [
      '71 % healthy leave 1 %',
      [priority(100, 71), priority(100, 100)],
      [
        [99, 0],
        [1, 0],
      ],
    ],
    [
      '50 % healthy leave 30 %',
      [priority(100, 50), priority(100, 100)],
      [
        [70, 0],
        [30, 0],
      ],
    ],
    [
      '25 % healthy leave 65 %',
      [priority(100, 25), priority(100, 100)],
      [
        [35, 0],
        [65, 0],
      ],
    ],
    [
      'none healthy leave all',
      [priority(100, 0), priority(100, 100)],
      [
        [0, 0],
        [100, 0],
      ],
    ],
    [
      'the third takes what two leave',
      [priority(100, 25), priority(100, 25), priority(100, 100)],
      [
        [35, 0],
        [35, 0],
        [30, 0],
      ],
    ],
    [
      'loads are normalised where not all is well',
      [priority(100, 20), priority(100, 20), priority(100, 10)],
      [
        [40, 0, 'panic'],
        [40, 0, 'panic'],
        [20, 0, 'panic'],
      ],
    ],
    [
      'degraded ones take what healthy ones leave',
      [priority(100, 50, 50), priority(100, 0)],
      [
        [70, 30],
        [0, 0],
      ],
    ],
    [
      'the next priority comes before degraded ones',
      [priority(100, 50, 50), priority(100, 100)],
      [
        [70, 0],
        [30, 0],
      ],
    ],
  ])('%s', (_, priorities, expected) => {
    const actual = loads(priorities as PriorityHealth[], 0) as unknown[][];
    expect(actual).toEqual((expected as unknown[][]).map((row) => row.slice(0, 2)));
  });

  it('panics where few are healthy and the others cannot take the rest', () => {
    expect(loads([priority(10, 2), priority(10, 4)])).toEqual([
      [50, 0, 'panic'],
      [50, 0, 'panic'],
    ]);
    expect(loads([priority(10, 2), priority(10, 6)])).toEqual([
      [28, 0],
      [72, 0],
    ]);
  });

  it('spreads by numbers of endpoints where nobody is healthy', () => {
    expect(loads([priority(3, 0), priority(1, 0)])).toEqual([
      [75, 0, 'panic'],
      [25, 0, 'panic'],
    ]);
  });

  it('gives everything to the first priority, which has nobody, where panic is off', () => {
    expect(loads([priority(3, 0), priority(1, 0)], 0)).toEqual([
      [100, 0],
      [0, 0],
    ]);
  });

  it('adds up to 100 whatever the health', () => {
    for (let first = 0; first <= 7; first++)
      for (let second = 0; second <= 5; second++)
        for (let degraded = 0; degraded <= 5 - second; degraded++) {
          const result = priorityLoads([priority(7, first), priority(5, second, degraded), priority(3, 1)], {
            overprovisioningPercent: 140,
            panicThresholdPercent: 50,
          });
          expect(result.reduce((sum, load) => sum + load.healthyPercent + load.degradedPercent, 0)).toBe(100);
        }
  });
});
