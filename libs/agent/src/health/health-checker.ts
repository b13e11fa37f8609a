import { type Clock, delay, type Logger, type Running } from '@mizzen/core';
import type { ReadinessProbe } from './readiness-probe.ts';
import { type CheckRoute, runCheck } from './run-check.ts';

export interface HealthCheckerOptions {
  readonly probe: ReadinessProbe;
  readonly route: CheckRoute;
  /** Called with every change: undefined where the workload is well, else what is wrong. */
  readonly onChange: (failure: string | undefined) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Asks the program again and again how it is. Source: istio pkg/istio-agent/health PerformApplicationHealthCheck (1.32). */
export class HealthChecker implements Running {
  readonly #options: HealthCheckerOptions;
  readonly #closing = new AbortController();
  #work: Promise<void> | undefined;

  constructor(options: HealthCheckerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#work ??= this.#run();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#work;
  }

  async #run(): Promise<void> {
    const { probe, route, onChange, clock, logger } = this.#options;
    const { signal } = this.#closing;
    let state: 'unknown' | 'well' | 'ill' = 'unknown';
    let inARow = { isWell: true, count: 0 };
    await delay(clock, probe.initialDelayMs, signal);
    while (!signal.aborted) {
      const failure = await runCheck(probe, route);
      if (signal.aborted) return;
      const isWell = failure === undefined;
      inARow = { isWell, count: inARow.isWell === isWell ? inARow.count + 1 : 1 };
      const next = isWell ? 'well' : 'ill';
      if (state !== next && inARow.count >= (isWell ? probe.successThreshold : probe.failureThreshold)) {
        state = next;
        logger[isWell ? 'info' : 'warn']({ ...(failure !== undefined && { reason: failure }) }, `the program is ${next}`);
        onChange(failure);
      }
      await delay(clock, probe.periodMs, signal);
    }
  }
}
