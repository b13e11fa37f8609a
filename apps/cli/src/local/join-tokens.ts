import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createJoinToken, ensureJoinTokenKey, formatSpiffeId, writeFileAtomically } from '@mizzen/identity';
import type { Home } from '../home.ts';

/** Who a token is for. `name` names its file. */
export interface TokenSubject {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export interface TokenIssuer {
  /** Writes a fresh join token into a file only its owner can read, and returns the file. */
  issue(subject: TokenSubject): Promise<string>;
  /** Replaces every token that was issued by a fresh one. */
  renewAll(): Promise<void>;
  /** Removes the files of every token that was issued. */
  discardAll(): void;
}

/**
 * Tokens are short-lived and good for one use, but an agent whose certificate ran out (a laptop that slept for two days) reads its file
 * again: `renewAll`, called more often than tokens expire, sees to it that it finds a usable one.
 */
export function createTokenIssuer(home: Pick<Home, 'joinTokenKey' | 'tokens'>, trustDomain: string): TokenIssuer {
  const subjects = new Map<string, TokenSubject>();
  const write = async (subject: TokenSubject): Promise<string> => {
    const { privateKey } = await ensureJoinTokenKey(home.joinTokenKey);
    const { namespace, serviceAccount } = subject;
    const token = await createJoinToken(privateKey, { spiffeId: formatSpiffeId({ trustDomain, namespace, serviceAccount }) });
    const file = join(home.tokens, subject.name);
    await writeFileAtomically(file, token);
    return file;
  };
  return {
    issue(subject) {
      subjects.set(subject.name, subject);
      return write(subject);
    },
    async renewAll() {
      for (const subject of subjects.values()) await write(subject);
    },
    discardAll() {
      for (const { name } of subjects.values()) rmSync(join(home.tokens, name), { force: true });
    },
  };
}

/**
 * How often `renewAll` is due. Not only before tokens expire: a token is good for one use, so that a workload whose certificate ran out
 * while the CA was away waits this long at most for the next.
 */
export const TOKEN_RENEWAL_MS = 30_000;
