import type { RequestOptions } from 'node:https';
import { errorMessage } from '@mizzen/core';
import type { Access, AccessSource } from './access.ts';
import { KubeError } from './kube-error.ts';
import { type Kubeconfig, readKubeconfig } from './kubeconfig.ts';

// A plugin or an identity provider may be slow, but not for ever.
const TIMEOUT_MS = 60_000;

/** The API server of a kubeconfig's context, with the credentials that the library makes of it. Rejects with MIZZEN_KUBERNETES. */
export async function kubeconfigAccess(files: string, context: string | undefined): Promise<AccessSource> {
  let read = readKubeconfig(files, context);
  let pending: Promise<Access> | undefined;
  const { server, namespace } = await read;
  return {
    server,
    namespace,
    // Requests at the same time share one answer: the library would run a plugin for each.
    access() {
      pending ??= read.then(accessOf).finally(() => {
        pending = undefined;
      });
      return pending;
    },
    // What the library keeps of plugins and token files goes with the old one. Half written or gone: that one is tried again.
    renew() {
      const previous = read;
      read = readKubeconfig(files, context).catch(() => previous);
    },
  };
}

async function accessOf({ config, cluster, user }: Kubeconfig): Promise<Access> {
  const options: RequestOptions = {};
  try {
    await inTime(config.applyToHTTPSOptions(options));
    const given = Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value).trim()] as const);
    const basic = options.auth && { authorization: `Basic ${Buffer.from(options.auth).toString('base64')}` };
    const headers = { ...basic, ...Object.fromEntries(given), ...user.impersonation };
    if (user.authProvider && !('authorization' in headers))
      throw new Error(`auth-provider ${user.authProvider.name} gives no credential; log in again, or use an exec plugin`);
    const { ca, cert, key, servername, agent } = options as RequestOptions & Access;
    return {
      headers,
      isVerified: options.rejectUnauthorized !== false,
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(servername && { servername }),
      ...(cluster.proxyUrl && agent && { agent }),
    };
  } catch (thrown) {
    const { command, installHint } = user.exec ?? {};
    const what = command === undefined ? `the credentials of user ${user.name} of the kubeconfig` : `the credential plugin ${command}`;
    const hint = installHint ? `; ${installHint}` : '';
    throw new KubeError(`${what} failed: ${errorMessage(thrown)}${hint}`, { status: 0, cause: thrown });
  }
}

async function inTime(work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  await Promise.race([work, promise]).finally(() => clearTimeout(timer));
}
