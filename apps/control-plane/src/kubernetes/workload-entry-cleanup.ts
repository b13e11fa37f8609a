import type { Running } from '@mizzen/core';
import { createReconciler, createReflector, isConflict, isNotFound, KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { AUTO_REGISTRATION_GROUP_ANNOTATION } from '@mizzen/model';
import type { ControllerContext } from './controllers.ts';
import {
  CONNECTED_ANNOTATION,
  CONTROLLER_ANNOTATION,
  DISCONNECTED_ANNOTATION,
  deleteEntryAsRead,
  WORKLOAD_ENTRY,
} from './workload-entry-object.ts';

/** Beyond the grace that the control plane itself keeps, so that it comes first. Source: istio's periodic cleanup runs every 10 s. */
const CHECK_MS = 10_000;

/**
 * Takes the WorkloadEntries back whose control plane did not: it crashed, or was replaced, and the agent never came to another one. An entry
 * without a connection is first marked as disconnected and goes after the grace.
 */
export function runWorkloadEntryCleanup(context: ControllerContext & { readonly graceMs: number }): Running {
  const { client, clock, namespace: rootNamespace, logger, graceMs } = context;
  const entries = createReflector<KubeObject>({
    client,
    logger,
    kind: WORKLOAD_ENTRY,
    isOptional: true,
    keep: ({ metadata }) => (metadata.annotations?.[AUTO_REGISTRATION_GROUP_ANNOTATION] === undefined ? undefined : { metadata }),
  });
  const isRunning = async (pod: string, known: Map<string, boolean>): Promise<boolean> => {
    const answer = known.get(pod) ?? (await client.find(KINDS_OF_KUBERNETES.Pod, { name: pod, namespace: rootNamespace })) !== undefined;
    known.set(pod, answer);
    return answer;
  };
  const check = async (entry: KubeObject, pods: Map<string, boolean>): Promise<void> => {
    const { [DISCONNECTED_ANNOTATION]: disconnectedAt, [CONTROLLER_ANNOTATION]: controller } = entry.metadata.annotations ?? {};
    const now = clock.now();
    if (disconnectedAt !== undefined) {
      if (now - Date.parse(disconnectedAt) < graceMs + CHECK_MS) return;
      await deleteEntryAsRead(client, entry);
      logger.info({ entry: `${entry.metadata.namespace}/${entry.metadata.name}` }, 'WorkloadEntry of a lost agent removed');
    } else if (controller !== undefined && !(await isRunning(controller, pods))) {
      const { name, namespace = '', resourceVersion } = entry.metadata;
      const annotations = { [DISCONNECTED_ANNOTATION]: new Date(now).toISOString(), [CONNECTED_ANNOTATION]: null };
      await client.patch(WORKLOAD_ENTRY, { name, namespace }, { metadata: { resourceVersion, annotations } });
    }
  };
  const reconcile = async (): Promise<void> => {
    const pods = new Map<string, boolean>();
    for (const entry of entries.objects.value.values()) {
      await check(entry, pods).catch((thrown: unknown) => {
        // Somebody changed it: it is looked at again.
        if (!isConflict(thrown) && !isNotFound(thrown)) throw thrown;
      });
    }
  };
  const reconciler = createReconciler({
    ...context,
    reconcile,
    dependsOn: [entries.synced],
    everyMs: CHECK_MS,
    failure: 'lost WorkloadEntries are not removed',
  });
  entries.start();
  return {
    async close() {
      await reconciler.close();
      await entries.close();
    },
  };
}
