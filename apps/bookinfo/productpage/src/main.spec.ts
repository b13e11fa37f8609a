import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from '@jest/globals';

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

it('reaches its services through the tunnels of a proxy that the environment names', async () => {
  const tunnels: string[] = [];
  const upstream = createServer((_request, response) => response.end('{"publisher":"by tunnel"}')).listen(0, '127.0.0.1');
  const proxy = createServer().listen(0, '127.0.0.1');
  await Promise.all([once(upstream, 'listening'), once(proxy, 'listening')]);
  cleanups.push(
    () => upstream.close().closeAllConnections(),
    () => proxy.close().closeAllConnections(),
  );
  proxy.on('connect', (request, socket) => {
    cleanups.push(() => socket.destroy());
    tunnels.push(request.url ?? '');
    const onward = connect((upstream.address() as AddressInfo).port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy());
    socket.on('error', () => onward.destroy());
  });
  const env = {
    PATH: process.env['PATH'] ?? '',
    PORT: '0',
    HOST: '127.0.0.1',
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
  };
  const productpage = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(() => productpage.kill('SIGKILL'));
  const ended = once(productpage, 'exit');
  let url = '';
  const lines = createInterface({ input: productpage.stdout });
  for await (const line of lines) {
    url = /Server listening at (http:[^"]+)"/.exec(line)?.[1] ?? '';
    if (url) break;
  }
  productpage.stdout.resume();

  expect(await (await fetch(`${url}/productpage`)).text()).toContain('by tunnel');
  expect(tunnels).toEqual(['details:9080', 'reviews:9080']);

  productpage.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});
