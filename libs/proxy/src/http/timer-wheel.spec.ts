import { describe, expect, it } from '@jest/globals';
import type { Clock } from '@mizzen/core';
import { Deadline, TimerWheel } from './timer-wheel.ts';

class HandClock implements Clock {
  time = 0;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.time;
  }

  after(delayMs: number, callback: () => void): { cancel(): void } {
    const timer = { at: this.time + delayMs, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  get timers(): number {
    return this.#timers.length;
  }

  /** Goes on in steps of one millisecond; `stall` first lets that much time pass in which nothing runs. */
  advance(ms: number, stall = 0): void {
    this.time += stall;
    for (let step = 0; step < ms; step++) {
      this.time++;
      const due = this.#timers.filter((timer) => timer.at <= this.time);
      this.#timers = this.#timers.filter((timer) => timer.at > this.time);
      for (const timer of due) timer.callback();
    }
  }
}

describe('TimerWheel', () => {
  it.each([1, 8, 25, 500, 4096, 15_000, 300_000])('fires a deadline of %d ms never early and at most three ticks late', (delayMs) => {
    const clock = new HandClock();
    const wheel = new TimerWheel(clock);
    let firedAt = -1;
    new Deadline(wheel, () => {
      firedAt = clock.time;
    }).arm(delayMs);
    clock.advance(delayMs + 30);
    expect(firedAt).toBeGreaterThanOrEqual(delayMs);
    expect(firedAt).toBeLessThanOrEqual(delayMs + 24);
  });

  it('does not fire what was cancelled, fires what was armed again once, and runs no timer when nothing waits', () => {
    const clock = new HandClock();
    const wheel = new TimerWheel(clock);
    const fired: string[] = [];
    const cancelled = new Deadline(wheel, () => fired.push('cancelled'));
    const again = new Deadline(wheel, () => fired.push('again'));
    cancelled.arm(10);
    again.arm(10);
    again.arm(50);
    cancelled.cancel();
    clock.advance(40);
    expect(fired).toEqual([]);
    clock.advance(60);
    expect(fired).toEqual(['again']);
    expect(clock.timers).toBe(0);
    again.arm(10);
    clock.advance(40);
    expect(fired).toEqual(['again', 'again']);
  });

  it('lets one deadline cancel another that is due with it', () => {
    const clock = new HandClock();
    const wheel = new TimerWheel(clock);
    const fired: string[] = [];
    const second = new Deadline(wheel, () => fired.push('second'));
    new Deadline(wheel, () => {
      fired.push('first');
      second.cancel();
    }).arm(10);
    second.arm(10);
    clock.advance(40);
    expect(fired).toEqual(['first']);
  });

  it('catches up after a pause longer than a turn of the wheel', () => {
    const clock = new HandClock();
    const wheel = new TimerWheel(clock);
    const fired: number[] = [];
    for (const delayMs of [10, 3000, 9000, 60_000]) new Deadline(wheel, () => fired.push(delayMs)).arm(delayMs);
    clock.advance(20, 20_000);
    expect(fired.sort((a, b) => a - b)).toEqual([10, 3000, 9000]);
  });
});
