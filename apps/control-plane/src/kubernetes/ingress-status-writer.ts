import { isDeepStrictEqual } from 'node:util';
import type { Running, Watchable } from '@mizzen/core';
import { createReconciler, KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import type { IngressStatus } from '@mizzen/sources';
import type { ControllerContext } from './controllers.ts';

/** Where the Ingresses that the mesh serves say that they are reached. */
export type IngressStatuses = Pick<Watchable<readonly IngressStatus[]>, 'value' | 'watch'>;

const { Ingress } = KINDS_OF_KUBERNETES;

/** Writes into each Ingress where it is reached; only what differs. Source: istio pilot/pkg/config/kube/ingress/status.go (1.32). */
export function runIngressStatusWriter(statuses: IngressStatuses, context: ControllerContext): Running {
  const { client } = context;
  const written = new Map<string, IngressStatus['loadBalancer']>();
  const reconcile = async (): Promise<void> => {
    const present = new Set(statuses.value.map(({ namespace, name }) => `${namespace}/${name}`));
    // One that was deleted and comes back begins without a status.
    for (const key of written.keys()) if (!present.has(key)) written.delete(key);
    for (const { namespace, name, loadBalancer } of statuses.value) {
      const key = `${namespace}/${name}`;
      if (isDeepStrictEqual(written.get(key), loadBalancer)) continue;
      const object = await client.find<KubeObject>(Ingress, { namespace, name });
      if (!object) continue;
      if (!isDeepStrictEqual(addressesOf(object), loadBalancer)) {
        const status = { loadBalancer: { ingress: loadBalancer } };
        await client.patch(Ingress, { namespace, name }, { status }, { subresource: 'status' });
      }
      written.set(key, loadBalancer);
    }
  };
  const reconciler = createReconciler({ ...context, reconcile, dependsOn: [statuses], failure: 'the status of Ingresses is not written' });
  reconciler.trigger();
  return reconciler;
}

function addressesOf(ingress: KubeObject): readonly Record<string, string>[] {
  const status = ingress['status'] as { loadBalancer?: { ingress?: readonly Record<string, string>[] } } | undefined;
  return (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ({
    ...(ip !== undefined && { ip }),
    ...(hostname !== undefined && { hostname }),
  }));
}
