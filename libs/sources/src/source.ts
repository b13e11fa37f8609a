import type { Diagnostic, ResourceRef, Running, Watchable } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';

/** One change between two snapshots. A resource whose place in its file moved has not changed. */
export type ResourceChange =
  | { readonly type: 'upsert'; readonly resource: Resource }
  | { readonly type: 'delete'; readonly ref: ResourceRef };

/** Everything that a source holds at one moment. Never changed once it was given out. */
export interface SourceSnapshot {
  /** Valid resources only, each at most once, ordered by kind, namespace and name. An unchanged resource stays the same object. */
  readonly resources: readonly Resource[];
  readonly diagnostics: readonly Diagnostic[];
  /** Counts snapshots from 1; 0 is the empty one before the first reading. */
  readonly revision: number;
  /** What changed since the snapshot before. Whoever skips a snapshot compares `resources` instead. */
  readonly changes: readonly ResourceChange[];
}

/**
 * Where configuration comes from: a directory of files, later the Kubernetes API.
 * `start` resolves when the source is synced: it has read everything once. From then on `snapshot` follows the source; it never empties
 * because the source cannot be reached. `start` rejects with MIZZEN_CONFIG_DIR where there is nothing to read from.
 */
export interface ConfigSource extends Running {
  readonly name: string;
  readonly snapshot: Watchable<SourceSnapshot>;
  /** Whether everything was read at least once. */
  readonly synced: Watchable<boolean>;
  start(options?: { signal?: AbortSignal }): Promise<void>;
}

export const EMPTY_SNAPSHOT: SourceSnapshot = Object.freeze({ resources: [], diagnostics: [], revision: 0, changes: [] });
