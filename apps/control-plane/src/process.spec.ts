import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { freePort, ScriptedSotwClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import { productpage, REVIEWS, SUBSETS } from './fixtures/running-control-plane.ts';

const MAIN = join(import.meta.dirname, 'main.ts');
const CLUSTER = 'outbound|9080|v1|reviews.default.svc.cluster.local';

interface Ready {
  readonly ports: { readonly xds: number; readonly debug: number };
}

describe('the process of the control plane', () => {
  let directory: string;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'mizzen-control-plane-'));
  });

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(directory, { recursive: true, force: true });
  });

  function launch(flags: readonly string[]): ChildProcess {
    const child = spawn(process.execPath, ['--no-warnings', MAIN, '--config', directory, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    return child;
  }

  async function ready(
    flags: readonly string[] = ['--xds-port', '0', '--debug-port', '0'],
  ): Promise<{ child: ChildProcess; ports: Ready['ports'] }> {
    const child = launch(flags);
    child.stderr?.resume();
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      const { ports } = JSON.parse(line) as Ready;
      return { child, ports };
    }
    throw new Error('the control plane ended before it was ready');
  }

  async function failure(flags: readonly string[]): Promise<{ code: number; text: string }> {
    const child = launch(flags);
    let text = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const [code] = (await once(child, 'close')) as [number];
    return { code, text };
  }

  async function clusterNames(port: number): Promise<readonly string[]> {
    const client = new ScriptedSotwClient({ address: `127.0.0.1:${port}`, node: productpage, timeoutMs: 10_000 });
    client.request(TYPE_URL.cluster);
    const { names } = await client.expectResponse(TYPE_URL.cluster);
    client.drop();
    return names;
  }

  it('serves from a directory alone, is killed, serves again on the same port, and ends on SIGTERM', async () => {
    await writeFile(join(directory, 'mesh.yaml'), `${REVIEWS}---${SUBSETS}`);
    await writeFile(join(directory, 'broken.yaml'), 'kind: [');
    const first = await ready(['--xds-port', String(await freePort()), '--debug-port', '0', '--registration-settle', '50ms']);
    expect(await clusterNames(first.ports.xds)).toContain(CLUSTER);
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    const again = await ready(['--xds-port', String(first.ports.xds), '--debug-port', '0', '--registration-settle', '50ms']);
    expect(again.ports.xds).toBe(first.ports.xds);
    expect(await clusterNames(again.ports.xds)).toContain(CLUSTER);
    again.child.kill('SIGTERM');
    expect(await once(again.child, 'exit')).toEqual([0, null]);
  });

  it('says in one sentence which port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const { code, text } = await failure(['--xds-port', String(port), '--debug-port', '0', '--log-level', 'silent']);
    other.close();
    expect(code).toBe(1);
    expect(text).toBe(`mizzen control-plane: xds cannot listen on 127.0.0.1:${port}: the port is in use; free it or choose another\n`);
  });

  it('names every wrong setting', async () => {
    const { code, text } = await failure(['--xds-port', '99999', '--debounce-quiet', 'soon']);
    expect(code).toBe(64);
    expect(text).toContain('--xds-port');
    expect(text).toContain('--debounce-quiet');
  });

  it('needs the root of the CA that it is told of', async () => {
    const { code, text } = await failure([
      '--xds-port',
      '0',
      '--debug-port',
      '0',
      '--ca-address',
      '127.0.0.1:15013',
      '--log-level',
      'silent',
    ]);
    expect(code).toBe(64);
    expect(text).toContain('--ca-root');
  });
});
