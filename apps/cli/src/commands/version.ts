import type { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import { formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import type { CommandContext, GlobalOptions } from './context.ts';

/** `version`: of this command, and of the control plane where one runs. */
export function addVersionCommand(program: Command, context: CommandContext): void {
  addMeshOptions(program.command('version'))
    .description('print the version of this command, of Node and of the running control plane')
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const controlPlane = await controlPlaneVersion(command, context);
      const versions = { client: manifest.version, node: process.version, controlPlane };
      const rows = [
        ['client', versions.client],
        ['node', versions.node],
        ['control plane', controlPlane ?? 'not running'],
      ];
      context.print(formatOutput(options.output, versions, () => formatTable(['COMPONENT', 'VERSION'], rows)));
    });
}

/** Null where none answers, whatever the reason: the command itself has a version all the same. */
async function controlPlaneVersion(command: Command, context: CommandContext): Promise<string | null> {
  const answers = await withMesh(command, context, (mesh) => mesh.debug('/version')).catch(() => []);
  const versions = (answers as { version?: string }[]).flatMap(({ version }) => version ?? []);
  return versions.length === 0 ? null : [...new Set(versions)].sort().join(', ');
}
