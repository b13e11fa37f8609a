import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type Clock, errorCode, type Logger, type Timer } from '@mizzen/core';

export interface DirectoryWatcherOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * Called after a burst of changes, on every rescan, and never while it still runs: what happens meanwhile causes one more call.
   * Returns the folders below the directory that are to be watched too.
   */
  readonly scan: () => Promise<readonly string[]>;
  /** Calm after the last change before `scan` is called. Unit: ms. Default 20. */
  readonly quietMs?: number;
  /** Longest time between a change and its scan while changes keep coming. Unit: ms. Default 200. */
  readonly maxQuietMs?: number;
  /** Time between two scans for which no change was reported. Unit: ms. Default 2000. */
  readonly rescanMs?: number;
}

interface Watched {
  readonly watcher: FSWatcher;
  readonly inode: number;
}

/**
 * Calls `scan` when something in a directory, or in folders below it, changed. The operating system's notifications make it quick; they
 * may be missed (a network file system, too many watches), so it scans now and then anyway.
 *
 * One watch per folder and none of Node's recursive ones: on Linux those watch every file by itself and lose it when another is renamed
 * over it, which is how careful writers replace a file.
 */
export class DirectoryWatcher {
  readonly #options: Required<DirectoryWatcherOptions>;
  readonly #watched = new Map<string, Watched>();
  #quiet: Timer | undefined;
  #rescan: Timer | undefined;
  #burstStartedAt: number | undefined;
  #running: Promise<void> | undefined;
  #isDirty = false;
  #isMissing = false;
  #isClosed = false;

  constructor(options: DirectoryWatcherOptions) {
    const { quietMs = 20, maxQuietMs = 200, rescanMs = 2000 } = options;
    this.#options = { ...options, quietMs, maxQuietMs, rescanMs };
  }

  /** Watches, then scans once; changes during that first scan are not lost. */
  start(): Promise<void> {
    return this.scanNow();
  }

  /** Scans at once, or after the scan that runs. */
  scanNow(): Promise<void> {
    this.#isDirty = true;
    this.#running ??= this.#scanWhileDirty().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Asks for a scan after `delayMs`, for a caller that saw something unfinished. */
  scanAfter(delayMs: number): void {
    if (this.#isClosed) return;
    this.#quiet?.cancel();
    this.#quiet = this.#options.clock.after(delayMs, () => {
      this.#burstStartedAt = undefined;
      void this.scanNow();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#quiet?.cancel();
    this.#rescan?.cancel();
    await this.#running;
    for (const path of [...this.#watched.keys()]) this.#unwatch(path);
  }

  async #scanWhileDirty(): Promise<void> {
    const { directory, scan, logger, clock, rescanMs } = this.#options;
    this.#rescan?.cancel();
    while (this.#isDirty && !this.#isClosed) {
      this.#isDirty = false;
      try {
        if (!(await this.#findDirectory())) continue;
        await this.#follow(await scan());
      } catch (thrown) {
        logger.error({ err: thrown, directory }, 'scan of a directory failed');
      }
    }
    if (!this.#isClosed) this.#rescan = clock.after(rescanMs, () => void this.scanNow());
  }

  /** False while the directory does not exist: then what was read from it stays in force. */
  async #findDirectory(): Promise<boolean> {
    const { directory, logger } = this.#options;
    const exists = (await inodeOf(directory)) !== undefined;
    if (!exists && !this.#isMissing) logger.warn({ directory }, 'the directory is gone; what was read from it stays in force');
    this.#isMissing = !exists;
    if (exists) await this.#watch(directory);
    return exists;
  }

  async #follow(folders: readonly string[]): Promise<void> {
    const wanted = new Set([this.#options.directory, ...folders]);
    for (const path of [...this.#watched.keys()]) if (!wanted.has(path)) this.#unwatch(path);
    for (const path of folders) {
      // What was put into a new folder before it was watched is found by one more scan.
      if (await this.#watch(path)) this.#isDirty = true;
    }
  }

  /** True where a watch was begun: for a folder that is new, or that another has taken the place of. */
  async #watch(path: string): Promise<boolean> {
    const { logger } = this.#options;
    const inode = await inodeOf(path);
    const known = this.#watched.get(path);
    if (inode === undefined || inode === known?.inode || this.#isClosed) return false;
    if (known) this.#unwatch(path);
    try {
      const watcher = watch(path, { persistent: false });
      this.#watched.set(path, { watcher, inode });
      watcher.on('change', () => this.#changed());
      watcher.on('error', (error) => {
        logger.debug({ err: error, path }, 'watching a folder ended');
        if (this.#watched.get(path)?.watcher === watcher) this.#unwatch(path);
        this.#changed();
      });
      return true;
    } catch (thrown) {
      logger.debug({ code: errorCode(thrown), path }, 'a folder cannot be watched; it is scanned now and then');
      return false;
    }
  }

  #unwatch(path: string): void {
    this.#watched.get(path)?.watcher.close();
    this.#watched.delete(path);
  }

  #changed(): void {
    const { clock, quietMs, maxQuietMs } = this.#options;
    const now = clock.monotonic();
    this.#burstStartedAt ??= now;
    this.scanAfter(Math.max(0, Math.min(quietMs, this.#burstStartedAt + maxQuietMs - now)));
  }
}

function inodeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    (stats) => stats.ino,
    () => undefined,
  );
}
