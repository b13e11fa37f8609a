import type { Diagnostic, Running } from '@mizzen/core';
import type { ResourceStore } from '@mizzen/sources';
import type { SyncStatus } from '../commands/sync-status.ts';

/** The mesh that a command works on, wherever it is at home. */
export interface MeshAccess extends Running {
  /** The configuration, as it is written. */
  readonly resources: ResourceStore;
  /** What is wrong with documents that are no resource at all: no resource's status tells of these. */
  documentErrors(): readonly Diagnostic[];
  /** The answer of every control plane that runs to a debug path, such as /debug/syncz. Rejects with MIZZEN_NOT_RUNNING where none answers. */
  debug(path: string): Promise<readonly unknown[]>;
  /** The answer of a proxy's admin port. */
  admin(proxy: SyncStatus, path: string): Promise<unknown>;
  /** Prints the end of the log of one process. Resolves at its end, with `follow` never. */
  printLog(process: string, options: LogOptions): Promise<void>;
}

export interface LogOptions {
  readonly follow: boolean;
  /** Lines of the end. */
  readonly tail: number;
  /** A pod's namespace and container; a local process has neither. */
  readonly namespace: string;
  readonly container: string | undefined;
  readonly print: (text: string) => void;
}
