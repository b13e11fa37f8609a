import { type Clock, type Timer, Watchable } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';
import { keyOf } from './file-state.ts';

/** The workloads that registered themselves: the universal registry. Held in memory, since agents register again when they reconnect. */
export interface WorkloadRegistry {
  /** Ordered by namespace and name. */
  readonly entries: Watchable<readonly Resource<'WorkloadEntry'>[]>;
  /** Adds a workload or takes the place of the one of its name; a removal that waits is called off. */
  add(entry: Resource<'WorkloadEntry'>): void;
  /** Removes a workload now, or after a grace in which it may come back. One that is not there is left alone. */
  remove(ref: { namespace: string; name: string }, options?: { afterMs?: number }): void;
  get(ref: { namespace: string; name: string }): Resource<'WorkloadEntry'> | undefined;
  /** Calls off removals that wait. The entries stay. */
  close(): void;
}

export function createWorkloadRegistry({ clock }: { clock: Clock }): WorkloadRegistry {
  const known = new Map<string, Resource<'WorkloadEntry'>>();
  const removals = new Map<string, Timer>();
  const entries = new Watchable<readonly Resource<'WorkloadEntry'>[]>([]);

  const publish = (): void => entries.set([...known].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry));
  const callOff = (key: string): void => {
    removals.get(key)?.cancel();
    removals.delete(key);
  };
  const removeNow = (key: string): void => {
    removals.delete(key);
    if (known.delete(key)) publish();
  };

  return {
    entries,
    add(entry) {
      const key = keyOf(entry);
      callOff(key);
      if (isEqual(known.get(key), entry)) return;
      known.set(key, entry);
      publish();
    },
    remove(ref, { afterMs = 0 } = {}) {
      const key = keyFor(ref);
      callOff(key);
      if (!known.has(key)) return;
      if (afterMs <= 0) removeNow(key);
      else
        removals.set(
          key,
          clock.after(afterMs, () => removeNow(key)),
        );
    },
    get: (ref) => known.get(keyFor(ref)),
    close() {
      for (const key of [...removals.keys()]) callOff(key);
    },
  };
}

function keyFor({ namespace, name }: { namespace: string; name: string }): string {
  return `WorkloadEntry/${namespace}/${name}`;
}

// A workload that reconnects registers the same again; only the time of its connection differs, and nobody needs to be told.
function isEqual(before: Resource<'WorkloadEntry'> | undefined, entry: Resource<'WorkloadEntry'>): boolean {
  return (
    before !== undefined && JSON.stringify([before.spec, before.metadata.labels]) === JSON.stringify([entry.spec, entry.metadata.labels])
  );
}
