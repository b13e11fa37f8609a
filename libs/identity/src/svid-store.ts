import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@mizzen/core';
import { derToPem, pemToDer } from './pem.ts';
import { requireOwnerOnly, writeFileAtomically } from './private-files.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { assembleSvid, type Svid } from './svid.ts';

/** Keeps the SVID of one workload over restarts, in one file (0600) so that key and certificate never part. */
export interface SvidStore {
  /** Undefined where there is none that is still valid. Throws where the file is broken or readable by others. */
  load(now: number): Promise<Svid | undefined>;
  save(svid: Svid): Promise<void>;
}

export function createSvidStore(folder: string, expected: SpiffeId | undefined): SvidStore {
  const file = join(folder, 'svid.pem');
  return {
    async load(now) {
      let pem: string;
      try {
        pem = await readFile(file, 'utf8');
      } catch (thrown) {
        if (errorCode(thrown) === 'ENOENT') return undefined;
        throw thrown;
      }
      await requireOwnerOnly(file);
      const key = pemToDer(['PRIVATE KEY'], pem);
      if (!key) throw new Error(`${file} holds no private key`);
      const issuedAt = Number(/^issued-at: (\d+)$/m.exec(pem)?.[1] ?? now);
      return assembleSvid({ chainPem: pem, privateKeyPem: derToPem('PRIVATE KEY', key), expected, issuedAt, now });
    },
    async save(svid) {
      const parts = [`issued-at: ${svid.issuedAt}\n`, svid.privateKeyPem.reveal(), svid.certChainPem, svid.trustBundlePem];
      await writeFileAtomically(file, parts.join(''));
    },
  };
}
