import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { createProgram } from '../program.ts';
import { type CommandContext, systemContext } from './context.ts';

const PROXY = 'sidecar~10.0.0.1~reviews-v3.default~default.svc.cluster.local';
const dump = (id: string, cluster: string): object => ({
  configs: [
    { '@type': 'type.googleapis.com/envoy.admin.v3.BootstrapConfigDump', bootstrap: { node: { id } } },
    {
      '@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump',
      dynamic_active_clusters: [{ cluster: { name: `outbound|80||${cluster}` } }],
    },
  ],
});

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function serving(pages: Readonly<Record<string, unknown>>): Promise<string> {
  const server = createServer(({ url = '' }, response) => {
    const page = pages[decodeURIComponent(url)];
    response.writeHead(page === undefined ? 404 : 200).end(JSON.stringify(page ?? {}));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function controlPlane(adminAddress: string): Promise<string> {
  const resources = [{ name: 'x', version: '1', resource: { name: 'outbound|80||of-the-control-plane' } }];
  return serving({
    '/debug/syncz': [{ proxy: PROXY, admin_address: adminAddress, types: {} }],
    [`/debug/config_dump?proxyID=${PROXY}`]: { proxy: PROXY, configs: [{ type: 'CDS', version: '1', resources }] },
  });
}

function proxyAdmin(id: string, cluster: string): Promise<string> {
  return serving({ '/config_dump?include_eds': dump(id, cluster), '/clusters?format=json': {} });
}

async function run(args: readonly string[], stdin = ''): Promise<{ printed: string; messages: string }> {
  const printed: string[] = [];
  const messages: string[] = [];
  const context: CommandContext = {
    ...systemContext(),
    env: {},
    print: (text) => void printed.push(text),
    message: (line) => void messages.push(line),
    readStdin: async () => stdin,
  };
  await createProgram(context).parseAsync(['proxy-config', ...args], { from: 'user' });
  return { printed: printed.join(''), messages: messages.join('\n') };
}

describe('proxy-config', () => {
  it('asks the proxy itself where it can be reached', async () => {
    const debug = await controlPlane(await proxyAdmin(PROXY, 'of-the-proxy'));
    const { printed, messages } = await run(['clusters', 'reviews', '--debug-address', debug]);
    expect(printed).toContain('of-the-proxy');
    expect(messages).toBe('');
  });

  it.each([
    ['nobody answers at its admin address', async () => `127.0.0.1:${await freePort()}`, 'ECONNREFUSED'],
    ['another proxy answers there', () => proxyAdmin('sidecar~10.0.0.2~other.default~x', 'of-another'), 'other.default'],
  ])('asks the control plane where %s, and says so', async (_, admin, reason) => {
    const debug = await controlPlane(await admin());
    const { printed, messages } = await run(['clusters', 'reviews', '--debug-address', debug]);
    expect(printed).toContain('of-the-control-plane');
    expect(printed).not.toContain('of-another');
    expect(messages).toContain(reason);
    expect(messages).toContain('what the control plane has for it');
  });

  it.each(['secret', 'bootstrap'])('refuses %s then, which the proxy alone can tell, and says what to do', async (section) => {
    const debug = await controlPlane(`127.0.0.1:${await freePort()}`);
    await expect(run([section, 'reviews', '--debug-address', debug])).rejects.toThrow(
      /the (secret|bootstrap) of reviews-v3.default .*config_dump.* -f .*ECONNREFUSED/,
    );
  });

  it('reads a dump from standard input', async () => {
    const { printed } = await run(['clusters', '-f', '-'], JSON.stringify(dump(PROXY, 'of-the-dump')));
    expect(printed).toContain('of-the-dump');
    await expect(run(['clusters', '-f', '-'], 'no JSON')).rejects.toThrow(/standard input holds no config dump/);
  });
});
