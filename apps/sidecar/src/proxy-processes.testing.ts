import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, 'proxy-main.ts');

/** A `mizzen proxy` of its own. */
export interface ProxyProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly admin: number;
  /** `host:port` by name of the listener. */
  readonly listeners: Readonly<Record<string, string>>;
  /** What it wrote to standard error. */
  log(): string;
  /** Its counters and gauges whose names match, by name. */
  stats(filter: string): Promise<Readonly<Record<string, number>>>;
}

/** Starts `mizzen proxy` with these flags; resolves once it listens. Rejects with its log where it ends before. */
export async function startProxyProcess(...args: readonly string[]): Promise<ProxyProcess> {
  const child = spawn(process.execPath, [MAIN, '--drain-time-s', '1', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  const closed = once(child, 'close');
  const line = await Promise.race([
    once(child.stdout, 'data').then(([chunk]) => String(chunk)),
    closed.then(() => Promise.reject(new Error(log))),
  ]);
  const { ports, listeners } = JSON.parse(line) as { ports: { admin: number }; listeners: Record<string, string> };
  return {
    child,
    admin: ports.admin,
    listeners,
    log: () => log,
    stats: (filter) => statsOf(ports.admin, filter),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await closed;
    },
  };
}

/** Counters and gauges of an admin interface, Envoy's or ours. */
export async function statsOf(admin: number, filter: string): Promise<Readonly<Record<string, number>>> {
  const answer = await fetch(`http://127.0.0.1:${admin}/stats?format=json&filter=${encodeURIComponent(filter)}`);
  const { stats: rows } = (await answer.json()) as { stats: { name?: string; value: number }[] };
  return Object.fromEntries(rows.flatMap(({ name, value }) => (name === undefined ? [] : [[name, value]])));
}

/** One request over a connection of its own: the status, or what went wrong. */
export function ask(url: string): Promise<string> {
  return new Promise((resolve) => {
    const asked = request(url, { agent: false }, (response) => {
      response.resume();
      response.on('end', () => resolve(String(response.statusCode)));
    });
    asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end();
  });
}

/** So many at once; how often each answer came. */
export async function askMany(url: string, count: number): Promise<Readonly<Record<string, number>>> {
  const sums: Record<string, number> = {};
  const one = async (): Promise<void> => {
    const answer = await ask(url);
    sums[answer] = (sums[answer] ?? 0) + 1;
  };
  await Promise.all(Array.from({ length: count }, one));
  return sums;
}

/** For what a process does and tells nobody of: asks again and again until it is so; the test's own deadline ends it. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}
