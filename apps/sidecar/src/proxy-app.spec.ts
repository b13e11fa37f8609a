import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { translateEnvoyFlags } from './proxy-app.ts';

const MAIN = join(import.meta.dirname, 'proxy-main.ts');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mizzen-proxy-'));
});
afterAll(() => rm(folder, { recursive: true }));

function run(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function ended(child: ChildProcess): Promise<{ code: number | null; out: string; err: string }> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

async function bootstrapFile(name: string, backendPort: number, virtualHosts = 1): Promise<string> {
  const hosts = Array.from(
    { length: virtualHosts },
    (_, index) => `{name: h${index}, domains: ["h${index}"], routes: [{match: {prefix: "/"}, route: {cluster: b}}]}`,
  );
  const path = join(folder, name);
  await writeFile(
    path,
    `static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {name: r, virtual_hosts: [${hosts.join(', ')}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: b
    type: STATIC
    load_assignment: {cluster_name: b, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${backendPort}}}}}]}]}
`,
  );
  return path;
}

describe('mizzen proxy', () => {
  it.each([
    [
      ['-c', 'a.yaml', '-l', 'warning'],
      ['--config-path', 'a.yaml', '--log-level', 'warn'],
    ],
    [
      ['-ca.yaml', '--log-level=off', '--concurrency', '1'],
      ['--config-path', 'a.yaml', '--log-level=silent', '--concurrency', '1'],
    ],
    [
      ['--config', 'a.yaml', '--base-id', '7'],
      ['--config-path', 'a.yaml', '--base-id', '7'],
    ],
  ])('takes %j as Envoy does', (given, expected) => {
    expect(translateEnvoyFlags(given)).toEqual(expected);
  });

  it.each([
    ['small', 1],
    ['large enough to be read in a process of its own', 3000],
  ])(
    'serves a bootstrap that is %s, and ends on SIGTERM',
    async (_, virtualHosts) => {
      const backend = createServer((_request, response) => response.end('backend'));
      backend.listen(0, '127.0.0.1');
      await once(backend, 'listening');
      const file = await bootstrapFile('ok.yaml', (backend.address() as AddressInfo).port, virtualHosts);
      const child = run(['-c', file, '--concurrency', '1', '-l', 'error', '--drain-time-s', '0']);
      const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
      const { ready, listeners } = JSON.parse(String(line)) as { ready: boolean; listeners: Record<string, string> };
      expect(ready).toBe(true);
      const asked = request(`http://${listeners['in']}/`, { headers: { host: `h${virtualHosts - 1}` }, agent: false });
      asked.end();
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      expect([response.statusCode, String((await once(response, 'data'))[0])]).toEqual([200, 'backend']);
      child.kill('SIGTERM');
      expect(await ended(child)).toMatchObject({ code: 0 });
      backend.closeAllConnections();
      backend.close();
    },
    120_000,
  );

  it('validates a bootstrap and names what is wrong with another', async () => {
    const file = await bootstrapFile('valid.yaml', 1);
    expect(await ended(run(['--mode', 'validate', '-c', file]))).toMatchObject({ code: 0, out: 'configuration OK\n' });
    const bad = join(folder, 'bad.yaml');
    await writeFile(bad, 'hds_config: {}\n');
    expect(await ended(run(['-c', bad]))).toMatchObject({
      code: 1,
      err: 'mizzen proxy: the bootstrap cannot be used: hds_config: is not supported by this proxy; remove it\n',
    });
    expect(await ended(run([]))).toMatchObject({ code: 64 });
    expect((await ended(run(['-c', join(folder, 'none.yaml')]))).err).toContain('cannot be read: ENOENT');
  });
});
