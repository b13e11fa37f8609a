import { basename } from 'node:path';
import { EXIT, errorMessage } from '@mizzen/core';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { makeHome } from '../home.ts';
import { ensureBundles } from '../launch/bundles.ts';
import { commandLineOf } from '../launch/command-line.ts';
import { createTokenIssuer, TOKEN_RENEWAL_MS } from '../local/join-tokens.ts';
import { createLauncher } from '../local/launcher.ts';
import { ManagedProcess } from '../local/managed-process.ts';
import { createPortAllocator } from '../local/ports.ts';
import { type Program, startProgram } from '../local/program.ts';
import { type MeshAccess, planSidecar } from '../local/sidecar-plan.ts';
import { type Registration, registerService } from '../local/universal-registry.ts';
import { untilAccepts } from '../local/until-accepts.ts';
import { type CommandContext, type GlobalOptions, homeOf } from './context.ts';
import { ExitWith } from './exit-with.ts';
import { parsePort } from './options.ts';
import { runningState } from './processes.ts';

interface RunOptions {
  readonly service: string;
  readonly version: string;
  readonly port: number;
  readonly protocol: string;
  readonly appPort?: number;
  readonly serviceAccount?: string;
  readonly instance?: string;
}

const HELP = `
The program is given PORT (where it has to listen, on 127.0.0.1), and HTTP_PROXY, HTTPS_PROXY, NO_PROXY (both spellings) and
NODE_USE_ENV_PROXY=1, so that its outgoing HTTP goes through the sidecar. A ServiceEntry for the service and a WorkloadGroup for the version
are written into the configuration where there are none, and stay there when the program ends. The exit code is the program's.

Examples:
  mizzen run --service hello --version v1 --port 8000 -- node deploy/local/hello.mjs
  mizzen run --service reviews --version v4 --port 9080 --app-port 5000 -- python3 app.py
`;

export function addRunCommand(program: Command, context: CommandContext): void {
  program
    .command('run')
    .argument('<command...>', 'the program and its arguments, behind --')
    .description('run any program as a workload of the running mesh, behind a sidecar of its own')
    .requiredOption('--service <name>', 'the service that the program belongs to', parseName)
    .option('--version <name>', 'the version of it, for subsets', parseName, 'v1')
    .requiredOption('--port <port>', "the service's port", parsePort)
    .addOption(
      new Option('--protocol <protocol>', "the port's protocol, for a service that does not exist yet")
        .choices(['HTTP', 'HTTP2', 'GRPC', 'TCP'])
        .default('HTTP'),
    )
    .option('--app-port <port>', 'the port on 127.0.0.1 where the program listens (default: any free one)', parsePort)
    .option('--service-account <name>', "the program's identity (default: that of the WorkloadGroup, else the service's name)", parseName)
    .option('--instance <name>', 'name of this one of several (default: made from the process id)', parseName)
    .addHelpText('after', HELP)
    .action(async (words: string[], _: unknown, command: Command) =>
      run(words, command.optsWithGlobals<GlobalOptions & RunOptions>(), context),
    );
}

async function run(words: readonly string[], options: GlobalOptions & RunOptions, context: CommandContext): Promise<void> {
  const home = homeOf(options);
  const state = await runningState(home);
  makeHome(home);
  const registration = await registerService({ directory: home.config, service: describeService(options), message: context.message });
  const allocator = createPortAllocator(`${home.root} ${process.pid}`);
  const appPort = options.appPort || (await allocator.next());
  const httpProxyPort = await allocator.next();
  const bundles = context.env['MIZZEN_DEV'] === '1' ? undefined : await ensureBundles(context.workspace);
  const tokens = createTokenIssuer(home, state.trustDomain);
  setInterval(() => void tokens.renewAll().catch((thrown: unknown) => context.message(errorMessage(thrown))), TOKEN_RENEWAL_MS).unref();
  const mesh: MeshAccess = {
    home,
    addresses: state.addresses,
    trustDomain: state.trustDomain,
    tokens,
    launch: createLauncher({ ...context, commandLineOf: (app) => commandLineOf(app, context.workspace, bundles) }),
  };
  const instance = options.instance ?? `${registration.workloadGroup}-${process.pid}`;
  const inbound = { port: options.port, program: `127.0.0.1:${appPort}` };
  const sidecar = new ManagedProcess(planSidecar(mesh, { ...registration, instance, inbound, httpProxyPort }), {
    logs: home.logs,
    clock: context.clock,
    random: context.random,
    report: context.message,
    onChange: () => undefined,
  });
  process.once('exit', () => tokens.discardAll());
  const name = `${instance}.${registration.namespace}`;
  await runBehind(sidecar, { name, words, env: context.env, appPort, httpProxyPort, message: context.message });
}

async function runBehind(
  sidecar: ManagedProcess,
  options: {
    name: string;
    words: readonly string[];
    env: NodeJS.ProcessEnv;
    appPort: number;
    httpProxyPort: number;
    message: (line: string) => void;
  },
): Promise<never> {
  const [command = '', ...args] = options.words;
  let program: Program | undefined;
  // The sidecar leaves the mesh first, so that nobody is sent to a program that is about to end.
  const onSignal = (signal: NodeJS.Signals): void => void sidecar.stop().then(() => program?.signal(signal));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => onSignal(signal));
  const joined = sidecar.start();
  await untilCallsAreTaken(joined, options.httpProxyPort);
  program = startProgram({ command, arguments: args, env: options.env, port: options.appPort, httpProxyPort: options.httpProxyPort });
  let isFailed = false;
  joined.then(
    () => options.message(`${basename(command)} is in the mesh as ${options.name} (sidecar's log: ${sidecar.logFile})`),
    (thrown: unknown) => {
      // Where the program ended first, its sidecar was stopped while it started.
      if (!program.isRunning) return;
      isFailed = true;
      options.message(`mizzen: ${errorMessage(thrown)}`);
      program.signal('SIGTERM');
    },
  );
  const code = await program.exited;
  await sidecar.stop();
  throw new ExitWith(isFailed ? EXIT.failure : code);
}

/**
 * Resolves once the sidecar holds the port for outgoing calls, where they wait until it can route them: the program may call others
 * before it listens itself. Rejects where the sidecar ends before that.
 */
async function untilCallsAreTaken(joined: Promise<void>, port: number): Promise<void> {
  const decided = new AbortController();
  try {
    await Promise.race([untilAccepts({ host: '127.0.0.1', port }, decided.signal), joined]);
  } finally {
    decided.abort();
  }
}

function describeService(options: GlobalOptions & RunOptions): Registration {
  return {
    service: options.service,
    version: options.version,
    namespace: options.namespace ?? 'default',
    port: options.port,
    protocol: options.protocol,
    ...(options.serviceAccount !== undefined && { serviceAccount: options.serviceAccount }),
  };
}

// RFC 1123 labels: they become host names, resource names and parts of SPIFFE ids.
function parseName(text: string): string {
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text))
    throw new InvalidArgumentError('It must be lower-case letters, digits and dashes, at most 63.');
  return text;
}
