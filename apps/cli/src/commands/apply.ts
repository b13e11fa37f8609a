import { MizzenError } from '@mizzen/core';
import type { Command } from 'commander';
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import { formatOutput } from '../output/format.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { readResources } from './read-resources.ts';
import { kubectlName } from './resource-names.ts';

const HELP = `
Everything is checked before anything is written: where one resource is invalid nothing changes, and the exit code is 65. Kinds
that are none of the mesh's (Deployment, Service) are left out, with a line for each; where nothing else is there the exit code is 65 too.

Examples:
  mizzen apply -f deploy/samples/bookinfo/networking/virtual-service-reviews-v3.yaml
  mizzen apply -f my-configuration/ -n shop
  cat route.yaml | mizzen apply -f -
`;

export function addApplyCommand(program: Command, context: CommandContext): void {
  addMeshOptions(program.command('apply'))
    .requiredOption('-f, --filename <file>', 'YAML or JSON file, directory of such files, or - for standard input; repeatable', collect)
    .description('write resources into the configuration; the mesh follows at once')
    .addHelpText('after', HELP)
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { filename: string[] }>();
      const resources = await readResources(options.filename, { namespace: options.namespace, context });
      if (resources.length === 0) throw nothingToApply(options.filename);
      const results = await withMesh(command, context, (mesh) => mesh.resources.apply(resources));
      const answer = results.map(({ ref, result }) => ({ ...ref, result }));
      context.print(formatOutput(options.output, answer, () => answer.map((entry) => `${kubectlName(entry)} ${entry.result}\n`).join('')));
    });
}

function nothingToApply(names: readonly string[]): MizzenError {
  const message = `nothing to apply: there is no resource of the mesh in ${names.join(', ')}`;
  return new MizzenError('MIZZEN_RESOURCE', message, { details: { isBadInput: true } });
}

export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}
