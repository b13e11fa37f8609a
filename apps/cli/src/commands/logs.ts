import { type Command, InvalidArgumentError } from 'commander';
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import type { CommandContext, GlobalOptions } from './context.ts';

interface LogsOptions {
  readonly follow?: boolean;
  readonly tail: number;
  readonly container?: string;
}

const DEFAULT_TAIL = 200;
const HELP = `
On Kubernetes the process is a pod, by the beginning of its name; what is printed is the log of its proxy, or of the container that -c names.
For pods of the mesh itself say their namespace: -n istio-system.

Examples:
  mizzen logs -f productpage-v1-sidecar
  mizzen logs --kubernetes reviews-v1
  mizzen logs --kubernetes -n istio-system mizzen-ca
`;

export function addLogsCommand(program: Command, context: CommandContext): void {
  addMeshOptions(program.command('logs'))
    .argument('<process>', 'name as `mizzen status` lists it, for example productpage-v1-sidecar; on Kubernetes that of a pod')
    .description('print the end of the log of one process; of a sidecar that is its access log and its own messages')
    .option('-f, --follow', 'go on printing what is added')
    .option('--tail <lines>', 'how many lines of the end', parseCount, DEFAULT_TAIL)
    .option('-c, --container <name>', 'container of the pod (Kubernetes; default: istio-proxy, else the only one)')
    .addHelpText('after', HELP)
    .action(async (process: string, _: unknown, command: Command) => {
      const { follow = false, tail, container, namespace } = command.optsWithGlobals<GlobalOptions & LogsOptions>();
      const options = { follow, tail, container, namespace: namespace ?? 'default', print: context.print };
      await withMesh(command, context, (mesh) => mesh.printLog(process, options));
    });
}

function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}
