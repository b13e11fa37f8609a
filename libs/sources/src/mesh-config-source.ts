import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, type Diagnostic, errorCode, type Logger, type Running, Watchable } from '@mizzen/core';
import { defaultMeshConfig, type MeshConfig, parseMeshConfig } from '@mizzen/mesh-api';
import { ensureDirectory, isGone } from './directory-files.ts';
import { DirectoryWatcher } from './directory-watcher.ts';

export interface MeshConfigSnapshot {
  readonly meshConfig: MeshConfig;
  readonly diagnostics: readonly Diagnostic[];
  /** Counts snapshots from 1; 0 is the defaults before the first reading. */
  readonly revision: number;
}

export interface MeshConfigSource extends Running {
  readonly snapshot: Watchable<MeshConfigSnapshot>;
  readonly synced: Watchable<boolean>;
  start(options?: { signal?: AbortSignal }): Promise<void>;
}

export interface MeshConfigSourceOptions {
  /** May be missing: then the defaults are in force, until it appears. */
  readonly file: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly quietMs?: number;
  readonly rescanMs?: number;
}

/** The mesh's configuration from one YAML file, watched. A file that is not valid is a diagnostic; the last valid content stays in force. */
export function createMeshConfigSource(options: MeshConfigSourceOptions): MeshConfigSource {
  const { file, logger } = options;
  const snapshot = new Watchable<MeshConfigSnapshot>({ meshConfig: defaultMeshConfig(), diagnostics: [], revision: 0 });
  const synced = new Watchable(false);
  let lastText: string | undefined;

  const publish = (meshConfig: MeshConfig, diagnostics: readonly Diagnostic[]): void => {
    const revision = snapshot.value.revision + 1;
    logger.info({ revision, diagnostics: diagnostics.length }, 'mesh configuration read');
    snapshot.set({ meshConfig, diagnostics, revision });
  };

  const scan = async (): Promise<readonly string[]> => {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (thrown) {
      text = isGone(thrown) ? '' : (lastText ?? '');
      if (!isGone(thrown))
        logger.warn({ file, code: errorCode(thrown) }, 'mesh configuration cannot be read; what was read before stays in force');
    }
    if (text !== lastText) {
      lastText = text;
      const { meshConfig, diagnostics } = parseMeshConfig(text, file);
      publish(meshConfig ?? snapshot.value.meshConfig, diagnostics);
    }
    synced.set(true);
    return [];
  };

  const watcher = new DirectoryWatcher({ ...options, directory: dirname(file), scan });
  return {
    snapshot,
    synced,
    async start({ signal } = {}) {
      signal?.throwIfAborted();
      await ensureDirectory(dirname(file));
      signal?.addEventListener('abort', () => void watcher.close(), { once: true });
      await watcher.start();
    },
    close: () => watcher.close(),
  };
}
