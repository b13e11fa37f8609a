import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { type CommandContext, type GlobalOptions, homeOf, stateOf } from '../commands/context.ts';
import { isProcessAlive } from '../launch/alive.ts';
import { type ClusterFlags, connectCluster } from './connect-cluster.ts';
import { kubernetesAccess } from './kubernetes-access.ts';
import { localAccess } from './local-access.ts';
import type { MeshAccess } from './mesh-access.ts';

/** The flags of every command that may mean a mesh of either home. */
export interface MeshOptions extends ClusterFlags {
  readonly kubernetes?: boolean;
  readonly istioNamespace: string;
  readonly debugAddress?: string;
}

export function addMeshOptions(command: Command): Command {
  return command
    .option(
      '--kubernetes',
      'the mesh of a Kubernetes cluster (default: where no local mesh runs and there is a kubeconfig; env: MIZZEN_KUBERNETES)',
    )
    .option('--kubeconfig <file>', 'kubeconfig of the cluster')
    .option('--context <name>', 'context of the kubeconfig')
    .option('--istioNamespace <name>', 'namespace of the mesh in the cluster', 'istio-system')
    .addOption(debugAddressOption());
}

function debugAddressOption(): Option {
  return new Option('--debug-address <host:port>', "the control plane's debug address (default: that of the mesh in the home)").env(
    'MIZZEN_DEBUG_ADDRESS',
  );
}

/** Runs with the mesh that the command line means, and closes it. */
export async function withMesh<T>(command: Command, context: CommandContext, run: (mesh: MeshAccess) => Promise<T>): Promise<T> {
  const options = command.optsWithGlobals<GlobalOptions & MeshOptions>();
  const mesh = meansKubernetes(command, context)
    ? kubernetesAccess(await connectCluster(options, context), options.istioNamespace)
    : localAccess(homeOf(options), options);
  try {
    return await run(mesh);
  } finally {
    await mesh.close();
  }
}

/**
 * What is said counts: --kubernetes, --kubeconfig or --context means a cluster; --home, --config or --debug-address a local mesh. Where
 * nothing is said, the local mesh that runs, else the cluster that a kubeconfig names, else the local home.
 */
export function meansKubernetes(command: Command, context: CommandContext): boolean {
  const options = command.optsWithGlobals<GlobalOptions & MeshOptions>();
  // Not commander's own reading of the variable, for which "false" is a value like any other.
  if (options.kubernetes || isOn(context.env['MIZZEN_KUBERNETES']) || options.kubeconfig !== undefined || options.context !== undefined)
    return true;
  const isSaid = (name: string): boolean => !['default', undefined].includes(command.getOptionValueSourceWithGlobals(name));
  if (isSaid('home') || isSaid('config') || options.debugAddress !== undefined) return false;
  if (isProcessAlive(stateOf(homeOf(options))?.pid ?? 0)) return false;
  return Boolean(context.env['KUBECONFIG']) || existsSync(join(homedir(), '.kube', 'config'));
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && !/^(false|0|no|off|)$/i.test(value);
}
