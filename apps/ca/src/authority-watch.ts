import { type FSWatcher, watch } from 'node:fs';
import { type Clock, errorMessage, type Logger, type Running, type Timer, Watchable } from '@mizzen/core';
import { type Authority, describeAuthority, isSameAuthority } from './authority.ts';
import { FORMS, loadAuthority } from './ca-files.ts';

// Several files change together; they are read once they have been still for this long.
const QUIET_MS = 200;
const RELEVANT = new Set<string>(FORMS.flatMap(({ key, certificate, chain, root }) => [key, certificate, chain, root]));

export interface AuthorityWatch extends Running {
  readonly authority: Watchable<Authority>;
}

/** Follows the CA's files: a new set that is whole is taken up, one that is not is logged and the old stays in force. */
export async function watchAuthority(
  folder: string,
  options: { clock: Clock; logger: Logger; isMounted?: boolean },
): Promise<AuthorityWatch> {
  const { clock, logger, isMounted = false } = options;
  const load = (): Promise<Authority> => loadAuthority(folder, clock.now(), { isMounted });
  const authority = new Watchable(await load(), isSameAuthority);
  let timer: Timer | undefined;
  let reading = Promise.resolve();
  const reload = async (): Promise<void> => {
    try {
      const before = authority.value;
      authority.set(await load());
      if (authority.value !== before) logger.info({ issuer: describeAuthority(authority.value) }, 'CA files replaced');
    } catch (thrown) {
      logger.error({ reason: errorMessage(thrown) }, 'the new CA files cannot be used; the old ones stay in force');
    }
  };
  const watcher: FSWatcher = watch(folder, (_, file) => {
    // `..data` is how Kubernetes swaps the files of a mounted Secret.
    if (file !== null && !RELEVANT.has(file) && file !== '..data') return;
    timer?.cancel();
    timer = clock.after(QUIET_MS, () => {
      reading = reading.then(reload);
    });
  });
  watcher.on('error', (error) => logger.error({ reason: errorMessage(error) }, 'the folder of the CA is no longer watched'));
  return {
    authority,
    async close() {
      watcher.close();
      timer?.cancel();
      await reading;
    },
  };
}
