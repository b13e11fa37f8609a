import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, type Diagnostic, errorCode, errorMessage, type Logger, type Running, Watchable } from '@mizzen/core';
import { CA_KEYS, CA_SUFFIX, CERTIFICATE_KEYS, type Credential, KEY_KEYS, readCredential } from './credential.ts';
import { ensureDirectory, isGone } from './directory-files.ts';
import { DirectoryWatcher } from './directory-watcher.ts';

export interface CredentialSnapshot {
  readonly credentials: ReadonlyMap<string, Credential>;
  readonly diagnostics: readonly Diagnostic[];
}

export interface CredentialSource extends Running {
  readonly snapshot: Watchable<CredentialSnapshot>;
  readonly synced: Watchable<boolean>;
  start(options?: { signal?: AbortSignal }): Promise<void>;
}

export interface CredentialSourceOptions {
  /** Made where it does not exist. One folder per credential. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly quietMs?: number;
  readonly rescanMs?: number;
}

interface Known {
  readonly text: string;
  readonly credential?: Credential;
  readonly diagnostic?: Diagnostic;
}

/**
 * Certificates of Gateways, `<directory>/<credentialName>/{tls.crt,tls.key,ca.crt}` (or cert, key, cacert), watched.
 * The folder `<credentialName>-cacert` may hold the CA certificates instead. A pair that does not belong together (a renewal that is
 * half written) is a diagnostic; the last good pair stays.
 */
export function createCredentialSource(options: CredentialSourceOptions): CredentialSource {
  const { directory, logger } = options;
  const snapshot = new Watchable<CredentialSnapshot>({ credentials: new Map(), diagnostics: [] });
  const synced = new Watchable(false);
  let known: ReadonlyMap<string, Known> = new Map();

  const scan = async (): Promise<readonly string[]> => {
    const folders = (await readdir(directory, { withFileTypes: true }))
      .filter((entry) => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.'))
      .map((entry) => entry.name)
      .sort();
    const names = folders.filter((name) => !name.endsWith(CA_SUFFIX));
    const next = new Map<string, Known>();
    for (const name of names) next.set(name, await readFolder(directory, name, known.get(name)));
    const isChanged = next.size !== known.size || [...next].some(([name, entry]) => known.get(name) !== entry);
    known = next;
    if (isChanged) {
      logger.info({ credentials: next.size }, 'credentials read');
      snapshot.set(summarise(next));
    }
    synced.set(true);
    return folders.map((name) => join(directory, name));
  };

  const watcher = new DirectoryWatcher({ ...options, scan });
  return {
    snapshot,
    synced,
    async start({ signal } = {}) {
      signal?.throwIfAborted();
      await ensureDirectory(directory);
      signal?.addEventListener('abort', () => void watcher.close(), { once: true });
      await watcher.start();
    },
    close: () => watcher.close(),
  };
}

function summarise(known: ReadonlyMap<string, Known>): CredentialSnapshot {
  const credentials = new Map<string, Credential>();
  const diagnostics: Diagnostic[] = [];
  for (const [name, { credential, diagnostic }] of known) {
    if (credential) credentials.set(name, credential);
    if (diagnostic) diagnostics.push(diagnostic);
  }
  return { credentials, diagnostics };
}

async function readFolder(directory: string, name: string, before: Known | undefined): Promise<Known> {
  const folder = join(directory, name);
  const problem = (text: string, message: string): Known => ({
    text,
    ...(before?.credential && { credential: before.credential }),
    diagnostic: {
      code: 'file-unreadable',
      severity: 'error',
      message: `credential ${name}: ${message}`,
      position: { file: folder, line: 1 },
    },
  });
  try {
    const certChainPem = await readFirst(folder, CERTIFICATE_KEYS);
    const key = await readFirst(folder, KEY_KEYS);
    const caPem = (await readFirst(folder, CA_KEYS)) ?? (await readFirst(`${folder}${CA_SUFFIX}`, CA_KEYS));
    const text = JSON.stringify([certChainPem, key, caPem]);
    if (text === before?.text) return before;
    const read = readCredential({ certChainPem, key, caPem });
    return 'problem' in read ? problem(text, read.problem) : { text, credential: read.credential };
  } catch (thrown) {
    const text = `${errorCode(thrown)} ${errorMessage(thrown)}`;
    return text === before?.text ? before : problem(text, `cannot be read: ${errorMessage(thrown)}`);
  }
}

async function readFirst(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    try {
      return await readFile(join(folder, name), 'utf8');
    } catch (thrown) {
      if (!isGone(thrown)) throw thrown;
    }
  }
  return undefined;
}
