import { StringDecoder } from 'node:string_decoder';
import { MizzenError } from '@mizzen/core';
import { type ConnectedKubeClient, KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import type { LogOptions } from './mesh-access.ts';

interface PodObject extends KubeObject {
  readonly spec?: { readonly containers?: readonly NamedContainer[]; readonly initContainers?: readonly NamedContainer[] };
}

interface NamedContainer {
  readonly name: string;
}

const PROXY_CONTAINER = 'istio-proxy';

/** Prints the log of a container of the pod whose name begins so. */
export async function printPodLog(client: ConnectedKubeClient, name: string, options: LogOptions): Promise<void> {
  const pod = await findPod(client, name, options.namespace);
  const log = await client.stream({
    method: 'GET',
    path: `/api/v1/namespaces/${options.namespace}/pods/${pod.metadata.name}/log`,
    query: { container: options.container ?? containerOf(pod), tailLines: String(options.tail), follow: String(options.follow) },
  });
  // A character may arrive in two pieces.
  const decoder = new StringDecoder('utf8');
  for await (const chunk of log) options.print(decoder.write(chunk));
  options.print(decoder.end());
}

/** The pod of that name, else the only one whose name begins so; of several replicas the first, since they tell the same. */
async function findPod(client: ConnectedKubeClient, name: string, namespace: string): Promise<PodObject> {
  const pods = await client.list<PodObject>(KINDS_OF_KUBERNETES.Pod, { namespace });
  const sorted = [...pods].sort((a, b) => a.metadata.name.localeCompare(b.metadata.name));
  const found = sorted.find(({ metadata }) => metadata.name === name) ?? sorted.find(({ metadata }) => metadata.name.startsWith(name));
  if (found) return found;
  const known = sorted.map(({ metadata }) => metadata.name).join(', ');
  throw new MizzenError('MIZZEN_RESOURCE', `no pod's name begins with ${name} in namespace ${namespace}; there are ${known || 'none'}`);
}

function containerOf({ metadata, spec }: PodObject): string {
  const names = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].map((container) => container.name);
  if (names.includes(PROXY_CONTAINER)) return PROXY_CONTAINER;
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return only;
  throw new MizzenError('MIZZEN_SETTINGS', `pod ${metadata.name} has the containers ${names.join(', ')}; say which with -c`);
}
