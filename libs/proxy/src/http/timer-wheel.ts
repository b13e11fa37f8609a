import type { Clock, Timer } from '@mizzen/core';
import { HeldClock } from './held-clock.ts';

const TICK_MS = 8;
const SLOTS = 512;

/** One deadline. Made once by its owner and armed as often as needed: arming allocates nothing. */
export class Deadline<Owner = undefined> {
  readonly #wheel: TimerWheel;
  readonly #onExpired: (owner: Owner) => void;
  readonly #owner: Owner | undefined;
  /** Neighbours in the slot's ring; undefined while not armed. */
  previous: AnyDeadline | undefined = undefined;
  next: AnyDeadline | undefined = undefined;
  tick = 0;

  /** With `owner`, `onExpired` can be one function for all that are of a kind: what every request makes should not need one of its own. */
  constructor(wheel: TimerWheel, onExpired: (owner: Owner) => void, owner?: Owner) {
    this.#wheel = wheel;
    this.#onExpired = onExpired;
    this.#owner = owner;
  }

  expire(): void {
    this.#onExpired(this.#owner as Owner);
  }

  get isArmed(): boolean {
    return this.next !== undefined;
  }

  /** Up to two ticks too much; only while it is armed. */
  remainingMs(): number {
    return this.#wheel.untilMs(this.tick);
  }

  /** Replaces what was armed before. 0 or less, or infinity: no deadline. */
  arm(delayMs: number): void {
    this.cancel();
    if (delayMs > 0 && delayMs !== Number.POSITIVE_INFINITY) this.#wheel.insert(this, delayMs);
  }

  cancel(): void {
    if (this.next !== undefined) this.#wheel.remove(this);
  }
}

/** What a wheel knows of its deadlines. */
type AnyDeadline = Pick<Deadline, 'previous' | 'next' | 'tick' | 'expire'>;

/**
 * Many deadlines that are nearly always cancelled, at the price of a few assignments each and one timer for all.
 * They fire up to two ticks (16 ms) late, never early.
 */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #slots: (AnyDeadline | undefined)[] = new Array(SLOTS).fill(undefined);
  #armed = 0;
  #tick = 0;
  #startMs = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Monotonic milliseconds of the clock that it runs on. */
  nowMs(): number {
    return this.#clock.monotonic();
  }

  /**
   * Lets the clock stand still for the read that follows, where it is one that can. Returns what is to be released behind it; undefined: nothing.
   */
  hold(): HeldClock | undefined {
    const clock = this.#clock;
    return clock instanceof HeldClock && clock.hold() ? clock : undefined;
  }

  untilMs(tick: number): number {
    return tick * TICK_MS - (this.#clock.monotonic() - this.#startMs);
  }

  insert(deadline: AnyDeadline, delayMs: number): void {
    const now = this.#clock.monotonic();
    if (this.#timer === undefined) {
      this.#startMs = now;
      this.#tick = 0;
      this.#schedule();
    }
    deadline.tick = Math.ceil((now - this.#startMs + delayMs) / TICK_MS) + 1;
    const slot = deadline.tick & (SLOTS - 1);
    const first = this.#slots[slot];
    if (first === undefined) {
      deadline.previous = deadline;
      deadline.next = deadline;
      this.#slots[slot] = deadline;
    } else {
      const last = first.previous as AnyDeadline;
      deadline.previous = last;
      deadline.next = first;
      last.next = deadline;
      first.previous = deadline;
    }
    this.#armed++;
  }

  remove(deadline: AnyDeadline): void {
    const slot = deadline.tick & (SLOTS - 1);
    const next = deadline.next as AnyDeadline;
    if (next === deadline) this.#slots[slot] = undefined;
    else {
      const previous = deadline.previous as AnyDeadline;
      previous.next = next;
      next.previous = previous;
      if (this.#slots[slot] === deadline) this.#slots[slot] = next;
    }
    deadline.next = undefined;
    deadline.previous = undefined;
    this.#armed--;
  }

  #schedule(): void {
    this.#timer = this.#clock.after(TICK_MS, () => this.#advance());
  }

  #advance(): void {
    const target = Math.floor((this.#clock.monotonic() - this.#startMs) / TICK_MS);
    // After a long pause every slot is visited once, not every tick.
    const from = Math.max(this.#tick + 1, target - SLOTS + 1);
    const expired: AnyDeadline[] = [];
    for (let tick = from; tick <= target; tick++) this.#collect(tick & (SLOTS - 1), target, expired);
    this.#tick = target;
    for (const deadline of expired) {
      // An earlier one may have cancelled or armed it again.
      if (deadline.next === undefined || deadline.tick > target) continue;
      this.remove(deadline);
      deadline.expire();
    }
    this.#timer = undefined;
    if (this.#armed > 0) this.#schedule();
  }

  #collect(slot: number, target: number, expired: AnyDeadline[]): void {
    const first = this.#slots[slot];
    let current = first;
    while (current !== undefined) {
      if (current.tick <= target) expired.push(current);
      current = current.next === first ? undefined : current.next;
    }
  }
}

const wheels = new WeakMap<Clock, TimerWheel>();

/** One wheel for everything that runs on a clock. */
export function wheelOf(clock: Clock): TimerWheel {
  let wheel = wheels.get(clock);
  if (wheel === undefined) {
    wheel = new TimerWheel(clock);
    wheels.set(clock, wheel);
  }
  return wheel;
}
