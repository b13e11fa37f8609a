import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { caSettings, startCa } from '@mizzen/ca';
import { CloseStack, type Logger, type Running, readSettings, systemClock, Watchable } from '@mizzen/core';
import {
  createJoinToken,
  createServerCredentials,
  createSvidManager,
  ensureJoinTokenKey,
  formatSpiffeId,
  type SpiffeIdParts,
  type Svid,
  type TlsIdentity,
  tlsIdentityOf,
} from '@mizzen/identity';
import type { ServerCredentials } from '@mizzen/xds-server';

/** The CA of a mesh, over a folder of its own. */
export interface MeshIdentity extends Running {
  readonly trustDomain: string;
  readonly caAddress: string;
  readonly rootFile: string;
  joinToken(who: Pick<SpiffeIdParts, 'namespace' | 'serviceAccount'>): Promise<string>;
  /** A certificate of this CA, for clients that no agent serves. */
  svid(who: Pick<SpiffeIdParts, 'namespace' | 'serviceAccount'>): Promise<Svid>;
  /** Credentials of the control plane, certified by this CA. */
  controlPlaneCredentials(): Promise<ServerCredentials>;
}

export async function startIdentity(trustDomain: string, logger: Logger): Promise<MeshIdentity> {
  const stack = new CloseStack();
  const home = await mkdtemp(join(tmpdir(), 'mizzen-mesh-'));
  stack.defer(() => rm(home, { recursive: true, force: true }));
  try {
    const argv = ['--home', home, '--ca-port', '0', '--http-port', '0', '--trust-domain', trustDomain];
    const ca = stack.use(await startCa(readSettings(caSettings, { argv, env: {} }).values, { logger, clock: systemClock }));
    const caAddress = `127.0.0.1:${ca.ports.grpc}`;
    const rootFile = join(home, 'ca', 'root-cert.pem');
    const { privateKey } = await ensureJoinTokenKey(join(home, 'ca', 'join-token-key.pem'));
    const joinToken: MeshIdentity['joinToken'] = (who) =>
      createJoinToken(privateKey, { spiffeId: formatSpiffeId({ trustDomain, ...who }) });
    const svid: MeshIdentity['svid'] = (who) => {
      const manager = stack.use(
        createSvidManager({
          caAddress,
          caRootFile: rootFile,
          joinToken: () => joinToken(who),
          spiffeId: formatSpiffeId({ trustDomain, ...who }),
          clock: systemClock,
          random: Math.random,
          logger,
        }),
      );
      return manager.start();
    };
    return {
      trustDomain,
      caAddress,
      rootFile,
      joinToken,
      svid,
      async controlPlaneCredentials() {
        const own = await svid({ namespace: 'istio-system', serviceAccount: 'istiod' });
        const identity = new Watchable<TlsIdentity | undefined>(tlsIdentityOf(own));
        const credentials = createServerCredentials(identity, { clientCertificate: 'required' });
        stack.defer(() => credentials.stop());
        return credentials;
      },
      close: () => stack.close(),
    };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}
