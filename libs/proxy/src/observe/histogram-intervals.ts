import { type HistogramState, StatHistogram } from './stat-histogram.ts';
import type { StatRegistry } from './stat-registry.ts';
import { readStats } from './stats-view.ts';

/** How old at least what the present is compared with must be: Envoy's interval between two flushes. */
const MIN_INTERVAL_MS = 5000;

interface Snapshot {
  readonly takenMs: number;
  readonly states: ReadonlyMap<string, HistogramState>;
}

/**
 * What histograms recorded in the last while. Envoy's intervals are those between two flushes of its statistics; here somebody who looks is
 * shown what came since a look that was five seconds ago at least, so that nothing is kept for proxies at which nobody looks.
 */
export class HistogramIntervals {
  readonly #registry: StatRegistry;
  #before: Snapshot | undefined;
  #last: Snapshot | undefined;

  constructor(registry: StatRegistry) {
    this.#registry = registry;
  }

  /** Somebody looks, at `nowMs`. The function gives what a histogram of this name recorded of late; undefined where nothing is known of it. */
  look(nowMs: number): (name: string, whole: StatHistogram) => StatHistogram | undefined {
    if (this.#last === undefined || nowMs - this.#last.takenMs >= MIN_INTERVAL_MS) {
      this.#before = this.#last;
      this.#last = { takenMs: nowMs, states: this.#states() };
    }
    const before = this.#before;
    return (name, whole) => {
      if (before === undefined) return undefined;
      const state = before.states.get(name);
      const recent = new StatHistogram();
      recent.add(whole.state());
      if (state !== undefined) recent.subtract(state);
      return recent.count > 0 ? recent : undefined;
    };
  }

  #states(): ReadonlyMap<string, HistogramState> {
    const stats = readStats(this.#registry, { includes: () => true }, { kinds: ['histogram'] });
    const copies = stats.map(({ name, histogram }): readonly [string, HistogramState] => {
      const copy = new StatHistogram();
      if (histogram !== undefined) copy.add(histogram.state());
      return [name, copy.state()];
    });
    return new Map(copies);
  }
}
