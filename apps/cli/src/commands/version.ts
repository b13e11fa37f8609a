import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { type CommandContext, type GlobalOptions, homeOf, stateOf } from './context.ts';
import { fetchJson } from './debug-api.ts';

/** `version`: of this command, and of the control plane where one runs. */
export function addVersionCommand(program: Command, context: CommandContext): void {
  program
    .command('version')
    .description('print the version of this command, of Node and of the running control plane')
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const controlPlane = await controlPlaneVersion(options);
      const versions = { client: clientVersion(context.workspace), node: process.version, controlPlane };
      const rows = [
        ['client', versions.client],
        ['node', versions.node],
        ['control plane', controlPlane ?? 'not running'],
      ];
      context.print(formatOutput(options.output, versions, () => formatTable(['COMPONENT', 'VERSION'], rows)));
    });
}

function clientVersion(workspace: string): string {
  return (JSON.parse(readFileSync(join(workspace, 'package.json'), 'utf8')) as { version: string }).version;
}

async function controlPlaneVersion(options: GlobalOptions): Promise<string | null> {
  const address = stateOf(homeOf(options))?.addresses.debug;
  if (!address) return null;
  const answer = await fetchJson(`http://${address}/version`).catch(() => undefined);
  return (answer as { version?: string } | undefined)?.version ?? null;
}
