import { once } from 'node:events';
import { isatty } from 'node:tty';
import { errorMessage } from '@mizzen/core';
import type { Command } from 'commander';
import { makeHome } from '../home.ts';
import type { LocalMesh } from '../local/local-mesh.ts';
import { startLocalMesh } from '../local/local-mesh.ts';
import { createProgress } from '../local/progress.ts';
import type { MeshAddresses } from '../local/state.ts';
import { colors } from '../output/colors.ts';
import { type CommandContext, type GlobalOptions, homeOf } from './context.ts';
import { portOption } from './options.ts';

interface UpOptions {
  readonly bookinfo: boolean;
  readonly gatewayPort: number;
  readonly gatewayHttpsPort: number;
  readonly telemetryPort: number;
  readonly otlpPort: number;
  readonly otlpHttpPort: number;
  readonly debugPort: number;
  readonly xdsPort: number;
  readonly xdsMtlsPort: number;
  readonly caPort: number;
  readonly caHttpPort: number;
}

const EXAMPLES = `
Examples:
  mizzen up                              the mesh and Bookinfo, on the usual ports
  mizzen up --no-bookinfo --home /tmp/m  an empty mesh in a home of its own
  mizzen up --gateway-port 9000          Bookinfo at http://localhost:9000/productpage
  MIZZEN_LOG_LEVEL=debug mizzen up       every process logs more
`;

export function addUpCommand(program: Command, context: CommandContext): void {
  program
    .command('up')
    .summary('run the local mesh until Ctrl-C')
    .description(
      'Runs control plane, CA, telemetry collector, ingress gateway and Bookinfo, each workload behind its own sidecar, as processes of this ' +
        'machine. The first start puts a configuration into the home. Ports may be 0: any free one.',
    )
    .option('--no-bookinfo', 'the mesh alone, without the sample')
    .addOption(portOption('--gateway-port', 'the ingress gateway: what a Gateway calls port 8080 or 80', 8080))
    .addOption(portOption('--gateway-https-port', 'the ingress gateway: what a Gateway calls port 8443 or 443', 8443))
    .addOption(portOption('--telemetry-port', "the collector's page, API and /metrics", 20_001))
    .addOption(portOption('--otlp-port', 'the collector: OTLP over gRPC', 4317))
    .addOption(portOption('--otlp-http-port', 'the collector: OTLP over HTTP', 4318))
    .addOption(portOption('--debug-port', 'the control plane: /debug and /metrics', 15_014))
    .addOption(portOption('--xds-port', 'the control plane: xDS in plain text, on the loopback address', 15_010))
    .addOption(portOption('--xds-mtls-port', 'the control plane: xDS over mutual TLS', 15_012))
    .addOption(portOption('--ca-port', 'the CA: certificate signing', 15_013))
    .addOption(portOption('--ca-http-port', 'the CA: /healthz and /metrics', 15_093))
    .addHelpText('after', EXAMPLES)
    .action(async (options: UpOptions, command: Command) =>
      runUp({ ...command.optsWithGlobals<GlobalOptions & UpOptions>(), ...options }, context),
    );
}

async function runUp(options: GlobalOptions & UpOptions, context: CommandContext): Promise<void> {
  const home = homeOf(options);
  makeHome(home);
  const progress = createProgress({ write: (text) => process.stdout.write(text), monotonicMs: () => context.clock.monotonic() });
  const interrupts = listenForEnd(context);
  const startedMs = context.clock.monotonic();
  const mesh = await startLocalMesh({
    context,
    home,
    progress,
    isSeeded: options.config === undefined,
    withBookinfo: options.bookinfo,
    ports: wantedPorts(options),
    signal: interrupts.signal,
  });
  if (!interrupts.signal.aborted) {
    process.stdout.write(describeMesh({ addresses: mesh.addresses, config: home.config, logs: home.logs, withBookinfo: options.bookinfo }));
    progress.note(colors.dim(`up in ${((context.clock.monotonic() - startedMs) / 1000).toFixed(1)} s; Ctrl-C stops everything`));
    const reason = await Promise.race([interrupts.first, mesh.stopAsked]);
    progress.note(`\nstopping (${reason})`);
  }
  await closeMesh(mesh, interrupts);
  progress.note('stopped');
  process.exit(0);
}

function wantedPorts(options: UpOptions): Parameters<typeof startLocalMesh>[0]['ports'] {
  return {
    gateway: options.gatewayPort,
    gatewayHttps: options.gatewayHttpsPort,
    telemetry: options.telemetryPort,
    otlpGrpc: options.otlpPort,
    otlpHttp: options.otlpHttpPort,
    debug: options.debugPort,
    xds: options.xdsPort,
    xdsMtls: options.xdsMtlsPort,
    ca: options.caPort,
    caHttp: options.caHttpPort,
    // Only proxies ask it, and they are told.
    rateLimit: 0,
    rateLimitHttp: 0,
  };
}

async function closeMesh(mesh: LocalMesh, interrupts: Interrupts): Promise<void> {
  interrupts.onSecond(() => mesh.killAll());
  await mesh.close().catch((thrown: unknown) => process.stderr.write(`mizzen: ${errorMessage(thrown)}\n`));
}

interface Interrupts {
  /** Aborts at the first signal, so that a start in progress ends. */
  readonly signal: AbortSignal;
  readonly first: Promise<string>;
  /** What a second signal does, from now on. */
  onSecond(action: () => void): void;
}

const PARENT_POLL_MS = 1000;

/** SIGINT, SIGTERM, SIGHUP (the terminal was closed), and with MIZZEN_EXIT_WITH_PARENT=1 the death of the process that started this one. */
function listenForEnd(context: CommandContext): Interrupts {
  const abort = new AbortController();
  const first = once(abort.signal, 'abort').then(() => String(abort.signal.reason));
  let second: () => void = () => process.exit(1);
  const onEnd = (reason: string): void => {
    if (abort.signal.aborted) second();
    else abort.abort(reason);
  };
  // npm and a terminal may both pass on one Ctrl-C; only what comes well after the first is a second.
  let firstAtMs = Number.NEGATIVE_INFINITY;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const nowMs = context.clock.monotonic();
      if (nowMs - firstAtMs < 500) return;
      firstAtMs = nowMs;
      onEnd(name === 'SIGINT' && isatty(0) ? 'Ctrl-C' : name);
    });
  }
  if (context.env['MIZZEN_EXIT_WITH_PARENT'] === '1') {
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent && !abort.signal.aborted) abort.abort('the process that started it is gone');
    }, PARENT_POLL_MS).unref();
  }
  return {
    signal: abort.signal,
    first,
    onSecond: (action) => {
      second = action;
    },
  };
}

function describeMesh(mesh: { addresses: MeshAddresses; config: string; logs: string; withBookinfo: boolean }): string {
  const { addresses, config, logs, withBookinfo } = mesh;
  const page = `http://localhost:${portOf(addresses.gateway)}/productpage`;
  const rows: [string, string][] = [
    ...(withBookinfo
      ? ([['Bookinfo', page]] as [string, string][])
      : ([['Gateway', `http://localhost:${portOf(addresses.gateway)}`]] as [string, string][])),
    ['Gateway ports', `80 and 8080 are ${portOf(addresses.gateway)} here, 443 and 8443 are ${portOf(addresses.gatewayHttps)}`],
    ['Service graph', `http://localhost:${portOf(addresses.telemetry)}`],
    ['Control plane', `http://localhost:${portOf(addresses.debug)}/debug/syncz`],
    ['Configuration', `${config} (watched: edit or add YAML)`],
    ['Logs', logs],
  ];
  const lines = rows.map(([label, value]) => `  ${colors.bold(label.padEnd(15))}${value}`);
  return `\n${lines.join('\n')}\n\n  Try: ${colors.cyan(withBookinfo ? `curl ${page}` : 'npx mizzen run --help')}\n\n`;
}

function portOf(address: string): string {
  return address.slice(address.lastIndexOf(':') + 1);
}
