import { type Clock, CloseStack, type Logger, type Random, type Running } from '@mizzen/core';
import { createLeaderElection, type KubeClient } from '@mizzen/kube';
import { followReplicas, withReports } from './replica-reports.ts';
import { runResourceStatusWriter, type StatusSource } from './resource-status-writer.ts';
import { runTrustBundleController } from './trust-bundle-controller.ts';
import { runWhileLeading } from './while-leading.ts';

const LEASE = 'mizzen-control-plane-leader';

export interface ControllerContext {
  readonly client: KubeClient;
  /** The mesh's root namespace, where the control plane runs. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Whatever only one control plane may do at a time; another takes over when it goes. */
export function startControllers(
  options: ControllerContext & {
    /** Who we are in the Lease: the pod's name. */
    readonly podName: string;
    /** Where the other control planes say what their proxies have. */
    readonly debugPort: number;
    readonly status: StatusSource;
    /** Further controllers, started with each term of leadership. */
    readonly others?: readonly (() => Running)[];
  },
): Running {
  const { client, namespace, podName, clock, random, logger, status, others = [] } = options;
  const stack = new CloseStack();
  const election = stack.use(createLeaderElection({ client, namespace, name: LEASE, identity: podName, clock, random, logger }));
  const start = (): Running => {
    const term = new CloseStack();
    term.use(runTrustBundleController(options));
    const replicas = term.use(followReplicas(options));
    const everywhere: StatusSource = {
      resources: () => withReports(status.resources(), replicas.reports.value),
      changes: [...status.changes, replicas.reports],
    };
    term.use(runResourceStatusWriter(everywhere, options));
    for (const other of others) term.use(other());
    return term;
  };
  stack.use(runWhileLeading(election, start));
  election.start();
  return stack;
}
