import type { Running, Watchable } from '@mizzen/core';
import type { Service, Workload } from '@mizzen/model';

/**
 * Where services and workloads come from beside the configuration's own ServiceEntries: Kubernetes, or any other catalogue.
 * `start` resolves once everything was read; from then on the lists follow the registry. Unchanged services and workloads stay the same
 * objects: that is how everything further down knows what changed. A registry never empties because it cannot be reached.
 */
export interface Registry extends Running {
  readonly name: string;
  readonly services: Watchable<readonly Service[]>;
  readonly workloads: Watchable<readonly Workload[]>;
  start(options?: { signal?: AbortSignal }): Promise<void>;
}
