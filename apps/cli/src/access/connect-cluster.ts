import { type ConnectedKubeClient, connectKubernetes } from '@mizzen/kube';
import type { CommandContext } from '../commands/context.ts';

/** The flags that say which cluster; without them KUBECONFIG, else ~/.kube/config. */
export interface ClusterFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** The cluster that the flags mean. Throws MIZZEN_KUBERNETES where there is none; close what comes back. */
export function connectCluster({ kubeconfig, context }: ClusterFlags, { env }: CommandContext): Promise<ConnectedKubeClient> {
  return connectKubernetes({ env, ...(kubeconfig !== undefined && { kubeconfig }), ...(context !== undefined && { context }) });
}

/** Runs with the cluster that the flags mean, and closes the connection. */
export async function withCluster<T>(
  flags: ClusterFlags,
  context: CommandContext,
  run: (client: ConnectedKubeClient) => Promise<T>,
): Promise<T> {
  const client = await connectCluster(flags, context);
  try {
    return await run(client);
  } finally {
    await client.close();
  }
}
