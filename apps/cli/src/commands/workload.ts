import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MizzenError } from '@mizzen/core';
import type { KubeClient, KubeObject } from '@mizzen/kube';
import { isOfKind, kubeKindOf, manifestOf, type Resource } from '@mizzen/mesh-api';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import { type ClusterFlags, withCluster } from '../access/connect-cluster.ts';
import { readHosts, readMeshConfig, readTrustBundle, requestToken } from '../joining/read-cluster.ts';
import {
  clusterEnvironment,
  hostsFile,
  type JoiningWorkload,
  meshFile,
  serviceAccountOf,
  sidecarEnvironment,
} from '../joining/workload-files.ts';
import { collect } from './apply.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { parseDuration, parsePort } from './options.ts';
import { readResources } from './read-resources.ts';

interface GroupOptions extends GlobalOptions {
  readonly name: string;
  readonly labels: readonly string[];
  readonly annotations: readonly string[];
  readonly ports: readonly string[];
  readonly serviceAccount: string;
}

interface ConfigureOptions extends GlobalOptions, ClusterFlags {
  readonly filename?: string;
  readonly name?: string;
  readonly directory: string;
  readonly externalAddress?: string;
  readonly ingressIP?: string;
  readonly clusterId: string;
  readonly tokenDuration: number;
  readonly istioNamespace: string;
  readonly interceptionMode: 'REDIRECT' | 'NONE';
  readonly inbound: readonly string[];
}

const CONFIGURE_HELP = `
Files: sidecar.env (settings of \`mizzen sidecar\`), root-cert.pem, istio-token (a secret, good for --token-duration, which is how long there
is to start), and for Istio's own agent cluster.env, mesh.yaml and hosts (lines for /etc/hosts).

The machine has to reach ports 15012 (control plane) and 15013 (CA) of the address, and the pods; pods have to reach it.
docs/guides/outside.md says what to do with the files there.

Examples:
  mizzen workload group create --name ratings-vm --labels app=ratings --ports http=9080 --service-account ratings > group.yaml
  mizzen workload configure -f group.yaml --directory out --external-address 203.0.113.10
  mizzen workload configure --name ratings-vm -n default --directory out
`;

export function addWorkloadCommand(program: Command, context: CommandContext): void {
  const workload = program.command('workload').description('workloads outside the cluster that join its mesh');
  addGroupCommand(workload, context);
  workload
    .command('configure')
    .description('write what a machine outside needs to join the mesh as a member of a WorkloadGroup')
    .option('-f, --filename <file>', 'file with the WorkloadGroup; it is not applied')
    .option('--name <name>', 'the WorkloadGroup in the cluster')
    .requiredOption('-d, --directory <dir>', 'folder for the files; made where it is missing')
    .option('--external-address <address>', 'address of the mesh from outside (default: the east-west gateway, else the cluster IPs)')
    .addOption(new Option('--ingressIP <address>', 'as --external-address; the name that istioctl has').hideHelp())
    .option('--cluster-id <name>', 'name of the cluster', 'Kubernetes')
    .addOption(
      new Option('--token-duration <duration>', 'how long the token is good for: 10m or more')
        .argParser(parseTokenDuration)
        .default(3_600_000, '1h'),
    )
    .option('--istioNamespace <name>', 'namespace of the mesh', 'istio-system')
    .addOption(new Option('--kubernetes').hideHelp())
    .addOption(
      new Option('--interception-mode <mode>', 'REDIRECT: by iptables, all traffic; NONE: HTTP_PROXY and --inbound')
        .choices(['REDIRECT', 'NONE'])
        .default('REDIRECT'),
    )
    .option('--inbound <port=address>', 'with NONE: a port of the group and where the program listens: 9080=127.0.0.1:5000', collect, [])
    .option('--kubeconfig <file>', 'kubeconfig of the cluster')
    .option('--context <name>', 'context of the kubeconfig')
    .addHelpText('after', CONFIGURE_HELP)
    .action(async (_: unknown, command: Command) => configure(command.optsWithGlobals<ConfigureOptions>(), context));
}

function addGroupCommand(workload: Command, context: CommandContext): void {
  workload
    .command('group')
    .description('WorkloadGroups: what workloads outside have in common')
    .command('create')
    .description('print a WorkloadGroup; `mizzen apply -f -` or kubectl takes it')
    .requiredOption('--name <name>', 'its name')
    .option('--labels <label=value>', 'of every member; repeatable, or with commas', collectPairs, [])
    .option('--annotations <name=value>', 'of every member; repeatable, or with commas', collectPairs, [])
    .option('--ports <name=port>', 'that members serve; repeatable, or with commas', collectPairs, [])
    .option('--service-account <name>', "the members' identity", 'default')
    .addHelpText(
      'after',
      '\nExample:\n  mizzen workload group create --name ratings-vm -n default --labels app=ratings,version=v1 --ports http=9080\n',
    )
    .action(async (_: unknown, command: Command) => {
      const group = groupOf(command.optsWithGlobals<GroupOptions>());
      context.print(stringify(manifestOf(group), { lineWidth: 0 }));
    });
}

function groupOf({ name, namespace, labels, annotations, ports, serviceAccount }: GroupOptions): Resource<'WorkloadGroup'> {
  const portPairs = ports.map((pair) => split(pair, 'ports'));
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadGroup',
    metadata: { name, namespace: namespace ?? 'default', labels: {}, annotations: {}, creationTimestamp: '', generation: 1 },
    spec: {
      metadata: {
        labels: Object.fromEntries(labels.map((pair) => split(pair, 'labels'))),
        annotations: Object.fromEntries(annotations.map((pair) => split(pair, 'annotations'))),
      },
      template: {
        ports: Object.fromEntries(portPairs.map(([portName, port]) => [portName, parsePort(port)])),
        serviceAccount,
      },
    },
  };
}

async function configure(options: ConfigureOptions, context: CommandContext): Promise<void> {
  const { istioNamespace: rootNamespace, interceptionMode, inbound, clusterId } = options;
  await withCluster(options, context, async (client) => {
    const group = await groupToJoin(client, options, context);
    const mesh = await readMeshConfig(client, rootNamespace);
    const { hosts, isInsideOnly } = await readHosts(client, {
      rootNamespace,
      address: options.externalAddress ?? options.ingressIP,
    });
    if (isInsideOnly)
      context.message(
        'hosts holds cluster IPs, which only a machine with routes into the cluster reaches; --external-address names another',
      );
    const account = { namespace: group.metadata.namespace, name: serviceAccountOf(group), ttlMs: options.tokenDuration };
    const workload: JoiningWorkload = { group, mesh, clusterId, hosts, interceptionMode, inbound };
    const files = {
      'sidecar.env': sidecarEnvironment(workload),
      'cluster.env': clusterEnvironment(workload),
      'mesh.yaml': meshFile(workload),
      'root-cert.pem': await readTrustBundle(client, rootNamespace),
      hosts: hostsFile(workload),
      'istio-token': await requestToken(client, account),
    };
    await writeFiles(resolve(options.directory), files);
    context.message(`wrote ${Object.keys(files).join(', ')} to ${options.directory}; istio-token is a secret`);
  });
}

async function groupToJoin(client: KubeClient, options: ConfigureOptions, context: CommandContext): Promise<Resource<'WorkloadGroup'>> {
  const { filename, name, namespace } = options;
  if ((filename === undefined) === (name === undefined))
    throw new MizzenError('MIZZEN_SETTINGS', 'say which WorkloadGroup: -f FILE, or --name NAME of one in the cluster');
  if (filename !== undefined) {
    const resources = await readResources([filename], { namespace, context });
    const group = resources.find((resource) => isOfKind(resource, 'WorkloadGroup'));
    if (group) return group;
    throw new MizzenError('MIZZEN_RESOURCE', `there is no WorkloadGroup in ${filename}`, { details: { isBadInput: true } });
  }
  const target = { name: name as string, namespace: namespace ?? 'default' };
  const object = await client.find<KubeObject>(kubeKindOf('WorkloadGroup'), target);
  if (!object) throw new MizzenError('MIZZEN_RESOURCE', `WorkloadGroup ${target.name} does not exist in namespace ${target.namespace}`);
  // The API server holds it to the schema of its CRD, which is made of the same kind.
  return object as unknown as Resource<'WorkloadGroup'>;
}

async function writeFiles(directory: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const file = join(directory, name);
    const mode = name === 'istio-token' ? 0o600 : 0o644;
    await writeFile(file, content, { mode });
    // An older file keeps its mode.
    await chmod(file, mode);
  }
}

function collectPairs(value: string, previous: readonly string[] = []): string[] {
  const pairs = value.split(',').filter((pair) => pair !== '');
  for (const pair of pairs) if (!/^[^=]+=.*$/.test(pair)) throw new InvalidArgumentError(`"${pair}" must be NAME=VALUE.`);
  return [...previous, ...pairs];
}

function split(pair: string, flag: string): [string, string] {
  const at = pair.indexOf('=');
  if (at < 1) throw new MizzenError('MIZZEN_SETTINGS', `--${flag} must be NAME=VALUE, not "${pair}"`);
  return [pair.slice(0, at), pair.slice(at + 1)];
}

function parseTokenDuration(text: string): number {
  const durationMs = parseDuration(text);
  // The API server refuses less.
  if (durationMs < 600_000) throw new InvalidArgumentError('It must be 10m or more.');
  return durationMs;
}
