import { delay } from '@mizzen/core';
import type { AgentOptions, ManagedProxy } from './options.ts';

interface Begun {
  readonly startedAt: number;
  /** Resolves once no connection is left that was to end. */
  readonly done: Promise<void>;
}

/** How the connections of a workload that goes come to their end. */
export class Departure {
  readonly #options: AgentOptions;
  readonly #proxy: () => ManagedProxy | undefined;
  #begun: Begun | undefined;

  constructor(options: AgentOptions, proxy: () => ManagedProxy | undefined) {
    this.#options = options;
    this.#proxy = proxy;
  }

  /** Asks connections to end, once callers have learnt that the workload goes. What was begun goes on. */
  begin(): Begun {
    const { clock, drainDelayMs, proxyType } = this.#options;
    const inboundOnly = proxyType === 'sidecar';
    this.#begun ??= {
      startedAt: clock.monotonic(),
      done: delay(clock, drainDelayMs).then(() => this.#proxy()?.drain({ inboundOnly })),
    };
    return this.#begun;
  }

  /**
   * Resolves once the proxy may go. A program that ends at the same time may still have to call others: in a pod the proxy stays for the
   * whole time, unless its program ended before, or it is told to wait for the last connection.
   * Source: istio pkg/envoy/agent.go terminate (1.32).
   */
  async end(): Promise<void> {
    const { clock, drainDelayMs, terminationDrainDurationMs, pod } = this.#options;
    const { startedAt, done } = this.begin();
    const until = (durationMs: number, signal?: AbortSignal): Promise<void> =>
      delay(clock, Math.max(0, startedAt + durationMs - clock.monotonic()), signal);
    if (pod?.minimumDrainMs !== undefined) {
      await until(pod.minimumDrainMs);
      await done;
      await this.#proxy()?.drain({ inboundOnly: false });
      return;
    }
    const isOver = new AbortController();
    const limit = until(drainDelayMs + terminationDrainDurationMs, isOver.signal);
    await (pod === undefined || pod.outlivesProgram ? Promise.race([done, limit]) : limit);
    isOver.abort();
  }
}
