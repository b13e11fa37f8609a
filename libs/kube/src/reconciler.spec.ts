import { describe, expect, it } from '@jest/globals';
import { type Clock, silentLogger, Watchable } from '@mizzen/core';
import { createReconciler } from './reconciler.ts';

/** Time that passes when the test says so. */
function createTestClock(): Clock & { pass(durationMs: number): Promise<void> } {
  let now = 0;
  let timers: { at: number; callback: () => void }[] = [];
  return {
    now: () => now,
    monotonic: () => now,
    after(delayMs, callback) {
      const timer = { at: now + delayMs, callback };
      timers.push(timer);
      return {
        cancel() {
          timers = timers.filter((other) => other !== timer);
        },
      };
    },
    async pass(durationMs) {
      const end = now + durationMs;
      for (;;) {
        const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        now = Math.max(now, next.at);
        timers = timers.filter((timer) => timer !== next);
        next.callback();
        await new Promise(setImmediate);
      }
      now = end;
    },
  };
}

describe('a reconciler', () => {
  const make = (reconcile: () => Promise<void>, about: { debounceMs?: number; everyMs?: number } = {}) => {
    const clock = createTestClock();
    const warnings: string[] = [];
    const logger = Object.assign(Object.create(silentLogger) as typeof silentLogger, {
      warn: ({ reason }: { reason: string }) => void warnings.push(reason),
    });
    return {
      clock,
      warnings,
      reconciler: createReconciler({ reconcile, clock, random: () => 1, logger, failure: 'it is not done', ...about }),
    };
  };

  it('runs once for many requests, after the debounce', async () => {
    let runs = 0;
    const { clock, reconciler } = make(async () => void runs++, { debounceMs: 100 });
    for (let request = 0; request < 5; request++) reconciler.trigger();
    await clock.pass(99);
    expect(runs).toBe(0);
    await clock.pass(1);
    expect(runs).toBe(1);
    await clock.pass(10_000);
    expect(runs).toBe(1);
  });

  it('runs again for a request that comes while it runs, and never twice at once', async () => {
    const ends: (() => void)[] = [];
    const { clock, reconciler } = make(() => new Promise((resolve) => ends.push(resolve)));
    reconciler.trigger();
    await clock.pass(1);
    reconciler.trigger();
    reconciler.trigger();
    await clock.pass(1);
    expect(ends).toHaveLength(1);
    ends[0]?.();
    await new Promise(setImmediate);
    await clock.pass(1);
    expect(ends).toHaveLength(2);
    ends[1]?.();
  });

  it('tries again with a growing pause, says each reason once, and keeps the pause when it is asked meanwhile', async () => {
    let runs = 0;
    const { clock, reconciler, warnings } = make(async () => {
      runs++;
      if (runs < 4) throw new Error(runs < 3 ? 'away' : 'still away');
    });
    reconciler.trigger();
    await clock.pass(0);
    reconciler.trigger();
    await clock.pass(499);
    expect(runs).toBe(1);
    await clock.pass(1);
    expect(runs).toBe(2);
    await clock.pass(1000);
    expect(runs).toBe(3);
    await clock.pass(2000);
    expect(runs).toBe(4);
    expect(warnings).toEqual(['away', 'still away']);
    await clock.pass(60_000);
    expect(runs).toBe(4);
  });

  it('runs now and then where it is told to, and not after it is closed', async () => {
    let runs = 0;
    const { clock, reconciler } = make(async () => void runs++, { everyMs: 1000 });
    reconciler.trigger();
    await clock.pass(3000);
    expect(runs).toBe(4);
    await reconciler.close();
    reconciler.trigger();
    await clock.pass(10_000);
    expect(runs).toBe(4);
  });

  it('runs when something changes that it depends on, and not after it was closed', async () => {
    let runs = 0;
    const clock = createTestClock();
    const input = new Watchable(0);
    const reconciler = createReconciler({
      reconcile: async () => void runs++,
      dependsOn: [input],
      clock,
      random: () => 1,
      logger: silentLogger,
      failure: 'it is not done',
    });
    await clock.pass(0);
    expect(runs).toBe(0);
    input.set(1);
    await clock.pass(0);
    expect(runs).toBe(1);
    await reconciler.close();
    input.set(2);
    await clock.pass(1_000);
    expect(runs).toBe(1);
  });
});
