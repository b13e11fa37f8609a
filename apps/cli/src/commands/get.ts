import { formatDiagnostic, formatResourceRef, MizzenError } from '@mizzen/core';
import { KINDS, type Kind, type Resource, refOf } from '@mizzen/mesh-api';
import type { Command } from 'commander';
import type { MeshAccess } from '../access/mesh-access.ts';
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import { colors } from '../output/colors.ts';
import { formatAge, formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { type ConfiguredResource, fetchConfiguration, type ResourceStatus } from './configz.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { kindColumns } from './kind-columns.ts';
import { parseTargets } from './resource-names.ts';

interface GetOptions {
  readonly allNamespaces?: boolean;
}

/** A resource as it is shown: as written, with what the control plane says of it where one runs. */
export type ShownResource = Omit<ConfiguredResource, 'status'> & { readonly status?: ResourceStatus };

const HELP = `
ACCEPTED says whether the control plane has the resource in force, APPLIED how many of the proxies run with it. Both need a running mesh.

Examples:
  mizzen get vs
  mizzen get vs reviews -o yaml
  mizzen get vs,dr -A
  mizzen get all -n default
`;

export function addGetCommand(program: Command, context: CommandContext): void {
  addMeshOptions(program.command('get'))
    .argument('<target...>', 'KIND, KIND NAME…, or KIND/NAME…; several kinds with commas; all for every kind')
    .option('-A, --all-namespaces', 'of every namespace')
    .description('show resources of the configuration, and whether the mesh runs with them')
    .addHelpText('after', HELP)
    .action(async (words: string[], _: unknown, command: Command) =>
      withMesh(command, context, (mesh) => get(words, { options: command.optsWithGlobals<GlobalOptions & GetOptions>(), context, mesh })),
    );
}

async function get(
  words: readonly string[],
  asked: { readonly options: GlobalOptions & GetOptions; readonly context: CommandContext; readonly mesh: MeshAccess },
): Promise<void> {
  const { options, context, mesh } = asked;
  const { kinds, refs } = parseTargets(words);
  const namespace = options.allNamespaces ? undefined : (options.namespace ?? 'default');
  const all = await readShown(mesh);
  const wantedKinds = kinds.length > 0 && refs.length === 0 ? kinds : [];
  const isWanted = ({ kind, metadata }: ShownResource): boolean => {
    if (namespace !== undefined && metadata.namespace !== namespace) return false;
    return wantedKinds.some((wanted) => wanted === kind) || refs.some((ref) => ref.kind === kind && ref.name === metadata.name);
  };
  const shown = all.filter(isWanted);
  for (const ref of refs) {
    if (shown.some(({ kind, metadata }) => kind === ref.kind && metadata.name === ref.name)) continue;
    throw new MizzenError(
      'MIZZEN_RESOURCE',
      `${ref.kind} ${ref.name} does not exist in ${namespace === undefined ? 'any namespace' : `namespace ${namespace}`}`,
    );
  }
  const isOne = refs.length === 1 && words.length <= 2;
  context.print(
    formatOutput(options.output, isOne ? shown[0] : shown, () => tables(shown, options.allNamespaces === true, context.clock.now())),
  );
  if (shown.length === 0) context.message(`nothing found${namespace === undefined ? '' : ` in namespace ${namespace}`}`);
  if (options.output !== 'table') return;
  for (const line of diagnosticLines(shown)) context.message(line);
  for (const diagnostic of mesh.documentErrors()) context.message(formatDiagnostic(diagnostic));
}

/** What is written, what the control plane says of it, and what only the control plane knows: workloads that registered themselves. */
async function readShown(mesh: MeshAccess): Promise<ShownResource[]> {
  const [written, configured] = await Promise.all([mesh.resources.list(), fetchConfiguration(mesh)]);
  const shown = new Map<string, ShownResource>();
  for (const resource of written) {
    const key = formatResourceRef(refOf(resource));
    shown.set(key, withStatus(resource, configured?.get(key)));
  }
  for (const [key, resource] of configured ?? []) if (!shown.has(key)) shown.set(key, resource);
  return [...shown.values()].sort((a, b) => sortKey(a).localeCompare(sortKey(b)));
}

function withStatus({ apiVersion, kind, metadata, spec }: Resource, configured: ConfiguredResource | undefined): ShownResource {
  // The file's own reading knows no age; the control plane knows when it first saw the resource.
  return { apiVersion, kind, metadata: { ...metadata, ...configured?.metadata }, spec, ...(configured && { status: configured.status }) };
}

function sortKey({ kind, metadata }: ShownResource): string {
  return `${kind}/${metadata.namespace}/${metadata.name}`;
}

/** One table for each kind, as kubectl prints several. */
function tables(shown: readonly ShownResource[], withNamespace: boolean, nowMs: number): string {
  const kinds = [...new Set(shown.map(({ kind }) => kind))];
  return kinds
    .map((kind) =>
      tableOf(
        kind as Kind,
        shown.filter((resource) => resource.kind === kind),
        { withNamespace, isOneKind: kinds.length === 1, nowMs },
      ),
    )
    .join('\n');
}

function tableOf(
  kind: Kind,
  shown: readonly ShownResource[],
  options: { withNamespace: boolean; isOneKind: boolean; nowMs: number },
): string {
  const columns = kindColumns(kind);
  const header = [
    ...(options.withNamespace ? ['NAMESPACE'] : []),
    'NAME',
    ...columns.map(({ title }) => title),
    'ACCEPTED',
    'APPLIED',
    'AGE',
  ];
  const rows = shown.map(({ metadata, spec, status }) => [
    ...(options.withNamespace ? [metadata.namespace] : []),
    options.isOneKind ? metadata.name : `${KINDS[kind].singular}/${metadata.name}`,
    ...columns.map(({ value }) => value(spec)),
    describeAccepted(status),
    status ? `${status.appliedTo}/${status.ofProxies}` : '-',
    describeAge(metadata.creationTimestamp, options.nowMs),
  ]);
  return formatTable(header, rows);
}

function describeAccepted(status: ResourceStatus | undefined): string {
  if (!status) return '-';
  return status.accepted ? colors.green('yes') : colors.red('no');
}

function describeAge(creationTimestamp: string | undefined, nowMs: number): string {
  const createdMs = Date.parse(creationTimestamp ?? '');
  return createdMs > 0 ? formatAge(createdMs, nowMs) : '-';
}

function diagnosticLines(shown: readonly ShownResource[]): string[] {
  return shown.flatMap(({ status }) => (status?.diagnostics ?? []).map(formatDiagnostic));
}
