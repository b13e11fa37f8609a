import { type Clock, CloseStack, errorMessage, type Logger, type Random, type Running, Watchable } from '@mizzen/core';
import type { KubeClient } from '@mizzen/kube';
import { type Authority, isSameAuthority } from './authority.ts';
import { watchAuthority } from './authority-watch.ts';
import { ensureCaFiles, hasCaFiles, renewCaFiles } from './ca-files.ts';
import { followKeySecrets } from './kubernetes/key-secrets.ts';
import { RENEWAL_CHECK_MS } from './root-renewal.ts';
import { type CaSettings, caFolderOf } from './settings.ts';

/** Where the CA's key and certificates come from. */
export interface KeySource extends Running {
  readonly authority: Watchable<Authority>;
}

export interface KeyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Files of a folder; a root is made where there is none, and renewed. */
export async function followKeyFiles(settings: CaSettings, { clock, logger }: KeyContext): Promise<KeySource> {
  const { trustDomain, rootTtl: ttlMs, keyAlgorithm: algorithm } = settings;
  const folder = caFolderOf(settings);
  const isNew = await ensureCaFiles(folder, { trustDomain, ttlMs, algorithm, now: clock.now() });
  if (isNew) logger.info({ folder }, 'CA made');
  const renew = async (): Promise<void> => {
    if (await renewCaFiles(folder, { now: clock.now(), ttlMs })) logger.info({ folder }, 'root renewed with the same key');
  };
  await renew();
  const { authority, close } = await watchAuthority(folder, { clock, logger });
  let work = Promise.resolve();
  const again = (): void => {
    work = renew().catch((thrown: unknown) => logger.error({ reason: errorMessage(thrown) }, 'the root is not renewed'));
    timer = clock.after(RENEWAL_CHECK_MS, again);
  };
  let timer = clock.after(RENEWAL_CHECK_MS, again);
  return {
    authority,
    async close() {
      timer.cancel();
      await work;
      await close();
    },
  };
}

/** A mounted CA where there is one, else the Secrets of the CA's namespace. Resolves once there is a CA, however long that takes. */
export async function followKeysOfCluster(settings: CaSettings, context: KeyContext & { readonly client: KubeClient }): Promise<KeySource> {
  const { pluggedInDir, podNamespace: namespace, trustDomain, rootTtl: ttlMs, keyAlgorithm: algorithm } = settings;
  if (await hasCaFiles(pluggedInDir)) return watchAuthority(pluggedInDir, { ...context, isMounted: true });
  const stack = new CloseStack();
  const secrets = stack.use(followKeySecrets({ ...context, namespace, root: { trustDomain, ttlMs, algorithm } }));
  const first = (await secrets.authority.until((authority) => authority !== undefined)) as Authority;
  const authority = new Watchable<Authority>(first, isSameAuthority);
  stack.defer(
    secrets.authority.watch((next) => {
      if (next) authority.set(next);
    }) as () => void,
  );
  return { authority, close: () => stack.close() };
}
