import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, MizzenError } from '@mizzen/core';

export interface FoundFile {
  /** Path with the directory in front. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
  /** When the file was made, as far as the file system knows. */
  readonly createdAtMs: number;
  readonly inode: number;
}

const EXTENSIONS = /\.(ya?ml|json)$/i;

/**
 * The YAML and JSON files below a directory, ordered by path, and the folders in which they may be. Hidden files and folders are left out: editors and `kubelet` keep their
 * own things there. Links to files are followed, links to folders are not. What vanishes meanwhile is left out.
 */
export async function findFiles(directory: string): Promise<{ files: readonly FoundFile[]; folders: readonly string[] }> {
  const found: FoundFile[] = [];
  const folders: string[] = [];
  await collect(directory, found, folders);
  return { files: found.sort((a, b) => (a.path < b.path ? -1 : 1)), folders };
}

async function collect(directory: string, found: FoundFile[], folders: string[]): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((thrown: unknown) => {
    if (isGone(thrown)) return [];
    throw thrown;
  });
  await Promise.all(
    entries.map(async (entry) => {
      if (entry.name.startsWith('.')) return;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        folders.push(path);
        return collect(path, found, folders);
      }
      if (!EXTENSIONS.test(entry.name)) return;
      const stats = await stat(path).catch(() => undefined);
      if (!stats?.isFile()) return;
      const createdAtMs = Math.min(stats.birthtimeMs > 0 ? stats.birthtimeMs : stats.mtimeMs, stats.mtimeMs);
      found.push({ path, sizeBytes: stats.size, modifiedAtMs: stats.mtimeMs, createdAtMs, inode: stats.ino });
    }),
  );
}

export function isGone(thrown: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(errorCode(thrown));
}

/** Makes the directory where it does not exist. Throws MIZZEN_CONFIG_DIR with what to do. */
export async function ensureDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
    await readdir(directory);
  } catch (thrown) {
    const code = errorCode(thrown);
    const reason =
      code === 'EEXIST' || code === 'ENOTDIR'
        ? 'it, or a part of its path, is a file; choose another'
        : `${code || String(thrown)}; check its permissions`;
    throw new MizzenError('MIZZEN_CONFIG_DIR', `the directory ${directory} cannot be used: ${reason}`, {
      cause: thrown,
      details: { directory },
    });
  }
}
