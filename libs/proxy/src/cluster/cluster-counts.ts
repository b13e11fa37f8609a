import type { ClusterStats } from '../contract.ts';
import { createClusterStats } from '../observe/cluster-stats.ts';
import type { SharedSlot } from '../workers/shared-memory.ts';
import { type ActiveCounts, createActiveCounts } from './active-counts.ts';

/** What outlives a cluster's definition: counters and live counts are those of the name. */
export interface ClusterCounts {
  readonly stats: ClusterStats;
  readonly active: ActiveCounts;
  /** Of requests with high priority; made when it is first read. */
  readonly activeHigh: ActiveCounts;
  readonly hasHigh: boolean;
}

/** The slots: where the live counts of all event loops stand. Few clusters have requests with high priority: theirs is taken when asked for. */
export function createClusterCounts(slot?: SharedSlot, slotOfHigh?: () => SharedSlot | undefined): ClusterCounts {
  let activeHigh: ActiveCounts | undefined;
  return {
    stats: createClusterStats(),
    active: createActiveCounts(slot),
    get activeHigh() {
      activeHigh ??= createActiveCounts(slotOfHigh?.());
      return activeHigh;
    },
    get hasHigh() {
      return activeHigh !== undefined;
    },
  };
}
