import { EXIT, MizzenError, type ResourceRef } from '@mizzen/core';
import { refOf } from '@mizzen/mesh-api';
import type { ResourceStore } from '@mizzen/sources';
import type { Command } from 'commander';
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import { formatOutput } from '../output/format.ts';
import { collect } from './apply.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { ExitWith } from './exit-with.ts';
import { readResources } from './read-resources.ts';
import { kubectlName, parseTargets } from './resource-names.ts';

interface DeleteOptions {
  readonly filename: string[];
  readonly ignoreNotFound?: boolean;
  readonly all?: boolean;
}

const HELP = `
Examples:
  mizzen delete vs reviews
  mizzen delete vs/reviews dr/reviews -n shop
  mizzen delete -f deploy/samples/bookinfo/networking/virtual-service-reviews-v3.yaml
  mizzen delete vs --all
`;

export function addDeleteCommand(program: Command, context: CommandContext): void {
  addMeshOptions(program.command('delete'))
    .argument('[target...]', 'KIND NAME…, or KIND/NAME…')
    .option('-f, --filename <file>', 'delete what these files name; - for standard input; repeatable', collect, [])
    .option('--all', 'every resource of the kind in the namespace')
    .option('--ignore-not-found', 'what does not exist is no failure')
    .description('remove resources from the configuration; the mesh follows at once')
    .addHelpText('after', HELP)
    .action(async (words: string[], _: unknown, command: Command) =>
      withMesh(command, context, ({ resources }) =>
        deleteResources(words, { options: command.optsWithGlobals<GlobalOptions & DeleteOptions>(), context, store: resources }),
      ),
    );
}

interface Deletion {
  readonly options: GlobalOptions & DeleteOptions;
  readonly context: CommandContext;
  readonly store: ResourceStore;
}

async function deleteResources(words: readonly string[], deletion: Deletion): Promise<void> {
  const { options, context, store } = deletion;
  const refs = await refsToDelete(words, deletion);
  const deleted: ResourceRef[] = [];
  for (const ref of refs) {
    if (await store.delete(ref)) deleted.push(ref);
    else if (!options.ignoreNotFound) context.message(`${kubectlName(ref)} does not exist in namespace ${ref.namespace}`);
  }
  const answer = deleted.map((ref) => ({ ...ref, result: 'deleted' }));
  context.print(formatOutput(options.output, answer, () => answer.map((entry) => `${kubectlName(entry)} deleted\n`).join('')));
  if (deleted.length < refs.length && !options.ignoreNotFound) throw new ExitWith(EXIT.failure);
}

async function refsToDelete(words: readonly string[], { options, context, store }: Deletion): Promise<ResourceRef[]> {
  if (options.filename.length > 0) {
    return (await readResources(options.filename, { namespace: options.namespace, context })).map(refOf);
  }
  const namespace = options.namespace ?? 'default';
  if (words.length === 0) throw new MizzenError('MIZZEN_SETTINGS', 'say what to delete: KIND NAME, KIND/NAME, or -f FILE');
  const { kinds, refs } = parseTargets(words);
  if (refs.length > 0) return refs.map((ref) => ({ ...ref, namespace }));
  if (!options.all) throw new MizzenError('MIZZEN_SETTINGS', 'say which: a name, or --all');
  const lists = await Promise.all(kinds.map((kind) => store.list(kind, namespace)));
  return lists.flat().map(refOf);
}
