import { connect, type Socket } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { TestProxy } from '../http/testing.ts';

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const BODY = 'x'.repeat(4096);

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A connection to a proxy that answers every request by itself. */
async function connectedTo(hcm: { readonly [field: string]: JsonValue }): Promise<{ proxy: TestProxy; client: Socket }> {
  const routes = [{ match: { prefix: '/' }, directResponse: { status: 200, body: { inlineString: BODY } } }];
  const proxy = new TestProxy({
    clusters: [],
    hcm: { ...hcm, routeConfig: { name: 'r', virtualHosts: [{ name: 'all', domains: ['*'], routes }] } },
  });
  await proxy.listen();
  closers.push(() => proxy.close());
  const client = connect(proxy.port, '127.0.0.1');
  closers.push(() => client.destroy());
  return { proxy, client };
}

function textUntilClose(client: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    client.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    client.on('close', () => resolve(text));
    client.resume();
  });
}

describe('a client that is slow on purpose', () => {
  it('gets no more answers to pipelined requests than it reads, and the rest once it reads', async () => {
    const { proxy, client } = await connectedTo({});
    const count = 10_000;
    client.pause();
    client.write(REQUEST.repeat(count - 1));
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    // The kernel's buffers fill, then nothing moves any more: two equal readings say so.
    let before = -1;
    while (before !== proxy.ended.length || before === 0) {
      before = proxy.ended.length;
      for (let turn = 0; turn < 300; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(before).toBeLessThan(count / 2);
    const text = await textUntilClose(client);
    expect(text.split('HTTP/1.1 200 OK\r\n')).toHaveLength(count + 1);
    expect(proxy.ended).toHaveLength(count);
  });

  it('has a limited time for a head, however steadily its bytes drip in', async () => {
    const { proxy, client } = await connectedTo({ requestHeadersTimeout: '0.15s' });
    const begun = performance.now();
    client.write('GET / HTTP/1.1\r\nx-slow: ');
    const drip = setInterval(() => client.write('a'), 10);
    client.on('error', () => {});
    const text = await textUntilClose(client);
    clearInterval(drip);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(149);
    expect(proxy.ended[0]?.responseCodeDetails).toBe('request_header_timeout');
  });

  it('keeps a connection with half a head no longer than one without any', async () => {
    const { client } = await connectedTo({ commonHttpProtocolOptions: { idleTimeout: '0.1s' } });
    client.write('GET / HTTP/1.1\r\nHo');
    expect(await textUntilClose(client)).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('is given its time for each request anew', async () => {
    const { client } = await connectedTo({ requestHeadersTimeout: '2s' });
    const answers = textUntilClose(client);
    for (let turn = 0; turn < 4; turn++) {
      client.write('GET / HTTP/1.1\r\n');
      await new Promise((resolve) => setTimeout(resolve, 600));
      client.write(turn < 3 ? 'Host: a\r\n\r\n' : 'Host: a\r\nConnection: close\r\n\r\n');
    }
    expect((await answers).split('HTTP/1.1 200 OK\r\n')).toHaveLength(5);
  });
});
