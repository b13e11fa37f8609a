import { backoffMs, type Clock, errorMessage, type Logger, type Random, type Running, type Timer, type Watchable } from '@mizzen/core';

/** Work that brings something to what it should be, done again whenever that may have changed. */
export interface Reconciler extends Running {
  /** Asks for a run from now on; requests that come meanwhile are one. */
  trigger(): void;
}

export interface ReconcilerOptions {
  /** For the log: `the trust bundle is not published`. */
  readonly failure: string;
  /** Compares and corrects. What it throws is logged once per distinct message, and it is run again after a back-off. */
  readonly reconcile: (options: { signal: AbortSignal }) => Promise<void>;
  /** What it depends on: a change of any of them asks for a run, until `close`. Default: nothing. */
  readonly dependsOn?: readonly Changing[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Unit: ms. A run waits for so long for further requests. Default 0. */
  readonly debounceMs?: number;
  /** Unit: ms. Runs without a request after so long. Default: never. */
  readonly everyMs?: number;
}

/** A Watchable of anything. */
type Changing = { watch(changed: () => void): ReturnType<Watchable<unknown>['watch']> };

const RETRY = { baseMs: 500, maxMs: 30_000 };

/** Never runs twice at once. `close` waits for the run under way. */
export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { clock, logger, debounceMs = 0, everyMs, dependsOn = [] } = options;
  const closing = new AbortController();
  const { signal } = closing;
  let timer: { readonly at: number; readonly timer: Timer } | undefined;
  let running: Promise<void> | undefined;
  let isWanted = false;
  let failures = 0;
  let lastFailure = '';

  const schedule = (delayMs: number): void => {
    const at = clock.monotonic() + delayMs;
    if (signal.aborted || (timer && timer.at <= at)) return;
    timer?.timer.cancel();
    timer = { at, timer: clock.after(delayMs, begin) };
  };
  const begin = (): void => {
    timer = undefined;
    if (running) {
      isWanted = true;
      return;
    }
    isWanted = false;
    running = attempt().then(() => {
      running = undefined;
      if (failures > 0) schedule(backoffMs(failures - 1, { ...RETRY, random: options.random }));
      else if (isWanted) schedule(debounceMs);
      else if (everyMs !== undefined) schedule(everyMs);
    });
  };
  const attempt = async (): Promise<void> => {
    try {
      await options.reconcile({ signal });
      failures = 0;
      lastFailure = '';
    } catch (thrown) {
      if (signal.aborted) return;
      failures++;
      const reason = errorMessage(thrown);
      if (reason !== lastFailure) logger.warn({ reason }, `${options.failure}; it is tried again`);
      lastFailure = reason;
    }
  };
  const trigger = (): void => {
    // A failure's back-off is kept: what changes meanwhile is part of the next attempt.
    if (running) isWanted = true;
    else if (failures === 0 || !timer) schedule(debounceMs);
  };
  const stops = dependsOn.map((changing) => changing.watch(trigger));
  return {
    trigger,
    async close() {
      for (const stop of stops) stop();
      closing.abort();
      timer?.timer.cancel();
      await running;
    },
  };
}
