import { readFile } from 'node:fs/promises';
import type { Agent } from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { errorMessage } from '@mizzen/core';
import { KubeError } from './kube-error.ts';
import { kubeconfigAccess } from './kubeconfig-access.ts';

/** What one request needs to reach the API server and be let in. */
export interface Access {
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly ca?: Buffer | string;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  readonly servername?: string;
  /** False: whoever answers is trusted. */
  readonly isVerified: boolean;
  /** Makes the connections, where a proxy stands between (`proxy-url`). */
  readonly agent?: Agent;
}

/** Where the API server is, and the caller's credentials, which may change while the process runs. */
export interface AccessSource {
  readonly server: URL;
  /** Namespace of the context or of the pod; `default` where nothing says another. */
  readonly namespace: string;
  access(): Promise<Access>;
  /** The credentials were refused: read them anew for the next request. */
  renew(): void;
}

export interface AccessOptions {
  /** Path of a kubeconfig. Default: KUBECONFIG, else the pod's service account, else ~/.kube/config. */
  readonly kubeconfig?: string;
  /** Context of the kubeconfig. Default: its current one. */
  readonly context?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Where the pod's service account is mounted. Default /var/run/secrets/kubernetes.io/serviceaccount. */
  readonly serviceAccountDirectory?: string;
}

const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount';
// client-go reads the mounted token again after this time (rest/config.go CachingTokenSource); the kubelet renews it long before its end.
const TOKEN_AGE_MS = 60_000;

/** Finds the API server. Throws MIZZEN_KUBERNETES where there is no configuration or it is wrong. */
export async function findAccess(options: AccessOptions = {}): Promise<AccessSource> {
  const env = options.env ?? process.env;
  const isAsked = options.kubeconfig !== undefined || options.context !== undefined;
  const files = options.kubeconfig ?? env['KUBECONFIG'];
  if (!isAsked && !files && env['KUBERNETES_SERVICE_HOST']) return inClusterAccess(env, options.serviceAccountDirectory);
  return kubeconfigAccess(files || join(homedir(), '.kube', 'config'), options.context);
}

async function inClusterAccess(
  env: Readonly<Record<string, string | undefined>>,
  directory = SERVICE_ACCOUNT_DIRECTORY,
): Promise<AccessSource> {
  const host = env['KUBERNETES_SERVICE_HOST'] ?? '';
  const server = new URL(`https://${host.includes(':') ? `[${host}]` : host}:${env['KUBERNETES_SERVICE_PORT'] ?? '443'}`);
  const read = (name: string): Promise<string> =>
    readFile(join(directory, name), 'utf8').catch((thrown: unknown) => {
      throw new KubeError(
        `the pod's service account has no ${name} (${errorMessage(thrown)}); do not turn automountServiceAccountToken off`,
        {
          status: 0,
          cause: thrown,
        },
      );
    });
  const ca = await read('ca.crt');
  const namespace = await read('namespace').then(
    (text) => text.trim(),
    () => 'default',
  );
  let token = '';
  let readAtMs = Number.NEGATIVE_INFINITY;
  return {
    server,
    namespace,
    async access() {
      if (performance.now() - readAtMs > TOKEN_AGE_MS) {
        token = (await read('token')).trim();
        readAtMs = performance.now();
      }
      return { headers: { authorization: `Bearer ${token}` }, ca, isVerified: true };
    },
    renew() {
      readAtMs = Number.NEGATIVE_INFINITY;
    },
  };
}
