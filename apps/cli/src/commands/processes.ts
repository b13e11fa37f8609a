import { EXIT, MizzenError } from '@mizzen/core';
import type { Command } from 'commander';
import type { Home } from '../home.ts';
import { askSupervisor, isSupervisorRunning } from '../local/control-socket.ts';
import type { MeshState } from '../local/state.ts';
import { formatAge, formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { type CommandContext, type GlobalOptions, homeOf, stateOf } from './context.ts';
import { ExitWith } from './exit-with.ts';

/** `down`, `status`, and one command for each thing that can be done to a single process of the running mesh. */
export function addProcessCommands(program: Command, context: CommandContext): void {
  program
    .command('down')
    .description('stop the mesh that runs in this home, and wait until nothing of it is left')
    .action(async (_: unknown, command: Command) => down(homeOf(command.optsWithGlobals<GlobalOptions>()), context));

  program
    .command('status')
    .description('list the processes of the mesh that runs in this home; exit code 1 when none does')
    .action(async (_: unknown, command: Command) => status(command.optsWithGlobals<GlobalOptions>(), context));

  for (const [name, description] of PROCESS_ACTIONS) {
    program
      .command(name)
      .argument('<process>', 'name as `mizzen status` lists it: reviews-v1, reviews-v1-sidecar, control-plane')
      .description(description)
      .action(async (process: string, _: unknown, command: Command) => {
        await askSupervisor(homeOf(command.optsWithGlobals<GlobalOptions>()).controlSocket, { command: name, process });
        context.message(`${process} ${PAST[name]}`);
      });
  }
}

const PROCESS_ACTIONS = [
  ['stop', 'stop one process gracefully; it stays down until `mizzen start` (all of the mesh: `mizzen down`)'],
  ['start', 'start a process that was stopped'],
  ['restart', 'stop one process gracefully and start it again'],
  ['kill', 'end one process with SIGKILL; it stays down until `mizzen start`'],
] as const;
const PAST = { stop: 'stopped', start: 'started', restart: 'restarted', kill: 'killed' } as const;

async function down(home: Home, context: CommandContext): Promise<void> {
  if (!(await isSupervisorRunning(home.controlSocket))) return context.message('the mesh of this home is not running');
  await askSupervisor(home.controlSocket, { command: 'down' });
  context.message('stopped');
}

async function status(options: GlobalOptions, context: CommandContext): Promise<void> {
  const home = homeOf(options);
  const state = stateOf(home);
  if (!state || !(await isSupervisorRunning(home.controlSocket))) {
    context.message('the mesh of this home is not running; `mizzen up` starts it');
    throw new ExitWith(EXIT.failure);
  }
  context.print(formatOutput(options.output, state, () => statusTable(state, context.clock.now())));
}

function statusTable(state: MeshState, nowMs: number): string {
  const rows = state.processes.map(({ name, state: processState, pid, ports, restarts, startedAt }) => [
    name,
    processState.toUpperCase(),
    String(pid ?? '-'),
    String(restarts),
    startedAt ? formatAge(Date.parse(startedAt), nowMs) : '-',
    describePorts(ports),
  ]);
  return formatTable(['NAME', 'STATE', 'PID', 'RESTARTS', 'AGE', 'PORTS'], rows);
}

/** `admin=4567,inbound:9080=40123` of the nested ports of a ready line. */
export function describePorts(ports: Readonly<Record<string, unknown>>, prefix = ''): string {
  return Object.entries(ports)
    .map(([name, port]) =>
      typeof port === 'object' && port !== null ? describePorts(port as Record<string, unknown>, `${name}:`) : `${prefix}${name}=${port}`,
    )
    .filter((part) => part !== '')
    .join(',');
}

/** The state of the mesh that runs in the home. Throws MIZZEN_NOT_RUNNING where none does. */
export async function runningState(home: Home): Promise<MeshState> {
  const state = stateOf(home);
  if (state && (await isSupervisorRunning(home.controlSocket))) return state;
  throw new MizzenError('MIZZEN_NOT_RUNNING', `no mesh runs in ${home.root}; \`mizzen up\` starts it, --home chooses another`);
}
