import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';

const MAIN = join(import.meta.dirname, 'main.ts');

describe('the jobs of the sidecar image', () => {
  const closers: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  function start(args: readonly string[]): {
    child: ChildProcess;
    ended: Promise<{ code: number | null; errors: string; output: string }>;
  } {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] } });
    closers.push(() => child.kill('SIGKILL'));
    let [errors, output] = ['', ''];
    child.stderr?.on('data', (chunk: Buffer) => {
      errors += chunk;
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, errors, output })) };
  }

  async function sidecar(codes: readonly number[]): Promise<{ port: number; requests: string[] }> {
    const requests: string[] = [];
    const server = createServer(({ method, url }, response) => {
      const code = codes[Math.min(requests.push(`${method} ${url}`), codes.length) - 1] ?? 200;
      response.writeHead(code).end(code === 200 ? 'ready\n' : 'starting: not yet\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    return { port: (server.address() as AddressInfo).port, requests };
  }

  it('wait for readiness, for as long as it takes', async () => {
    const { port, requests } = await sidecar([503, 503, 200]);
    const { ended } = start(['wait', '--readiness-port', String(port), '--period', '10ms']);
    expect((await ended).code).toBe(0);
    expect(requests).toEqual(Array(3).fill('GET /healthz/ready'));
  });

  it('give up after their time, with the reason', async () => {
    const { port } = await sidecar([503]);
    const { ended } = start(['wait', '--readiness-port', String(port), '--period', '10ms', '--timeout', '50ms']);
    expect(await ended).toMatchObject({
      code: 1,
      errors: 'mizzen sidecar wait: the sidecar is not ready after 0.05s: starting: not yet\n',
    });
  });

  it('tell a sidecar to drain, and say when there is none', async () => {
    const { port, requests } = await sidecar([200]);
    expect((await start(['drain', '--status-port', String(port)]).ended).code).toBe(0);
    expect(requests).toEqual(['POST /drain']);
    const { code, errors } = await start(['drain', '--status-port', '1']).ended;
    expect([code, errors]).toEqual([1, expect.stringContaining('no sidecar answers on port 1: connect ECONNREFUSED')]);
  });

  it('refuse a wrong command line', async () => {
    const { code, errors } = await start(['wait', '--until', 'now']).ended;
    expect([code, errors]).toEqual([64, expect.stringContaining('unknown argument --until')]);
    expect((await start(['drain', '--help']).ended).output).toContain('Usage: sidecar drain [flags]');
  });

  it('lay the rules of iptables', async () => {
    const { code, output } = await start(['iptables', '--dry-run']).ended;
    expect(code).toBe(0);
    expect(output).toContain('ISTIO_INBOUND');
  });
});
