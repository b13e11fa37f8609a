import type { Command } from 'commander';
import { withCluster } from '../access/connect-cluster.ts';
import { removeInstallation } from '../installation/remove-installation.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { addClusterOptions, type ClusterOptions } from './install.ts';

interface UninstallOptions extends GlobalOptions, ClusterOptions {
  readonly purge?: boolean;
  readonly revision?: string;
  readonly istioNamespace: string;
}

const HELP = `
Webhooks go first, so that pods can be made again; then everything that was installed, and what it wrote: Leases, the CA's key, the ConfigMap
istio-ca-root-cert of every namespace. The kinds and the resources of them stay unless --purge is given. Pods that run with a sidecar keep it
until they are made anew. The namespace stays where somebody else has objects in it.

Examples:
  mizzen uninstall
  mizzen uninstall --purge
  mizzen uninstall --revision canary
`;

export function addUninstallCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('uninstall')
    .description('take the mesh out of a Kubernetes cluster')
    .option('--purge', 'the kinds too, with every VirtualService, DestinationRule, … there is')
    .option('--revision <name>', 'only this revision; what all revisions share stays')
    .option('--istioNamespace <name>', 'namespace of the mesh in the cluster', 'istio-system');
  addClusterOptions(command, '2m')
    .addHelpText('after', HELP)
    .action(async (_: unknown, self: Command) => uninstall(self.optsWithGlobals<UninstallOptions>(), context));
}

async function uninstall(options: UninstallOptions, context: CommandContext): Promise<void> {
  const { istioNamespace, revision, purge, timeout } = options;
  const { clock, message } = context;
  await withCluster(options, context, async (client) => {
    message(`uninstalling from ${client.server}`);
    await removeInstallation(client, {
      namespace: istioNamespace,
      revision,
      purge: purge ?? false,
      clock,
      timeoutMs: timeout,
      message,
    });
    context.print('uninstalled\n');
  });
}
