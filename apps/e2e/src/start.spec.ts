import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { fetchText } from './bookinfo.ts';
import { runMizzen } from './command.ts';
import { FREE_PORTS, LocalMesh } from './local-mesh.ts';
import { until } from './until.ts';
import { workspace } from './workspace.ts';

/** `npm start` itself, as a newcomer types it. */
describe('npm start', () => {
  let home: string;

  beforeEach(() => {
    home = mkdtempSync(path.join(tmpdir(), 'mizzen-start-'));
  });

  afterEach(() => rmSync(home, { recursive: true, force: true }));

  it('prints progress, addresses and a curl; Ctrl-C leaves nothing behind; a second start is up soon', async () => {
    for (const _ of ['first', 'second']) {
      const startMs = performance.now();
      const { child, output } = start(home);
      await until('the mesh is up', async () => (/up in [\d.]+ s/.test(output()) ? true : undefined), 90_000);
      const tookMs = performance.now() - startMs;
      expect(output()).toMatch(/http:\/\/localhost:\d+\/productpage/);
      expect(output()).toMatch(/curl http:\/\/localhost:\d+\/productpage/);
      const url = /curl (\S+)/.exec(output())?.[1] as string;
      expect((await fetchText(url)).status).toBe(200);
      const pids = processIds(home);
      expect(pids.length).toBeGreaterThanOrEqual(16);
      // As a terminal does it: to the whole foreground process group.
      process.kill(-(child.pid as number), 'SIGINT');
      await once(child, 'exit');
      expect(pids.filter(isAlive)).toEqual([]);
      expect(socketsBelow(path.join(home, 'run'))).toEqual([]);
      await expect(fetchText(url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      // Within ten seconds where the machine has nothing else to do.
      if (_ === 'second') expect(tookMs).toBeLessThan(40_000);
    }
  }, 180_000);

  it('leaves nothing behind when npm itself is killed', async () => {
    const { child, output } = start(home);
    await until('the mesh is up', async () => (/up in [\d.]+ s/.test(output()) ? true : undefined), 90_000);
    const pids = processIds(home);
    child.kill('SIGKILL');
    await until('every process has ended', async () => (pids.some(isAlive) ? undefined : true), 30_000);
  }, 150_000);

  it('says in one sentence which port is in use', async () => {
    const blocker = createServer().listen(0);
    await once(blocker, 'listening');
    const { port } = blocker.address() as AddressInfo;
    const result = await runMizzen(['--home', home, 'up', ...FREE_PORTS, '--gateway-port', String(port)]);
    blocker.close();
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(new RegExp(`${port}.*in use`));
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
  }, 60_000);

  it('says that a mesh already runs in this home', async () => {
    await using mesh = await LocalMesh.start({ args: ['--no-bookinfo'] });
    const result = await runMizzen(['--home', mesh.home, 'up']);
    expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/already running/) });
  }, 60_000);
});

function start(home: string): { child: ChildProcess; output: () => string } {
  const env = { ...process.env, NO_COLOR: '1', MIZZEN_HOME: home };
  const child = spawn('npm', ['start', '--', ...FREE_PORTS], { cwd: workspace, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return { child, output: () => text };
}

function processIds(home: string): readonly number[] {
  const state = JSON.parse(readFileSync(path.join(home, 'run/state.json'), 'utf8'));
  return [state.pid, ...state.processes.map((process: { pid: number }) => process.pid)];
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function socketsBelow(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.sock')) : [];
}
