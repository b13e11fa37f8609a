import type { OwnerReference, Pod } from './pod.ts';

/** What a pod belongs to: the thing that a person made. */
export interface PodWorkload {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

// A CronJob names its Jobs `<name>-<minutes since the epoch>`.
const CRON_JOB_NAME = /^(.+)-\d{8,10}$/;

/**
 * The Deployment behind a ReplicaSet, the CronJob behind a Job, any other controller as it is, else the pod itself. A pod that is being
 * created has only `generateName`. Source: istio pkg/kube/controllers GetDeployMetaFromPod (1.32 dev).
 */
export function workloadOf(pod: Pod, namespace: string): PodWorkload {
  const owner = pod.metadata?.ownerReferences?.find(({ controller }) => controller === true);
  if (!owner) return { apiVersion: 'v1', kind: 'Pod', name: podNameOf(pod), namespace };
  return { ...aboveOwner(owner, pod), namespace };
}

/** The pod's name, or what its name will begin with. */
function podNameOf(pod: Pod): string {
  return pod.metadata?.name ?? (pod.metadata?.generateName ?? '').replace(/-+$/, '');
}

function aboveOwner({ apiVersion, kind, name }: OwnerReference, pod: Pod): Omit<PodWorkload, 'namespace'> {
  const hash = pod.metadata?.labels?.['pod-template-hash'];
  if (kind === 'ReplicaSet' && hash && name.endsWith(`-${hash}`))
    return { apiVersion, kind: 'Deployment', name: name.slice(0, -hash.length - 1) };
  const cronJob = kind === 'Job' ? CRON_JOB_NAME.exec(name)?.[1] : undefined;
  if (cronJob !== undefined) return { apiVersion: 'batch/v1', kind: 'CronJob', name: cronJob };
  return { apiVersion, kind, name };
}

/** `kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1`: the node metadata OWNER. */
export function ownerUrlOf({ apiVersion, kind, name, namespace }: PodWorkload): string {
  return `kubernetes://apis/${apiVersion}/namespaces/${namespace}/${kind.toLowerCase()}s/${name}`;
}

/** `service.istio.io/canonical-name`: label, then app.kubernetes.io/name, app, the workload. At most 63 characters. */
export function canonicalNameOf(pod: Pod, workload: PodWorkload): string {
  const labels = pod.metadata?.labels ?? {};
  const name = labels['service.istio.io/canonical-name'] || labels['app.kubernetes.io/name'] || labels['app'] || workload.name;
  return name.slice(0, 63).replace(/^[-_.]+|[-_.]+$/g, '');
}

/** `service.istio.io/canonical-revision`: label, then app.kubernetes.io/version, version, `latest`. */
export function canonicalRevisionOf(pod: Pod): string {
  const labels = pod.metadata?.labels ?? {};
  return labels['service.istio.io/canonical-revision'] || labels['app.kubernetes.io/version'] || labels['version'] || 'latest';
}
