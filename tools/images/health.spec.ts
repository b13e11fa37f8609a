import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { root } from '../check/workspace.ts';

let server: Server | undefined;
afterEach(() => void server?.close());

async function serving(status: number): Promise<string> {
  server = createServer((_, response) => response.writeHead(status).end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/ready`;
}

async function check(url: string): Promise<{ code: number; stderr: string }> {
  const child = spawn(process.execPath, [path.join(root, 'deploy/images/health.mjs')], { env: { MIZZEN_HEALTH_URL: url } });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  return { code: code as number, stderr };
}

describe('the health check of the images', () => {
  it('ends with 0 where the process is well', async () => {
    expect(await check(await serving(200))).toEqual({ code: 0, stderr: '' });
  });

  it.each([404, 503])('ends with 1 and says why where it answers %d', async (status) => {
    const url = await serving(status);
    expect(await check(url)).toEqual({ code: 1, stderr: `${url} answers ${status}\n` });
  });

  it('ends with 1 and says why where nobody listens, or nothing is named', async () => {
    const url = `http://127.0.0.1:${await freePort()}/`;
    expect(await check(url)).toMatchObject({ code: 1, stderr: expect.stringContaining('ECONNREFUSED') });
    expect(await check('')).toMatchObject({ code: 1, stderr: expect.stringContaining('MIZZEN_HEALTH_URL') });
  });
});
