import { MizzenError, parseDurationMs } from '@mizzen/core';
import type { KubeClient } from '@mizzen/kube';
import { type InstallValues, type KubeObject, manifestYaml, PROFILES, renderCrds, renderInstallation } from '@mizzen/manifests';
import { type Command, Option } from 'commander';
import { type ClusterFlags, withCluster } from '../access/connect-cluster.ts';
import { applyCrds, applyObjects, pruneObjects } from '../installation/apply-installation.ts';
import { differences } from '../installation/differences.ts';
import { readInstallValues } from '../installation/install-values.ts';
import { nameOf } from '../installation/kinds.ts';
import { untilNamespacesMayBeUsed } from '../installation/until-gone.ts';
import { waitUntilReady } from '../installation/wait-until-ready.ts';
import { formatOutput } from '../output/format.ts';
import { collect } from './apply.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { parseDuration } from './options.ts';

export interface ClusterOptions extends ClusterFlags {
  readonly timeout: number;
}

interface InstallOptions extends GlobalOptions, ClusterOptions {
  readonly profile: string;
  readonly set: readonly string[];
  readonly values: readonly string[];
  readonly dryRun?: boolean;
  readonly verify?: boolean;
  readonly skipCrds?: boolean;
  readonly wait: boolean;
}

const HELP = `
Profiles: default (two of everything), minimal (no gateway, no telemetry), demo (one of each, an egress gateway, access logs, every request
traced), revision (a second control plane and injector beside an installation), empty. deploy/helm/mizzen/values.yaml documents every value.
A second install changes what is there to what is asked for now, and takes away what is no longer in it.
Which cluster: --kubeconfig and --context, else KUBECONFIG, else ~/.kube/config.

Examples:
  mizzen install
  mizzen install --profile demo --set meshConfig.outboundTrafficPolicy.mode=REGISTRY_ONLY
  mizzen install -f values.yaml --dry-run -o yaml
  mizzen install --set ingressGateway.service.type=NodePort
  mizzen install --profile revision --set revision=canary
`;

export function addInstallCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('install')
    .description('install the mesh into a Kubernetes cluster, or change the installation')
    .addOption(new Option('--profile <name>', 'what to start from').choices(PROFILES).default('default'))
    .option('-f, --values <file>', 'YAML file of values; repeatable', collect, [])
    .option('--set <path=value>', 'one value; repeatable', collect, [])
    .option('--dry-run', 'print what would be applied and do nothing')
    .option('--verify', 'apply nothing: say whether the installation is there as it would be applied, and ready')
    .option('--skip-crds', 'leave the kinds as they are')
    .option('--no-wait', 'do not wait until everything is ready');
  addClusterOptions(command, '5m')
    .addHelpText('after', HELP)
    .action(async (_: unknown, self: Command) => install(self.optsWithGlobals<InstallOptions>(), context));
}

/** The flags of every command that works on a cluster. */
export function addClusterOptions(command: Command, timeout: string): Command {
  return (
    command
      .option('--kubeconfig <file>', 'kubeconfig of the cluster')
      .option('--context <name>', 'context of the kubeconfig')
      // Said to every command that may mean a cluster; this one always does.
      .addOption(new Option('--kubernetes').hideHelp())
      .addOption(
        new Option('--timeout <duration>', 'give up after this long, with exit code 1')
          .argParser(parseDuration)
          .default(parseDurationMs(timeout), timeout),
      )
  );
}

async function install(options: InstallOptions, context: CommandContext): Promise<void> {
  const values = await readInstallValues(options);
  const crds = options.skipCrds ? [] : renderCrds();
  const objects = renderInstallation(values);
  if (options.dryRun) return context.print(formatManifests([...crds, ...objects], options));
  await withCluster(options, context, (client) =>
    options.verify
      ? verify(client, [...crds, ...objects], { options, context })
      : applyAll(client, { crds, objects, values }, { options, context }),
  );
}

interface Run {
  readonly options: InstallOptions;
  readonly context: CommandContext;
}

interface Installation {
  readonly crds: readonly KubeObject[];
  readonly objects: readonly KubeObject[];
  readonly values: InstallValues;
}

async function applyAll(client: KubeClient, { crds, objects, values }: Installation, { options, context }: Run): Promise<void> {
  const { clock, message } = context;
  message(`installing into ${client.server}`);
  await applyCrds(client, crds, { clock, timeoutMs: options.timeout });
  if (crds.length > 0) message(`kinds: ${crds.length} served`);
  await untilNamespacesMayBeUsed(client, objects, { clock, timeoutMs: options.timeout, message });
  await applyObjects(client, objects);
  message(`objects: ${objects.length} applied in ${values.namespace}`);
  const pruned = await pruneObjects(client, objects, values.revision);
  for (const name of pruned) message(`no longer part of the installation, deleted: ${name}`);
  if (options.wait) await waitUntilReady(client, objects, { clock, timeoutMs: options.timeout, message });
  context.print(nextSteps(values));
}

function nextSteps({ revision }: InstallValues): string {
  const label = revision === 'default' ? 'istio-injection=enabled' : `istio.io/rev=${revision}`;
  return `installed; \`kubectl label namespace default ${label}\` takes the pods of a namespace in as they are made anew\n`;
}

function formatManifests(objects: readonly KubeObject[], { output }: GlobalOptions): string {
  if (output === 'yaml') return manifestYaml(objects);
  return formatOutput(output, objects, () => objects.map(({ kind, metadata }) => `${nameOf(kind, metadata)}\n`).join(''));
}

/** Compares by a dry run of the API server, which knows its own defaults and what other owners may change. */
async function verify(client: KubeClient, objects: readonly KubeObject[], { options, context }: Run): Promise<void> {
  const different = await differences(client, objects);
  if (different.length > 0)
    throw new MizzenError(
      'MIZZEN_KUBERNETES',
      `not as it would be installed; \`mizzen install\` with the same flags makes it so:\n${different.join('\n')}`,
    );
  await waitUntilReady(client, objects, { ...context, timeoutMs: options.timeout });
  context.print(`verified: ${objects.length} objects are as they would be installed, and everything is ready\n`);
}
