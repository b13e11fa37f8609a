import { MizzenError } from '@mizzen/core';
import { createResourceStore } from '@mizzen/sources';
import { stateOf } from '../commands/context.ts';
import { fetchJson } from '../commands/debug-api.ts';
import { proxyName } from '../commands/sync-status.ts';
import type { Home } from '../home.ts';
import { documentErrors } from '../local/configuration-report.ts';
import { printLocalLog } from './local-log.ts';
import type { MeshAccess } from './mesh-access.ts';

/** The mesh of a local home, or of compose with its debug port published: a directory of configuration and one control plane. */
export function localAccess(home: Home, options: { readonly debugAddress?: string | undefined } = {}): MeshAccess {
  return {
    resources: createResourceStore({ directory: home.config }),
    documentErrors: () => documentErrors(home.config),
    async debug(path) {
      const address = options.debugAddress ?? stateOf(home)?.addresses.debug;
      if (address !== undefined) return [await fetchJson(`http://${address}${path}`)];
      throw new MizzenError(
        'MIZZEN_NOT_RUNNING',
        `no mesh runs in ${home.root}; \`mizzen up\` starts it, --home or --debug-address name another, --kubernetes means a cluster's`,
      );
    },
    admin(proxy, path) {
      if (proxy.admin_address) return fetchJson(`http://${proxy.admin_address}${path}`);
      throw new MizzenError('MIZZEN_RESOURCE', `${proxyName(proxy)} does not say its admin address; give it with --admin-address`);
    },
    printLog: (process, options) => printLocalLog(home, process, options),
    close: async () => undefined,
  };
}
