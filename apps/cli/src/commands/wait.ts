import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type Diagnostic, formatDiagnostic, formatResourceRef, MizzenError, parseDurationMs } from '@mizzen/core';
import { refOf } from '@mizzen/mesh-api';
import { createResourceStore } from '@mizzen/sources';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { documentErrors } from '../local/configuration-report.ts';
import { type ConfiguredResource, fetchConfiguration } from './configz.ts';
import { type CommandContext, type GlobalOptions, homeOf } from './context.ts';
import { debugAddress, fetchJson } from './debug-api.ts';
import { debugAddressOption } from './proxy-status.ts';

interface WaitOptions {
  readonly timeout: number;
  readonly debugAddress?: string;
}

const HELP = `
Live means: the control plane has read the directory as it is now, and every connected proxy has acknowledged all of it.
What is in the directory and cannot be in force is told, and is no reason to wait.

Examples:
  mizzen apply -f routes.yaml && mizzen wait
  mizzen wait --timeout 5s || mizzen proxy-status
`;

const POLL_MS = 30;

export function addWaitCommand(program: Command, context: CommandContext): void {
  program
    .command('wait')
    .description('wait until the configuration as it is now is live in every proxy')
    .addOption(
      new Option('--timeout <duration>', 'give up after this long, with exit code 1').argParser(parseTimeout).default(30_000, '30s'),
    )
    .addOption(debugAddressOption())
    .addHelpText('after', HELP)
    .action(async (_: unknown, command: Command) => wait(command.optsWithGlobals<GlobalOptions & WaitOptions>(), context));
}

async function wait(options: GlobalOptions & WaitOptions, context: CommandContext): Promise<void> {
  const home = homeOf(options);
  const address = debugAddress(home, options.debugAddress);
  const store = createResourceStore({ directory: home.config });
  const endMs = context.clock.monotonic() + options.timeout;
  for (;;) {
    const missing = await whatIsMissing(address, await store.list());
    if (missing === undefined) return reportLive(await mistakesIn(home.config, address), context);
    if (context.clock.monotonic() > endMs) throw new MizzenError('MIZZEN_XDS', `not live everywhere yet: ${missing}`);
    await sleep(POLL_MS);
  }
}

/** What is written and cannot be live: proxies run with everything else, and with what they had before. */
async function mistakesIn(directory: string, address: string): Promise<readonly Diagnostic[]> {
  const configured = [...((await fetchConfiguration(address)) ?? new Map<string, ConfiguredResource>()).values()];
  const ofResources = configured.flatMap(({ status }) => status.diagnostics).filter(({ severity }) => severity === 'error');
  return [...documentErrors(directory), ...ofResources];
}

function reportLive(mistakes: readonly Diagnostic[], context: CommandContext): void {
  for (const mistake of mistakes) context.message(formatDiagnostic(mistake));
  context.message(mistakes.length === 0 ? 'live in every proxy' : 'live in every proxy, except for what is wrong above');
}

/** The first reason why what is written is not live everywhere, or undefined. */
async function whatIsMissing(address: string, written: readonly Parameters<typeof refOf>[0][]): Promise<string | undefined> {
  const configured = await fetchConfiguration(address);
  if (configured === undefined) return `the control plane at ${address} does not answer`;
  const wanted = new Map(written.map((resource) => [formatResourceRef(refOf(resource)), resource]));
  for (const [key, resource] of wanted) {
    if (!isDeepStrictEqual(configured.get(key)?.spec, resource.spec)) return `the control plane has not read ${key} yet`;
  }
  for (const [key, resource] of configured) {
    if (!wanted.has(key) && resource.spec !== undefined && !isRegistered(resource)) return `the control plane still has ${key}`;
  }
  return whoIsBehind(await fetchJson(`http://${address}/debug/push_status`));
}

function isRegistered({ metadata }: ConfiguredResource): boolean {
  return metadata.annotations?.['istio.io/autoRegistrationGroup'] !== undefined;
}

function whoIsBehind(answer: unknown): string | undefined {
  const status = answer as { revision: number; isPending: boolean; proxies: readonly { proxy: string; appliedRevision: number | null }[] };
  if (status.isPending) return 'a change waits to be published';
  const behind = status.proxies.filter(({ appliedRevision }) => appliedRevision === null || appliedRevision < status.revision);
  if (behind.length === 0) return undefined;
  const names = behind.map(({ proxy }) => proxy.split('~')[2] ?? proxy);
  return `${behind.length} of ${status.proxies.length} proxies do not run with it: ${names.join(', ')}; \`mizzen proxy-status\` says why`;
}

function parseTimeout(text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    throw new InvalidArgumentError('It must be a duration such as 500ms or 30s.');
  }
}
