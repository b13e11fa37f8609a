import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings, silentLogger, systemClock } from '@mizzen/core';
import { createJoinToken, ensureJoinTokenKey, formatSpiffeId, type SpiffeId } from '@mizzen/identity';
import { type RunningCa, startCa } from './ca-app.ts';
import { CA_FILE } from './ca-files.ts';
import { caSettings } from './settings.ts';

export const REVIEWS = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'reviews' });

/** A folder of a CA for one spec, and CAs started on it. */
export interface CaHome {
  readonly folder: string;
  readonly rootFile: string;
  start(flags?: readonly string[]): Promise<RunningCa>;
  token(claims?: { spiffeId?: SpiffeId; ttlMs?: number; now?: number }): Promise<string>;
  remove(): Promise<void>;
}

export async function createCaHome(): Promise<CaHome> {
  const home = await mkdtemp(join(tmpdir(), 'mizzen-ca-'));
  const folder = join(home, 'ca');
  const started: RunningCa[] = [];
  return {
    folder,
    rootFile: join(folder, CA_FILE.root),
    async start(flags = []) {
      const argv = ['--home', home, '--ca-port', '0', '--http-port', '0', ...flags];
      const ca = await startCa(readSettings(caSettings, { argv, env: {} }).values, { logger: silentLogger, clock: systemClock });
      started.push(ca);
      return ca;
    },
    async token(claims = {}) {
      const { privateKey } = await ensureJoinTokenKey(join(folder, CA_FILE.joinTokenKey));
      return createJoinToken(privateKey, { spiffeId: REVIEWS, ...claims });
    },
    async remove() {
      await Promise.all(started.map((ca) => ca.close()));
      await rm(home, { recursive: true, force: true });
    },
  };
}
