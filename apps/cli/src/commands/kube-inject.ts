import { EXIT, formatDiagnostic, MizzenError } from '@mizzen/core';
import { haveNativeSidecars, type InjectorConfig, injectManifest, parseInjectorConfig, revisionSuffix } from '@mizzen/injection';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';
import { type MeshConfig, parseMeshConfig } from '@mizzen/mesh-api';
import type { Command } from 'commander';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { type ClusterFlags, withCluster } from '../access/connect-cluster.ts';
import { collect } from './apply.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { ExitWith } from './exit-with.ts';
import { readSources, readText } from './read-resources.ts';

interface KubeInjectOptions extends GlobalOptions, ClusterFlags {
  readonly filename: readonly string[];
  readonly injectConfigFile?: string;
  readonly meshConfigFile?: string;
  readonly istioNamespace: string;
  readonly revision: string;
}

const HELP = `
The pods of Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, Lists and Pods get what the webhook would give them when they
are created; everything else is printed as it is. The injector's configuration is that of the cluster, unless --injectConfigFile names a file:
a ConfigMap, or its keys values and templates; an empty file means the defaults. A pod that is injected already stays as it is.

Examples:
  mizzen kube-inject -f deployment.yaml | kubectl apply -f -
  mizzen kube-inject -f deployment.yaml --injectConfigFile injector.yaml --meshConfigFile mesh.yaml
`;

/** What the two ConfigMaps say, and whether the nodes have native sidecars. */
interface InjectionInputs {
  readonly config: InjectorConfig;
  readonly meshConfig: MeshConfig;
  readonly clusterHasNativeSidecars: boolean;
}

export function addKubeInjectCommand(program: Command, context: CommandContext): void {
  program
    .command('kube-inject')
    .requiredOption('-f, --filename <file>', 'YAML or JSON file, directory of such files, or - for standard input; repeatable', collect)
    .option('--injectConfigFile <file>', "the injector's configuration, instead of the cluster's")
    .option('--meshConfigFile <file>', "the mesh's configuration, instead of the cluster's")
    .option('--istioNamespace <name>', 'namespace of the mesh', 'istio-system')
    .option('--revision <name>', 'revision of the mesh', 'default')
    .option('--kubeconfig <file>', 'kubeconfig of the cluster')
    .option('--context <name>', 'context of the kubeconfig')
    .description('add sidecars to manifests, for clusters or namespaces without automatic injection')
    .addHelpText('after', HELP)
    .action(async (_: unknown, command: Command) => kubeInject(command.optsWithGlobals<KubeInjectOptions>(), context));
}

async function kubeInject(options: KubeInjectOptions, context: CommandContext): Promise<void> {
  const sources = await readSources(options.filename, context);
  const inputs = await readInputs(options, context);
  const namespace = options.namespace ?? 'default';
  const injected: unknown[] = [];
  let hasErrors = false;
  for (const { name, text } of sources) {
    for (const manifest of readManifests(name, text)) {
      const result = injectManifest(manifest, { ...inputs, namespace });
      for (const warning of result.warnings) context.message(`warning: ${warning}`);
      for (const error of result.errors) context.message(`error: ${error}`);
      hasErrors ||= result.errors.length > 0;
      injected.push(result.manifest);
    }
  }
  if (hasErrors) throw new ExitWith(EXIT.badInput);
  const isJson = options.output === 'json';
  const print = (manifest: unknown): string =>
    isJson ? `${JSON.stringify(manifest, undefined, 2)}\n` : stringify(manifest, { lineWidth: 0, aliasDuplicateObjects: false });
  context.print(injected.map(print).join(isJson ? '' : '---\n'));
}

function readManifests(name: string, text: string): unknown[] {
  return [...parseAllDocuments(text)].flatMap((document) => {
    const [error] = document.errors;
    if (error) throw new MizzenError('MIZZEN_RESOURCE', `${name}: ${error.message}`, { details: { isBadInput: true } });
    const manifest: unknown = document.toJS();
    return manifest === null ? [] : [manifest];
  });
}

async function readInputs(options: KubeInjectOptions, context: CommandContext): Promise<InjectionInputs> {
  const { injectConfigFile, meshConfigFile } = options;
  if (injectConfigFile !== undefined) {
    const injector = keysOf(readText(injectConfigFile));
    const mesh = meshConfigFile === undefined ? {} : { mesh: readText(meshConfigFile) };
    return parseInputs(injector, mesh, context, true);
  }
  const { istioNamespace, revision } = options;
  return withCluster(options, context, async (client) => {
    const suffix = revisionSuffix(revision);
    const injector = await dataOf(client, `mizzen-injector${suffix}`, istioNamespace);
    const mesh = meshConfigFile === undefined ? await dataOf(client, `istio${suffix}`, istioNamespace) : { mesh: readText(meshConfigFile) };
    return parseInputs(injector, mesh, context, haveNativeSidecars(await kubeletVersions(client)));
  });
}

type Keys = Readonly<Record<string, string | undefined>>;

function parseInputs(injector: Keys, { mesh = '' }: Keys, context: CommandContext, clusterHasNativeSidecars: boolean): InjectionInputs {
  const { values, templates } = injector;
  const parsed = parseInjectorConfig({ values, templates });
  const parsedMesh = parseMeshConfig(mesh, 'mesh configuration', { home: 'kubernetes' });
  for (const diagnostic of [...parsed.diagnostics, ...parsedMesh.diagnostics]) context.message(formatDiagnostic(diagnostic));
  if (!parsed.config || !parsedMesh.meshConfig) throw new ExitWith(EXIT.badInput);
  return { config: parsed.config, meshConfig: parsedMesh.meshConfig, clusterHasNativeSidecars };
}

async function dataOf(client: KubeClient, name: string, namespace: string): Promise<Keys> {
  const found = await client.find<KubeObject & { readonly data?: Keys }>(KINDS_OF_KUBERNETES.ConfigMap, { name, namespace });
  if (found) return found.data ?? {};
  throw new MizzenError(
    'MIZZEN_RESOURCE',
    `there is no ConfigMap ${namespace}/${name} in the cluster; \`mizzen install\` makes it, or name a file with --injectConfigFile`,
  );
}

async function kubeletVersions(client: KubeClient): Promise<string[]> {
  const nodes = await client.list<KubeObject & { readonly status?: { readonly nodeInfo?: { readonly kubeletVersion?: string } } }>(
    KINDS_OF_KUBERNETES.Node,
  );
  return nodes.map(({ status }) => status?.nodeInfo?.kubeletVersion ?? '');
}

/** The two keys, of a ConfigMap or on their own; on their own they may be objects too. */
function keysOf(text: string): Keys {
  const written = (parse(text) ?? {}) as { readonly kind?: unknown; readonly data?: unknown };
  const keys = (written.kind === 'ConfigMap' ? written.data : written) as Readonly<Record<string, unknown>>;
  return Object.fromEntries(Object.entries(keys).map(([name, value]) => [name, typeof value === 'string' ? value : stringify(value)]));
}
