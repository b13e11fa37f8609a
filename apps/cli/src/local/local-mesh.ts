import { readFileSync } from 'node:fs';
import { errorMessage } from '@mizzen/core';
import { parse } from 'yaml';
import type { CommandContext } from '../commands/context.ts';
import type { Home } from '../home.ts';
import { type Bundles, ensureBundles, holdBundles } from '../launch/bundles.ts';
import { commandLineOf } from '../launch/command-line.ts';
import { bookinfoWorkloads } from './bookinfo.ts';
import { untilPageAnswers } from './bookinfo-page.ts';
import { reportConfiguration } from './configuration-report.ts';
import { createTokenIssuer, TOKEN_RENEWAL_MS, type TokenIssuer } from './join-tokens.ts';
import { createLauncher } from './launcher.ts';
import type { ManagedProcess } from './managed-process.ts';
import { planStages, stopRank } from './mesh-plan.ts';
import { addressesOf, allocateHttpProxyPorts, chooseFreePorts, fixedPorts, type MeshPorts } from './mesh-ports.ts';
import { checkPortsFree, createPortAllocator } from './ports.ts';
import type { Progress } from './progress.ts';
import { seedHome } from './seed.ts';
import type { MeshAddresses } from './state.ts';
import { Supervisor } from './supervisor.ts';

export interface LocalMeshOptions {
  readonly context: CommandContext;
  readonly home: Home;
  readonly progress: Progress;
  /** False where the user brings the configuration directory. */
  readonly isSeeded: boolean;
  readonly withBookinfo: boolean;
  readonly ports: MeshPorts;
  /** Ends a start in progress. */
  readonly signal: AbortSignal;
}

export interface LocalMesh {
  readonly addresses: MeshAddresses;
  /** Resolves with the reason when another `mizzen` asked for the end. */
  readonly stopAsked: Promise<string>;
  killAll(): void;
  close(): Promise<void>;
}

const DEFAULT_TRUST_DOMAIN = 'cluster.local';

/**
 * Brings the local mesh up, step by step in the order below; when a step fails, what the steps before started is stopped again.
 * After an abort of `signal` it resolves early, with whatever runs then, for the caller to close.
 */
export async function startLocalMesh(options: LocalMeshOptions): Promise<LocalMesh> {
  const { context, home, progress, signal } = options;
  let ports = options.ports;
  const supervisor = new Supervisor({
    home,
    progress,
    clock: context.clock,
    random: context.random,
    describe: () => ({ pid: process.pid, startedAt, trustDomain, config: home.config, addresses: addressesOf(ports) }),
  });
  const startedAt = new Date(context.clock.now()).toISOString();
  await supervisor.open();
  let trustDomain = DEFAULT_TRUST_DOMAIN;
  let renewal: NodeJS.Timeout | undefined;
  let tokens: TokenIssuer | undefined;
  const close = async (): Promise<void> => {
    clearInterval(renewal);
    tokens?.discardAll();
    await supervisor.close(stopRank);
  };
  try {
    await checkPortsFree(fixedPorts(ports));
    if (options.isSeeded) seed(options);
    trustDomain = readTrustDomain(home);
    reportConfiguration(home, progress);
    const bundles = await progress.step(
      'bundles',
      () => prepareBundles(context),
      (made) => (made?.isNew ? 'made' : made ? 'from the cache' : 'none: sources run'),
    );
    const allocator = createPortAllocator(home.root);
    ports = await chooseFreePorts(ports, allocator);
    const workloads = options.withBookinfo ? bookinfoWorkloads(context.workspace) : [];
    const issuer = createTokenIssuer(home, trustDomain);
    tokens = issuer;
    renewal = setInterval(() => void issuer.renewAll().catch((thrown: unknown) => progress.note(errorMessage(thrown))), TOKEN_RENEWAL_MS);
    const stages = planStages({
      home,
      ports,
      addresses: addressesOf(ports),
      trustDomain,
      tokens: issuer,
      launch: createLauncher({ ...context, commandLineOf: (app) => commandLineOf(app, context.workspace, bundles) }),
      workloads,
      httpProxyPorts: await allocateHttpProxyPorts(workloads, allocator),
    });
    for (const stage of stages) {
      if (signal.aborted) break;
      const starting = supervisor.startStage(stage, describePorts);
      starting.catch(() => undefined);
      await Promise.race([starting, aborted(signal)]);
    }
    if (options.withBookinfo && !signal.aborted) await untilPageAnswers({ port: ports.gateway, progress, signal });
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { addresses: addressesOf(ports), stopAsked: supervisor.stopAsked, killAll: () => supervisor.killAll(), close };
}

function seed({ home, context, withBookinfo, progress }: LocalMeshOptions): void {
  const seeded = seedHome(home, { workspace: context.workspace, withBookinfo });
  if (seeded.length > 0) progress.note(`first start: configuration written to ${home.config}`);
}

async function prepareBundles(context: CommandContext): Promise<Bundles | undefined> {
  if (context.env['MIZZEN_DEV'] === '1') return undefined;
  const bundles = await ensureBundles(context.workspace);
  if (bundles) holdBundles(bundles.directory);
  return bundles;
}

/** Only the trust domain is needed here; everything else of the mesh configuration is the control plane's, which reports what is wrong in it. */
function readTrustDomain(home: Home): string {
  try {
    const mesh = parse(readFileSync(home.meshConfig, 'utf8')) as { trustDomain?: unknown } | null;
    return typeof mesh?.trustDomain === 'string' && mesh.trustDomain !== '' ? mesh.trustDomain : DEFAULT_TRUST_DOMAIN;
  } catch {
    return DEFAULT_TRUST_DOMAIN;
  }
}

function describePorts(process: ManagedProcess): string {
  return Object.entries(process.ports)
    .filter(([, port]) => typeof port === 'number')
    .map(([name, port]) => `${name} ${port}`)
    .join(', ');
}

async function aborted(signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
