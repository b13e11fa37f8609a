import { Command, Option } from 'commander';
import { addApplyCommand } from './commands/apply.ts';
import { addCompletionCommand } from './commands/completion.ts';
import type { CommandContext } from './commands/context.ts';
import { addDeleteCommand } from './commands/delete.ts';
import { addGetCommand } from './commands/get.ts';
import { addInstallCommand } from './commands/install.ts';
import { addKubeInjectCommand } from './commands/kube-inject.ts';
import { addLogsCommand } from './commands/logs.ts';
import { addProcessCommands } from './commands/processes.ts';
import { addProxyConfigCommand } from './commands/proxy-config.ts';
import { addProxyStatusCommand } from './commands/proxy-status.ts';
import { addRegisterCommands } from './commands/register.ts';
import { addRunCommand } from './commands/run.ts';
import { addTagCommand } from './commands/tag.ts';
import { addTokenCommand } from './commands/token.ts';
import { addUninstallCommand } from './commands/uninstall.ts';
import { addUpCommand } from './commands/up.ts';
import { addVersionCommand } from './commands/version.ts';
import { addWaitCommand } from './commands/wait.ts';
import { addWorkloadCommand } from './commands/workload.ts';
import { APPS } from './launch/apps.ts';
import { OUTPUT_FORMATS } from './output/format.ts';

const HELP = `
With --dev as the first argument (or MIZZEN_DEV=1) the sources run instead of the bundles made of them.
MIZZEN_BUNDLE_CACHE is where those bundles are kept (default: .mizzen/bundles in the clone). MIZZEN_LOG_LEVEL reaches every process.
Exit codes: 0; 1 failure; 64 wrong command line; 65 invalid resources.

Examples:
  mizzen up
  mizzen apply -f deploy/samples/bookinfo/networking/virtual-service-reviews-v3.yaml && mizzen wait
  mizzen get vs -A
  mizzen proxy-config routes productpage
`;

/** The whole command `mizzen`, with every subcommand. */
export function createProgram(context: CommandContext): Command {
  const program = new Command('mizzen');
  program
    .description('A service mesh: runs it, configures it with Istio resources, and shows what its proxies do.')
    .addOption(new Option('--home <dir>', 'folder of the local mesh').env('MIZZEN_HOME').default('.mizzen'))
    .addOption(new Option('--config <dir>', 'directory of the configuration (default: config in the home)').env('MIZZEN_CONFIG_DIR'))
    .addOption(new Option('-n, --namespace <name>', 'namespace (default: default)').env('MIZZEN_NAMESPACE'))
    .addOption(new Option('-o, --output <format>', 'form of the answer').choices(OUTPUT_FORMATS).default('table'))
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(--help says more)')
    .addHelpText('after', HELP)
    .helpCommand(true);

  addUpCommand(program, context);
  addProcessCommands(program, context);
  addLogsCommand(program, context);
  addRunCommand(program, context);
  addApplyCommand(program, context);
  addGetCommand(program, context);
  addDeleteCommand(program, context);
  addWaitCommand(program, context);
  addProxyStatusCommand(program, context);
  addProxyConfigCommand(program, context);
  addTokenCommand(program, context);
  addWorkloadCommand(program, context);
  addRegisterCommands(program, context);
  addInstallCommand(program, context);
  addUninstallCommand(program, context);
  addKubeInjectCommand(program, context);
  addTagCommand(program, context);
  addVersionCommand(program, context);
  addCompletionCommand(program, context);
  addApps(program);
  applyToAll(program, (command) => command.exitOverride());
  return program;
}

// main.ts runs the apps before this program is even loaded; here they are for the help.
function addApps(program: Command): void {
  for (const { name, summary } of APPS) {
    program
      .command(name)
      .summary(summary)
      .description(`${summary} (see \`mizzen ${name} --help\`)`)
      .helpGroup('Processes:')
      .allowUnknownOption();
  }
}

function applyToAll(command: Command, action: (command: Command) => void): void {
  action(command);
  for (const child of command.commands) applyToAll(child, action);
}
