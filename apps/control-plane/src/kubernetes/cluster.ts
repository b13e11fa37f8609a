import { CloseStack, type Running } from '@mizzen/core';
import type { ControlPlane, ControlPlaneOptions } from '../control-plane.ts';
import { type ControllerContext, startControllers } from './controllers.ts';
import { createCredentialsOfIdentity } from './credentials-of-identity.ts';
import { type IngressStatuses, runIngressStatusWriter } from './ingress-status-writer.ts';
import { createSecretAccess } from './secret-access.ts';
import { runWorkloadEntryCleanup } from './workload-entry-cleanup.ts';
import { createWorkloadEntryStore } from './workload-entry-store.ts';

/** What a control plane does to a cluster, beside reading from it. */
export interface ClusterSide {
  /** What the control plane is made with. */
  readonly options: Pick<ControlPlaneOptions, 'credentialsOfIdentity' | 'registeredWorkloads'>;
  /** Begins to write: WorkloadEntries always, status and trust bundles while this is the leader. */
  start(controlPlane: ControlPlane): Running;
}

/** Does nothing by itself until `start`. */
export function createClusterSide(
  context: ControllerContext & {
    readonly podName: string;
    readonly debugPort: number;
    readonly disconnectGraceMs: number;
    readonly ingressStatuses: IngressStatuses;
  },
): ClusterSide {
  const { podName, disconnectGraceMs: graceMs } = context;
  let joined: ControlPlane | undefined;
  const access = createSecretAccess({
    ...context,
    connected: () => joined?.server.status().flatMap(({ identity }) => (identity === undefined ? [] : [identity])) ?? [],
    onChange: () => joined?.pushSecrets(),
  });
  return {
    options: {
      credentialsOfIdentity: createCredentialsOfIdentity(access),
      registeredWorkloads: createWorkloadEntryStore({ ...context, podName }),
    },
    start(controlPlane) {
      joined = controlPlane;
      const { server, resources } = controlPlane;
      const stack = new CloseStack();
      stack.use(access);
      stack.use(
        startControllers({
          ...context,
          status: { resources: () => resources.value(), changes: [resources, server.activity] },
          others: [() => runWorkloadEntryCleanup({ ...context, graceMs }), () => runIngressStatusWriter(context.ingressStatuses, context)],
        }),
      );
      return stack;
    },
  };
}
