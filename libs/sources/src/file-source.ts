import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Clock, type Diagnostic, errorCode, type Logger, Watchable } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';
import { ensureDirectory, type FoundFile, findFiles, isGone } from './directory-files.ts';
import { DirectoryWatcher } from './directory-watcher.ts';
import { duplicateOf, type FileState, keyOf, readFileState } from './file-state.ts';
import { ResourceHistory } from './resource-history.ts';
import { type ConfigSource, EMPTY_SNAPSHOT, type SourceSnapshot } from './source.ts';

export interface FileSourceOptions {
  /** Made where it does not exist. Every `.yaml`, `.yml` and `.json` below it is read. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Calm before changed files are read. Unit: ms. Default 20. */
  readonly quietMs?: number;
  /** Time between two looks at the files when no change is reported. Unit: ms. Default 2000. */
  readonly rescanMs?: number;
}

interface KnownFile {
  readonly found: FoundFile;
  readonly readAtMs: number;
  readonly hash: string;
  readonly state: FileState;
}

// A file changed this shortly before it was read may change again within one tick of its time stamp, so it is read again (git's rule).
const RACY_MS = 100;
// An editor that empties a file before it writes it is given this long.
const EMPTIED_GRACE_MS = 250;
/** Such a file is not even read: whatever it is, no parser would take it. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * The configuration as a directory of YAML, watched. Everything valid is in force; what is not is a diagnostic with file and line, and
 * the last valid version of it stays in force as long as it is written there. A resource given twice: the first by path stays.
 */
export function createFileSource(options: FileSourceOptions): ConfigSource {
  return new FileSource(options);
}

class FileSource implements ConfigSource {
  readonly name = 'files';
  readonly snapshot = new Watchable<SourceSnapshot>(EMPTY_SNAPSHOT);
  readonly synced = new Watchable(false);
  readonly #options: FileSourceOptions;
  readonly #watcher: DirectoryWatcher;
  readonly #history = new ResourceHistory();
  #files = new Map<string, KnownFile>();

  constructor(options: FileSourceOptions) {
    this.#options = options;
    this.#watcher = new DirectoryWatcher({ ...options, scan: () => this.#scan() });
  }

  async start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted();
    await ensureDirectory(this.#options.directory);
    signal?.addEventListener('abort', () => void this.close(), { once: true });
    await this.#watcher.start();
  }

  close(): Promise<void> {
    return this.#watcher.close();
  }

  async #scan(): Promise<readonly string[]> {
    const { files: found, folders } = await findFiles(this.#options.directory);
    const files = new Map<string, KnownFile>();
    const read = await Promise.all(found.map((file) => this.#read(file, this.#files.get(file.path))));
    for (const file of read) if (file) files.set(file.found.path, file);
    const isChanged = files.size !== this.#files.size || [...files].some(([path, { state }]) => this.#files.get(path)?.state !== state);
    this.#files = files;
    if (isChanged || this.snapshot.value.revision === 0) this.#publish();
    this.synced.set(true);
    return folders;
  }

  async #read(found: FoundFile, known: KnownFile | undefined): Promise<KnownFile | undefined> {
    const now = this.#options.clock.now();
    if (known && isUntouched(found, known)) return known;
    if (found.sizeBytes === 0 && known && known.state.resources.length > 0 && now - found.modifiedAtMs < EMPTIED_GRACE_MS) {
      this.#watcher.scanAfter(EMPTIED_GRACE_MS);
      return known;
    }
    if (found.sizeBytes > MAX_FILE_BYTES) return unreadable({ found, known, readAtMs: now, reason: 'larger than 16 MiB' });
    let text: string;
    try {
      text = await readFile(found.path, 'utf8');
    } catch (thrown) {
      return isGone(thrown) ? undefined : unreadable({ found, known, readAtMs: now, reason: errorCode(thrown) });
    }
    const hash = createHash('sha256').update(text).digest('hex');
    const state = known?.hash === hash ? known.state : readFileState(text, found.path, known?.state);
    return { found, readAtMs: now, hash, state };
  }

  #publish(): void {
    const { clock, logger } = this.#options;
    const isFirst = this.snapshot.value.revision === 0;
    const { resources: read, duplicates } = mergeFiles(this.#files.values());
    const now = clock.now();
    const createdAtMs = (resource: Resource): number => {
      const file = this.#files.get(resource.position?.file ?? '');
      return isFirst && file ? file.found.createdAtMs : now;
    };
    const { resources, changes } = this.#history.replace(read, createdAtMs);
    const diagnostics = [...[...this.#files.values()].flatMap(({ state }) => state.diagnostics), ...duplicates];
    const revision = this.snapshot.value.revision + 1;
    logger.info(
      { revision, files: this.#files.size, resources: resources.length, changes: changes.length, diagnostics: diagnostics.length },
      'configuration read',
    );
    this.snapshot.set(Object.freeze({ resources, diagnostics, revision, changes }));
  }
}

function isUntouched(found: FoundFile, known: KnownFile): boolean {
  const before = known.found;
  const isEqual = found.sizeBytes === before.sizeBytes && found.modifiedAtMs === before.modifiedAtMs && found.inode === before.inode;
  return isEqual && known.readAtMs - found.modifiedAtMs > RACY_MS;
}

function unreadable(about: { found: FoundFile; known: KnownFile | undefined; readAtMs: number; reason: string }): KnownFile {
  const { found, known, readAtMs, reason } = about;
  const hash = `unreadable: ${reason}`;
  if (known?.hash === hash) return known;
  const diagnostic: Diagnostic = {
    code: 'file-unreadable',
    severity: 'error',
    message: `the file cannot be read (${reason}); what it gave before stays in force`,
    position: { file: found.path, line: 1 },
  };
  return { found, readAtMs, hash, state: { resources: known?.state.resources ?? [], diagnostics: [diagnostic] } };
}

function mergeFiles(files: Iterable<KnownFile>): { resources: readonly Resource[]; duplicates: readonly Diagnostic[] } {
  const byKey = new Map<string, Resource>();
  const duplicates: Diagnostic[] = [];
  for (const { state } of files) {
    for (const resource of state.resources) {
      const first = byKey.get(keyOf(resource));
      if (first) duplicates.push(duplicateOf(resource, first));
      else byKey.set(keyOf(resource), resource);
    }
  }
  return { resources: [...byKey.values()], duplicates };
}
