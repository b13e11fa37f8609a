import type { KubeObject, V1Pod } from '@mizzen/kube';

/** What is kept of a Pod that has an address and did not end. */
export interface KeptPod {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  /** The first is the primary one. */
  readonly addresses: readonly string[];
  readonly nodeName: string;
  readonly isReady: boolean;
}

export function keepPod(object: KubeObject): KeptPod | undefined {
  const { name, namespace = 'default', labels = {}, deletionTimestamp } = object.metadata;
  const { spec, status = {} } = object as Pick<V1Pod, 'spec' | 'status'>;
  const addresses = status.podIPs?.flatMap(({ ip }) => (ip ? [ip] : [])) ?? (status.podIP ? [status.podIP] : []);
  if (addresses.length === 0 || status.phase === 'Succeeded' || status.phase === 'Failed') return undefined;
  // Said of every pod that a kubelet looks after; without a kubelet nobody knows better.
  const ready = status.conditions?.find(({ type }) => type === 'Ready')?.status ?? 'True';
  return {
    name,
    namespace,
    labels,
    serviceAccount: spec?.serviceAccountName ?? 'default',
    addresses,
    nodeName: spec?.nodeName ?? '',
    isReady: ready === 'True' && deletionTimestamp === undefined,
  };
}
