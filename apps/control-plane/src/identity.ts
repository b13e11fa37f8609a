import { type Clock, type Logger, MizzenError, type Running, Watchable } from '@mizzen/core';
import {
  createServerCredentials,
  createSvidManager,
  formatSpiffeId,
  joinTokenFromFile,
  type TlsIdentity,
  tlsIdentityOf,
} from '@mizzen/identity';
import type { ServerCredentials } from '@mizzen/xds-server';
import type { ControlPlaneSettings } from './settings.ts';

/** The service account that agents expect behind the mTLS port, in the root namespace. */
const SERVICE_ACCOUNT = 'istiod';

export interface ControlPlaneIdentity extends Running {
  /** Follow the SVID as it rotates. */
  readonly credentials: ServerCredentials;
  /** Undefined until the CA has answered for the first time. */
  readonly tls: Watchable<TlsIdentity | undefined>;
}

/** Begins to get and renew the control plane's own SVID. The CA may be away: then it is asked until it answers. Throws MIZZEN_SETTINGS. */
export function startIdentity(
  settings: ControlPlaneSettings,
  context: { trustDomain: string; rootNamespace: string; clock: Clock; logger: Logger },
): ControlPlaneIdentity {
  const { caAddress, caRoot, joinToken, joinTokenFile } = settings;
  if (caAddress === undefined || caRoot === undefined)
    throw new MizzenError(
      'MIZZEN_SETTINGS',
      '--ca-address needs --ca-root (or MIZZEN_CA_ROOT): a file with the root certificate of the CA',
    );
  const { trustDomain, rootNamespace: namespace, clock, logger } = context;
  const manager = createSvidManager({
    caAddress,
    caRootFile: caRoot,
    joinToken: joinTokenFile === undefined ? () => Promise.resolve(joinToken) : joinTokenFromFile(joinTokenFile),
    spiffeId: formatSpiffeId({ trustDomain, namespace, serviceAccount: SERVICE_ACCOUNT }),
    clock,
    random: Math.random,
    logger,
  });
  const tls = new Watchable<TlsIdentity | undefined>(undefined);
  const stopWatching = manager.svid.watch((svid) => tls.set(svid && tlsIdentityOf(svid)));
  const credentials = createServerCredentials(tls, { clientCertificate: 'required' });
  // Rejects only when it is closed before the first SVID came; the manager itself logs why there is none.
  manager.start().catch(() => {});
  return {
    credentials,
    tls,
    async close() {
      stopWatching();
      credentials.stop();
      await manager.close();
    },
  };
}
