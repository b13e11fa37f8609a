import { describe, expect, it } from '@jest/globals';
import { HeldClock } from './held-clock.ts';
import { TimerWheel } from './timer-wheel.ts';

/** A clock that goes on by one with every look at it. */
function restless() {
  let ms = 0;
  return { now: () => 1000 + ++ms, monotonic: () => ++ms, after: () => ({ cancel: () => undefined }) };
}

describe('HeldClock', () => {
  it('goes on while nobody holds it, and stands still from the first look on while somebody does', () => {
    const clock = new HeldClock(restless());
    expect(clock.monotonic()).toBeLessThan(clock.monotonic());
    expect(clock.hold()).toBe(true);
    const [monotonic, now] = [clock.monotonic(), clock.now()];
    expect(clock.monotonic()).toBe(monotonic);
    expect(clock.now()).toBe(now);
    clock.release();
    expect(clock.monotonic()).toBeGreaterThan(monotonic);
  });

  it('looks again when it is held again', () => {
    const clock = new HeldClock(restless());
    clock.hold();
    const before = clock.monotonic();
    clock.release();
    clock.hold();
    expect(clock.monotonic()).toBeGreaterThan(before);
  });

  it('is released by whoever held it first', () => {
    const clock = new HeldClock(restless());
    const wheel = new TimerWheel(clock);
    const first = wheel.hold();
    expect(first).toBe(clock);
    expect(wheel.hold()).toBeUndefined();
    first?.release();
    expect(wheel.hold()).toBe(clock);
  });

  it('is not asked of a wheel whose clock cannot be held', () => {
    expect(new TimerWheel(restless()).hold()).toBeUndefined();
  });
});
