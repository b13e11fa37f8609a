import { readFile } from 'node:fs/promises';
import { type Clock, errorCode, errorMessage, MizzenError } from '@mizzen/core';
import { writeFileAtomically } from '@mizzen/identity';

/** Remembers which join tokens were used, until they expire, over restarts. */
export interface UsedTokens {
  /** False where the token was used before. Resolves once the use is on disk, so that no crash forgets it. */
  use(tokenId: string, expiresAt: number): Promise<boolean>;
}

export async function openUsedTokens(file: string, clock: Clock): Promise<UsedTokens> {
  const used = await load(file);
  let writing = Promise.resolve();
  let isWriteWaiting = false;

  // Uses that come while a write is under way share the next one.
  const persist = (): Promise<void> => {
    if (isWriteWaiting) return writing;
    isWriteWaiting = true;
    const write = async (): Promise<void> => {
      isWriteWaiting = false;
      const now = clock.now();
      for (const [tokenId, expiresAt] of used) if (expiresAt < now) used.delete(tokenId);
      await writeFileAtomically(file, `${JSON.stringify(Object.fromEntries(used))}\n`);
    };
    writing = writing.then(write, write);
    return writing;
  };

  return {
    async use(tokenId, expiresAt) {
      if (used.has(tokenId)) return false;
      used.set(tokenId, expiresAt);
      await persist();
      return true;
    },
  };
}

async function load(file: string): Promise<Map<string, number>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return new Map();
    throw new MizzenError('MIZZEN_STORE', `${file} cannot be read: ${errorMessage(thrown)}`, { cause: thrown });
  }
  try {
    const entries = Object.entries(JSON.parse(text) as Record<string, unknown>);
    return new Map(entries.filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
  } catch (thrown) {
    // Forgetting would let used tokens in again, so this is for a person to decide.
    throw new MizzenError('MIZZEN_STORE', `${file} is broken: remove it once every join token given out has expired`, { cause: thrown });
  }
}
