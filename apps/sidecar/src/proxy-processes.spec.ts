import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { until } from './proxy-processes.testing.ts';

const MAIN = join(import.meta.dirname, 'proxy-main.ts');
const START_TIMEOUT_MS = 120_000;

const FILE_LOG = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';
const LOG_FORMAT = { text_format_source: { inline_string: '%REQ(:PATH)%\n' } };

function logOf(file: string): string {
  return `${file}.access.log`;
}

/** Resolves once the file has so many lines. */
async function lines(path: string, count: number): Promise<readonly string[]> {
  for (;;) {
    const found = (await readFile(path, 'utf8').catch(() => '')).split('\n').slice(0, -1);
    if (found.length >= count) return found;
  }
}

interface Started {
  readonly child: ChildProcess;
  readonly admin: number;
  /** `host:port` of the only listener. */
  readonly address: string;
  /** What it wrote to standard error. */
  log(): string;
}

let folder: string;
const children: ChildProcess[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mizzen-proxy-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'close');
  }
});
afterAll(() => rm(folder, { recursive: true }));

function run(args: readonly string[]): { child: ChildProcess; log: () => string } {
  const child = spawn(process.execPath, [MAIN, '--drain-time-s', '1', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let log = '';
  child.stderr?.on('data', (chunk) => {
    log += chunk;
  });
  return { child, log: () => log };
}

async function start(file: string, ...args: readonly string[]): Promise<Started> {
  const { child, log } = run(['-c', file, ...args]);
  const line = await Promise.race([
    once(child.stdout as NodeJS.ReadableStream, 'data').then(([chunk]) => String(chunk)),
    once(child, 'close').then(() => Promise.reject(new Error(log()))),
  ]);
  const { ports, listeners } = JSON.parse(line) as { ports: { admin: number }; listeners: Record<string, string> };
  return { child, admin: ports.admin, address: listeners['in'] as string, log };
}

async function bootstrap(name: string, port: number, adminPort: number): Promise<string> {
  const file = join(folder, name);
  const admin = { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } };
  const hcm = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    access_log: [{ name: 'log', typed_config: { '@type': FILE_LOG, path: logOf(file), log_format: LOG_FORMAT } }],
    route_config: {
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] }],
    },
    http_filters: [{ name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } }],
  };
  const address = { socket_address: { address: '127.0.0.1', port_value: port } };
  const listener = { name: 'in', address, filter_chains: [{ filters: [{ name: 'hcm', typed_config: hcm }] }] };
  await writeFile(file, JSON.stringify({ admin, static_resources: { listeners: [listener] } }));
  return file;
}

/** The status, or what went wrong. */
function get(url: string, agent: Agent | false = false): Promise<string> {
  return new Promise((resolve) => {
    const asked = request(url, { agent }, (response) => {
      response.resume();
      response.on('end', () => resolve(String(response.statusCode)));
    });
    asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end();
  });
}

async function stats(admin: number, filter: string): Promise<Record<string, number>> {
  const answer = await fetch(`http://127.0.0.1:${admin}/stats?format=json&filter=${filter}`);
  const { stats: rows } = (await answer.json()) as { stats: { name?: string; value: number }[] };
  return Object.fromEntries(rows.flatMap(({ name, value }) => (name === undefined ? [] : [[name, value]])));
}

describe('mizzen proxy --concurrency', () => {
  it(
    'spreads connections over event loops, and counts them together',
    async () => {
      const { address, admin, child } = await start(await bootstrap('three.json', 0, 0), '--concurrency', '3', '--disable-hot-restart');
      const answers = await Promise.all(Array.from({ length: 60 }, () => get(`http://${address}/`)));
      expect(answers).toEqual(Array(60).fill('200'));
      expect(await stats(admin, '^http.in.downstream_(rq|cx)_total$')).toEqual({
        'http.in.downstream_rq_total': 60,
        'http.in.downstream_cx_total': 60,
      });
      const metrics = await (await fetch(`http://127.0.0.1:${admin}/stats/prometheus`)).text();
      expect(metrics).toMatch(/^envoy_http_downstream_rq_total\{envoy_http_conn_manager_prefix="in"\} 60$/m);
      expect(await stats(admin, '^server.(live|concurrency|hot_restart_epoch)$')).toEqual({
        'server.live': 1,
        'server.concurrency': 3,
        'server.hot_restart_epoch': 0,
      });
      expect(await (await fetch(`http://127.0.0.1:${admin}/hot_restart_version`)).text()).toBe('disabled');
      child.kill('SIGTERM');
      expect((await once(child, 'close'))[0]).toBe(0);
    },
    START_TIMEOUT_MS,
  );

  it(
    'refuses a port that somebody else has, although its own event loops share one',
    async () => {
      const port = await freePort();
      await start(await bootstrap('first.json', port, 0), '--concurrency', '2', '--disable-hot-restart');
      const second = run(['-c', await bootstrap('second.json', port, 0), '--concurrency', '2', '--disable-hot-restart']);
      expect((await once(second.child, 'close'))[0]).toBe(1);
      expect(second.log()).toContain('address already in use');
    },
    START_TIMEOUT_MS,
  );
});

describe('SIGUSR1', () => {
  it.each([1, 2])(
    'has %d event loops open their access logs anew, for log rotation',
    async (concurrency) => {
      const file = await bootstrap(`logs-${concurrency}.json`, 0, 0);
      const { address, child } = await start(file, '--concurrency', String(concurrency), '--disable-hot-restart');
      const before = Array.from({ length: 20 }, () => get(`http://${address}/before`));
      expect(await Promise.all(before)).toEqual(Array(20).fill('200'));
      await lines(logOf(file), 20);
      await rename(logOf(file), `${logOf(file)}.1`);
      child.kill('SIGUSR1');
      // Nothing tells when a process has taken a signal: the first request that is logged in the new file does.
      while (!(await lines(logOf(file), 0)).includes('/after')) await get(`http://${address}/after`);
      await Promise.all(Array.from({ length: 40 }, () => get(`http://${address}/late`)));
      child.kill('SIGTERM');
      expect((await once(child, 'close'))[0]).toBe(0);
      expect((await lines(logOf(file), 0)).filter((line) => line === '/late')).toHaveLength(40);
      expect(await lines(`${logOf(file)}.1`, 20)).toEqual(expect.arrayContaining(Array(20).fill('/before')));
    },
    START_TIMEOUT_MS,
  );
});

const describeOnLinux = process.platform === 'linux' ? describe : describe.skip;

describeOnLinux('hot restart (needs linux)', () => {
  it.each([1, 2])(
    'of %d event loops: the new process takes the listeners over, the old one ends, and no request fails',
    async (concurrency) => {
      const port = await freePort();
      const file = await bootstrap(`hot-${concurrency}.json`, port, await freePort());
      // A number that no other test of this machine has.
      const args = ['--concurrency', String(concurrency), '--base-id', String(port)];
      const before = await start(file, ...args);
      const failures: string[] = [];
      let isOver = false;
      let sent = 0;
      const agents = [false, false, new Agent({ keepAlive: true }), new Agent({ keepAlive: true })] as const;
      const loops = agents.map(async (agent) => {
        while (!isOver) {
          const answer = await get(`http://${before.address}/`, agent);
          sent++;
          if (answer !== '200') failures.push(answer);
        }
      });
      const ended = once(before.child, 'close');
      const after = await start(file, ...args, '--restart-epoch', '1');
      expect((await ended)[0]).toBe(0);
      expect(before.log()).toContain('replaced by another process');
      // The old one is gone: whatever is answered from now on, the new one answers.
      const sentBefore = sent;
      await until(() => sent >= sentBefore + 2 * agents.length);
      const taken = await stats(after.admin, '^http.in.downstream_rq_total$');
      isOver = true;
      await Promise.all(loops);
      for (const agent of agents) if (agent !== false) agent.destroy();
      expect(failures).toEqual([]);
      expect(sent).toBeGreaterThan(50);
      expect(taken['http.in.downstream_rq_total']).toBeGreaterThan(0);
      expect(await stats(after.admin, '^server.(concurrency|hot_restart_epoch)$')).toEqual({
        'server.concurrency': concurrency,
        'server.hot_restart_epoch': 1,
      });
      expect(await (await fetch(`http://127.0.0.1:${after.admin}/hot_restart_version`)).text()).toBe('2');
    },
    START_TIMEOUT_MS,
  );

  it(
    'says what to do where there is nothing to take over, and where the event loops differ',
    async () => {
      const port = await freePort();
      const file = await bootstrap('none.json', port, 0);
      const alone = run(['-c', file, '--base-id', String(port), '--restart-epoch', '1']);
      expect((await once(alone.child, 'close'))[0]).toBe(1);
      expect(alone.log()).toContain(`no proxy with --base-id ${port} runs here`);
      await start(file, '--base-id', String(port));
      const other = run(['-c', file, '--base-id', String(port), '--restart-epoch', '1', '--concurrency', '2']);
      expect((await once(other.child, 'close'))[0]).toBe(1);
      expect(other.log()).toContain('they must be the same');
    },
    START_TIMEOUT_MS,
  );
});
