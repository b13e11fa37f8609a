import type { KubeClient, KubeObject } from '@mizzen/kube';
import { kubeKindOf } from '@mizzen/mesh-api';

export const WORKLOAD_ENTRY = kubeKindOf('WorkloadEntry');
export const WORKLOAD_GROUP = kubeKindOf('WorkloadGroup');

/** Source: istio pkg/autoregistration annotations (1.32). */
export const CONTROLLER_ANNOTATION = 'istio.io/workloadController';
export const CONNECTED_ANNOTATION = 'istio.io/connectedAt';
export const DISCONNECTED_ANNOTATION = 'istio.io/disconnectedAt';

/** Removes the entry as it was read; one that somebody changed since stays. Rejects with a conflict then. */
export async function deleteEntryAsRead(client: KubeClient, { metadata }: KubeObject): Promise<void> {
  const { namespace, name, resourceVersion, uid } = metadata;
  await client.request({
    method: 'DELETE',
    path: `/apis/${WORKLOAD_ENTRY.apiVersion}/namespaces/${namespace}/${WORKLOAD_ENTRY.plural}/${name}`,
    body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { resourceVersion, uid } },
  });
}
