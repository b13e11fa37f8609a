import { errorMessage } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeName, type KubeObject } from '@mizzen/kube';
import { labelSelectorOf } from './kinds.ts';
import type { DeploymentObject } from './wait-until-ready.ts';

interface ContainerStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly restartCount: number;
  readonly state?: { readonly waiting?: { readonly reason?: string; readonly message?: string } };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

interface Pod extends KubeObject {
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: readonly Condition[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

interface Event extends KubeObject {
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTimestamp?: string;
  readonly eventTime?: string;
}

/** Lines that say what keeps a Deployment from being ready: conditions, pods, their last warning and the last line of their log. */
export async function whyNotReady(client: KubeClient, name: KubeName): Promise<readonly string[]> {
  const deployment = await client.find<DeploymentObject & { status?: { conditions?: readonly Condition[] } }>(
    KINDS_OF_KUBERNETES.Deployment,
    name,
  );
  if (!deployment) return [`${name.name}: the Deployment is gone`];
  const pods = await podsOf(client, deployment);
  const failing = (deployment.status?.conditions ?? []).filter(({ type, status }) => type === 'ReplicaFailure' && status === 'True');
  const head = `${name.name}: ${pods.filter(isReady).length} of ${deployment.spec.replicas ?? 1} ready`;
  const lines = await Promise.all(pods.filter((pod) => !isReady(pod)).map((pod) => aboutPod(client, pod)));
  const none = pods.length === 0 && failing.length === 0 ? ['  no pod was made; is the controller manager running?'] : [];
  return [head, ...failing.map(({ message }) => `  ${message ?? 'pods cannot be made'}`), ...none, ...lines.flat()];
}

async function podsOf(client: KubeClient, { metadata, spec }: DeploymentObject): Promise<readonly Pod[]> {
  const labelSelector = labelSelectorOf(spec.selector.matchLabels);
  return client.list<Pod>(KINDS_OF_KUBERNETES.Pod, { namespace: metadata.namespace ?? 'default', labelSelector });
}

function isReady({ status }: Pod): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') ?? false;
}

async function aboutPod(client: KubeClient, pod: Pod): Promise<readonly string[]> {
  const containers = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].filter(({ ready }) => !ready);
  const unscheduled = pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  const [warning, log] = await Promise.all([lastWarning(client, pod), lastLogLine(client, pod, containers[0]?.name)]);
  return [
    `  pod ${pod.metadata.name}: ${pod.status?.phase ?? 'unknown'}`,
    ...(unscheduled ? [`    not scheduled: ${unscheduled.message ?? unscheduled.reason ?? ''}`] : []),
    ...containers.map(aboutContainer),
    ...(warning === undefined ? [] : [`    event: ${warning}`]),
    ...(log === undefined ? [] : [`    log: ${log}`]),
  ];
}

function aboutContainer({ name, restartCount, state }: ContainerStatus): string {
  const { reason, message } = state?.waiting ?? {};
  const restarts = restartCount > 0 ? `, restarted ${restartCount} times` : '';
  return `    container ${name}: ${reason ?? 'started, but not ready'}${message ? `: ${message}` : ''}${restarts}`;
}

async function lastWarning(client: KubeClient, { metadata }: Pod): Promise<string | undefined> {
  const fieldSelector = `involvedObject.name=${metadata.name},type=Warning`;
  const events = await client.list<Event>(KINDS_OF_KUBERNETES.Event, { namespace: metadata.namespace ?? 'default', fieldSelector });
  const timeOf = ({ lastTimestamp, eventTime }: Event): string => lastTimestamp ?? eventTime ?? '';
  const last = [...events].sort((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1);
  return last && `${last.reason ?? ''}: ${last.message ?? ''}`;
}

async function lastLogLine(client: KubeClient, { metadata }: Pod, container: string | undefined): Promise<string | undefined> {
  if (container === undefined) return undefined;
  const path = `/api/v1/namespaces/${metadata.namespace ?? 'default'}/pods/${metadata.name}/log`;
  const ask = (previous: boolean): Promise<unknown> =>
    client.request({ method: 'GET', path, query: { container, tailLines: '3', ...(previous ? { previous: 'true' } : {}) } });
  try {
    const text = await ask(true).catch(() => ask(false));
    return String(text)
      .split('\n')
      .findLast((line) => line.trim() !== '')
      ?.slice(0, 500);
  } catch (thrown) {
    return errorMessage(thrown).includes('waiting to start') ? undefined : errorMessage(thrown);
  }
}
