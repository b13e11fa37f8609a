import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import { errorMessage, MizzenError } from '@mizzen/core';
import { type ConnectedKubeClient, KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { proxyName } from '../commands/sync-status.ts';
import { createKubernetesStore } from './kubernetes-store.ts';
import type { MeshAccess } from './mesh-access.ts';
import { printPodLog } from './pod-log.ts';

interface PodObject extends KubeObject {
  readonly status?: { readonly phase?: string };
}

interface ServiceObject extends KubeObject {
  readonly spec?: { readonly selector?: Readonly<Record<string, string>> };
}

const CONTROL_PLANE_SERVICE = 'istiod';
const DEBUG_PORT = 15_014;
const ADMIN_PORT = 15_000;
const TIMEOUT_MS = 20_000;

/**
 * The mesh of a cluster, by nothing but its API server: resources are objects; a control plane's debug port is asked through the pod's proxy
 * subresource, a proxy's admin port, which listens on the pod's loopback alone, through a port-forward.
 */
export function kubernetesAccess(client: ConnectedKubeClient, meshNamespace: string): MeshAccess {
  return {
    resources: createKubernetesStore(client),
    documentErrors: () => [],
    async debug(path) {
      const pods = await controlPlanes(client, meshNamespace);
      const answers = await Promise.allSettled(pods.map((pod) => askPod(client, pod, path)));
      const good = answers.filter((answer) => answer.status === 'fulfilled').map(({ value }) => value);
      if (good.length > 0) return good;
      const reasons = answers.flatMap((answer) => (answer.status === 'rejected' ? [errorMessage(answer.reason)] : []));
      throw new MizzenError('MIZZEN_NOT_RUNNING', `no control plane answers: ${reasons.join('; ')}`);
    },
    async admin(proxy, path) {
      const name = proxyName(proxy);
      const dot = name.lastIndexOf('.');
      const connection = await client.portForward({ name: name.slice(0, dot), namespace: name.slice(dot + 1) }, ADMIN_PORT);
      return getJson(connection, path, name);
    },
    printLog: (process, options) => printPodLog(client, process, options),
    close: () => client.close(),
  };
}

/** The running pods behind the Service. Throws MIZZEN_NOT_RUNNING where there is none. */
async function controlPlanes(client: ConnectedKubeClient, namespace: string): Promise<PodObject[]> {
  const service = await client.find<ServiceObject>(KINDS_OF_KUBERNETES.Service, { name: CONTROL_PLANE_SERVICE, namespace });
  const selector = Object.entries(service?.spec?.selector ?? {}).map(([key, value]) => `${key}=${value}`);
  const pods =
    selector.length === 0 ? [] : await client.list<PodObject>(KINDS_OF_KUBERNETES.Pod, { namespace, labelSelector: selector.join(',') });
  const running = pods.filter(({ metadata, status }) => status?.phase === 'Running' && metadata.deletionTimestamp === undefined);
  if (running.length > 0) return running;
  throw new MizzenError(
    'MIZZEN_NOT_RUNNING',
    `no control plane runs in namespace ${namespace} of ${client.server}; \`mizzen install\` puts one there, --istioNamespace names another`,
  );
}

async function askPod(client: ConnectedKubeClient, { metadata }: PodObject, path: string): Promise<unknown> {
  const [pathname = '', query = ''] = path.split('?');
  const answer = await client.request<unknown>({
    method: 'GET',
    path: `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}:${DEBUG_PORT}/proxy${pathname}`,
    query: Object.fromEntries(new URLSearchParams(query)),
    timeoutMs: TIMEOUT_MS,
  });
  return typeof answer === 'string' ? parseJson(answer, `control plane ${metadata.name}`) : answer;
}

/** One GET over a connection that is there already. */
function getJson(connection: Duplex, path: string, proxy: string): Promise<unknown> {
  const failed = (thrown: unknown): MizzenError =>
    new MizzenError('MIZZEN_NOT_RUNNING', `the proxy ${proxy} does not answer: ${errorMessage(thrown)}`, { cause: thrown });
  return new Promise((resolve, reject) => {
    const call = request({
      path,
      headers: { host: 'localhost', connection: 'close' },
      // biome-ignore lint/suspicious/noExplicitAny: any stream will do for an agent, although its type names a socket
      createConnection: () => connection as any,
      timeout: TIMEOUT_MS,
    });
    connection.on('error', (thrown) => reject(failed(thrown)));
    call.on('error', (thrown) => reject(failed(thrown)));
    call.on('timeout', () => call.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (thrown) => reject(failed(thrown)));
      response.on('end', () => {
        connection.destroy();
        const text = Buffer.concat(chunks).toString('utf8');
        if (response.statusCode !== 200) return reject(failed(new Error(`HTTP status ${response.statusCode} to ${path}`)));
        try {
          resolve(parseJson(text, `proxy ${proxy}`));
        } catch (thrown) {
          reject(thrown);
        }
      });
    });
    call.end();
  });
}

function parseJson(text: string, who: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new MizzenError('MIZZEN_XDS', `the ${who} answers no JSON: ${errorMessage(thrown)}`, { cause: thrown });
  }
}
