import { readFileSync } from 'node:fs';
import { delimiter, dirname, resolve } from 'node:path';
import type { Cluster, KubeConfig, User } from '@kubernetes/client-node';
import { errorCode, errorMessage } from '@mizzen/core';
import { parse } from 'yaml';
import { KubeError } from './kube-error.ts';

/** One context of a kubeconfig, as the library holds it. */
export interface Kubeconfig {
  readonly config: KubeConfig;
  readonly cluster: Cluster;
  readonly user: KubeconfigUser;
  readonly server: URL;
  readonly namespace: string;
}

/** The library's, with what kubectl reads of a user and the library does not. */
export interface KubeconfigUser extends User {
  /** Headers of the whole identity that is taken on. */
  readonly impersonation: Readonly<Record<string, string | readonly string[]>>;
  readonly exec?: ExecConfig | null;
}

/** A program that gives credentials. */
interface ExecConfig {
  readonly apiVersion?: string;
  readonly command: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[] | null;
  readonly installHint?: string;
  readonly provideClusterInfo?: boolean;
}

/** What the library leaves out. Source: kubernetes.io, kubeconfig (v1), AuthInfo. */
interface WrittenUser {
  readonly tokenFile?: string;
  readonly as?: string;
  readonly 'as-uid'?: string;
  readonly 'as-groups'?: readonly string[] | null;
  readonly 'as-user-extra'?: Readonly<Record<string, readonly string[]>> | null;
}

interface Written {
  readonly users?: readonly { readonly name?: string; readonly user?: WrittenUser | null }[] | null;
}

/**
 * Reads kubeconfig files (separated as in PATH; of what several have, the first counts, as for kubectl) and picks a context. Rejects
 * with MIZZEN_KUBERNETES.
 */
export async function readKubeconfig(files: string, context?: string): Promise<Kubeconfig> {
  // Only here: in a pod there is no kubeconfig, and the library costs memory.
  const { KubeConfig } = await import('./kubernetes-client.ts');
  const paths = files.split(delimiter).filter((path) => path !== '');
  const parts = paths.flatMap((path) => load(new KubeConfig(), { path, mayBeMissing: paths.length > 1 }));
  const config = new KubeConfig();
  // The library's mergeConfig refuses a name that two files have; kubectl does not.
  config.loadFromOptions({
    clusters: parts.flatMap(({ clusters }) => clusters),
    users: parts.flatMap(({ users }) => users),
    contexts: parts.flatMap(({ contexts }) => contexts),
    currentContext: context ?? parts.find(({ currentContext }) => currentContext)?.currentContext ?? '',
  });
  return pick(config, files);
}

function pick(config: KubeConfig, files: string): Kubeconfig {
  const name = config.getCurrentContext();
  const context = config.getContextObject(name);
  const known = config.getContexts().map((each) => each.name);
  if (!context) throw refused(files, `it has no context ${name || '(none is current)'}; it has ${known.join(', ') || 'none'}`);
  const cluster = config.getCluster(context.cluster);
  if (!cluster) throw refused(files, `it lacks the cluster "${context.cluster}" of its context ${name}`);
  const user = config.getUser(context.user) as KubeconfigUser | null;
  if (!user) throw refused(files, `it lacks the user "${context.user ?? ''}" of its context ${name}`);
  if (!URL.canParse(cluster.server) || !/^https?:/.test(cluster.server))
    throw refused(files, `the server ${cluster.server} of cluster ${cluster.name} is no URL; write https://host:port`);
  if (cluster.server.startsWith('http:') && !cluster.skipTLSVerify)
    throw refused(
      files,
      `the server ${cluster.server} is not encrypted; use https, or say insecure-skip-tls-verify: true of cluster ${cluster.name}`,
    );
  return {
    config,
    cluster,
    user: withExecInfo(config, { user, cluster }),
    server: new URL(cluster.server),
    namespace: context.namespace ?? 'default',
  };
}

function load(config: KubeConfig, { path, mayBeMissing }: { path: string; mayBeMissing: boolean }): KubeConfig[] {
  try {
    const text = readFileSync(path, 'utf8');
    const written = parse(text) as Written | null;
    if (typeof written !== 'object' || written === null) throw new Error('it is not an object');
    config.loadFromString(text);
    const folder = dirname(resolve(path));
    config.makePathsAbsolute(folder);
    config.users = config.users.map((user) =>
      completed(user, { written: written.users?.find(({ name }) => name === user.name)?.user ?? {}, folder }),
    );
    return [config];
  } catch (thrown) {
    if (mayBeMissing && errorCode(thrown) === 'ENOENT') return [];
    throw refused(path, errorMessage(thrown), thrown);
  }
}

function completed(user: User, { written, folder }: { written: WrittenUser; folder: string }): KubeconfigUser {
  const { token, exec, ...others } = user;
  const { tokenFile } = written;
  return {
    ...others,
    // Of a token and a file with one, the file counts: client-go rest/config.go (0.34).
    ...(tokenFile
      ? { authProvider: { name: 'tokenFile', config: { tokenFile: resolve(folder, tokenFile) } } }
      : token !== undefined && { token }),
    ...(exec && { exec: exec.command?.includes('/') ? { ...exec, command: resolve(folder, exec.command) } : exec }),
    impersonation: impersonationOf(written),
  };
}

/** Source: kubernetes.io, Authenticating, "User impersonation". */
function impersonationOf(written: WrittenUser): KubeconfigUser['impersonation'] {
  const { as, 'as-uid': uid } = written;
  const groups = written['as-groups'] ?? [];
  return {
    ...(as && { 'impersonate-user': as }),
    ...(uid && { 'impersonate-uid': uid }),
    ...(groups.length > 0 && { 'impersonate-group': groups }),
    ...Object.fromEntries(
      Object.entries(written['as-user-extra'] ?? {}).map(([key, values]) => [
        `impersonate-extra-${encodeURIComponent(key).toLowerCase()}`,
        values,
      ]),
    ),
  };
}

/**
 * A plugin learns from its environment which version to answer in; the library says nothing there.
 * Source: kubernetes.io, Authenticating, "client-go credential plugins" (client.authentication.k8s.io/v1).
 */
function withExecInfo(config: KubeConfig, { user, cluster }: { user: KubeconfigUser; cluster: Cluster }): KubeconfigUser {
  const { exec } = user;
  if (!exec) return user;
  const { apiVersion = 'client.authentication.k8s.io/v1', provideClusterInfo } = exec;
  const info = {
    apiVersion,
    kind: 'ExecCredential',
    spec: { interactive: false, ...(provideClusterInfo && { cluster: clusterInfo(cluster) }) },
  };
  const informed = {
    ...user,
    exec: { ...exec, env: [...(exec.env ?? []), { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }] },
  };
  config.users = [informed];
  return informed;
}

function clusterInfo({ server, caData, tlsServerName, skipTLSVerify, proxyUrl }: Cluster): Readonly<Record<string, unknown>> {
  return {
    server,
    'certificate-authority-data': caData,
    'tls-server-name': tlsServerName,
    'insecure-skip-tls-verify': skipTLSVerify,
    'proxy-url': proxyUrl,
  };
}

function refused(files: string, reason: string, cause?: unknown): KubeError {
  return new KubeError(`the kubeconfig ${files} cannot be used: ${reason}; name another with --kubeconfig or KUBECONFIG`, {
    status: 0,
    ...(cause !== undefined && { cause }),
  });
}
