import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from '@jest/globals';

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

it('asks ratings in the absolute form through a proxy that the environment names', async () => {
  const asked: (string | undefined)[] = [];
  const proxy = createServer((request, response) => {
    asked.push(request.url);
    response.end('{"ratings":{"Reviewer1":1,"Reviewer2":2}}');
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const env = {
    PATH: process.env['PATH'] ?? '',
    PORT: '0',
    HOST: '127.0.0.1',
    SERVICE_VERSION: 'v3',
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
  };
  const reviews = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(
    () => proxy.close().closeAllConnections(),
    () => reviews.kill('SIGKILL'),
  );
  const ended = once(reviews, 'exit');
  let url = '';
  const lines = createInterface({ input: reviews.stdout });
  for await (const line of lines) {
    url = /Server listening at (http:[^"]+)"/.exec(line)?.[1] ?? '';
    if (url) break;
  }
  reviews.stdout.resume();

  const { reviews: shown } = (await (await fetch(`${url}/reviews/0`)).json()) as { reviews: { rating: unknown }[] };
  expect(shown.map((review) => review.rating)).toEqual([
    { stars: 1, color: 'red' },
    { stars: 2, color: 'red' },
  ]);
  expect(asked).toEqual(['http://ratings:9080/ratings/0']);

  reviews.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});
