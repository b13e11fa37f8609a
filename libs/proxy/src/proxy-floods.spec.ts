import { once } from 'node:events';
import { request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { afterEach, describe, expect, it } from '@jest/globals';
import { FLAG, FRAME } from './http2/frames.ts';
import { frame, GET, headersFrames, literals, POST, RawPeer, SETTINGS } from './http2/testing.ts';
import { http2Client, startHttpBackend } from './testing/clients.ts';
import { Cleanup, type RunningProxy, startProxy } from './testing/harness.ts';
import { httpListener, routesTo, staticCluster } from './testing/resources.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const MIB = 1024 * 1024;
const BODY_BYTES = 200 * MIB;
/** What the kernel keeps for the sockets of both hops, and the proxy between them. */
const HELD_BYTES = 40 * MIB;
const CHUNK = Buffer.alloc(256 * 1024, 'x');

async function startHttp(backend: number): Promise<RunningProxy & { readonly port: number }> {
  const running = await startProxy(cleanup, '');
  expect(running.apply('cluster', { app: staticCluster('app', [backend]) })).toEqual([]);
  expect(running.apply('listener', { l: httpListener({ route_config: routesTo('app', { timeout: '0s' }) }) })).toEqual([]);
  return { ...running, port: running.portOf('l') };
}

async function statOf(running: RunningProxy, name: string): Promise<number> {
  const { stats } = JSON.parse((await running.admin('/stats?format=json')).body) as { stats: { name?: string; value: number }[] };
  return stats.find((stat) => stat.name === name)?.value ?? 0;
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** Writes as fast as it is taken; `sent` is how much that was. */
class Source {
  sent = 0;

  constructor(target: Writable) {
    const write = (): void => {
      while (this.sent < BODY_BYTES) {
        this.sent += CHUNK.length;
        if (!target.write(CHUNK)) {
          target.once('drain', write);
          return;
        }
      }
      target.end();
    };
    write();
  }

  /** Resolves once nothing moves any more: two equal readings say so. */
  async stalled(): Promise<void> {
    for (let before = -1; before !== this.sent; ) {
      before = this.sent;
      await turns(500);
    }
  }
}

async function sizeOf(body: Readable): Promise<number> {
  let bytes = 0;
  for await (const chunk of body) bytes += (chunk as Buffer).length;
  return bytes;
}

const VERSIONS = ['HTTP/1.1', 'HTTP/2'] as const;

/** A GET whose answer nobody has begun to read. */
async function ask(version: (typeof VERSIONS)[number], port: number): Promise<Readable> {
  if (version === 'HTTP/1.1') {
    const asked = request({ host: '127.0.0.1', port, agent: false });
    asked.end();
    return ((await once(asked, 'response')) as [Readable])[0];
  }
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  cleanup.add(() => session.destroy());
  const stream = session.request({ ':path': '/' });
  await once(stream, 'response');
  return stream;
}

/** A POST without its body, and its answer. */
function post(version: (typeof VERSIONS)[number], port: number): { body: Writable; answered: Promise<unknown> } {
  if (version === 'HTTP/1.1') {
    const body = request({ host: '127.0.0.1', port, method: 'POST', agent: false });
    return { body, answered: once(body, 'response').then(([response]) => (response as Readable).resume()) };
  }
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  cleanup.add(() => session.destroy());
  const body = session.request({ ':method': 'POST', ':path': '/' });
  return { body, answered: once(body, 'response').then(() => body.resume()) };
}

describe.each(VERSIONS)('over %s', (version) => {
  it('a client that does not read stops the back end, not the proxy, and gets all of it once it reads', async () => {
    let source: Source | undefined;
    const backend = await startHttpBackend(cleanup, '', (_, response) => {
      source = new Source(response);
    });
    const { port } = await startHttp(backend);
    const before = process.memoryUsage().arrayBuffers;
    const answer = await ask(version, port);
    await source?.stalled();
    expect(source?.sent).toBeLessThan(HELD_BYTES);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(30 * MIB);
    expect(await sizeOf(answer)).toBe(BODY_BYTES);
  });

  it('a back end that does not read stops the client', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const backend = await startHttpBackend(cleanup, '', async (incoming, response) => {
      await promise;
      response.end(String(await sizeOf(incoming)));
    });
    const { port } = await startHttp(backend);
    const before = process.memoryUsage().arrayBuffers;
    const { body, answered } = post(version, port);
    const source = new Source(body);
    await source.stalled();
    expect(source.sent).toBeLessThan(HELD_BYTES);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(30 * MIB);
    resolve();
    let text = '';
    for await (const chunk of (await answered) as Readable) text += chunk;
    expect(Number(text)).toBe(BODY_BYTES);
  });
});

const many = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
const CANCEL = Buffer.from('00000008', 'hex');

const FLOODS: readonly (readonly [what: string, bytes: Buffer, counter: string])[] = [
  [
    'rapid reset',
    many(2000, (index) => Buffer.concat([headersFrames(1 + 2 * index, GET), frame(FRAME.resetStream, 0, 1 + 2 * index, CANCEL)])),
    'http.http.downstream_rq_too_many_premature_resets',
  ],
  [
    'CONTINUATION',
    Buffer.concat([
      frame(FRAME.headers, FLAG.endStream, 1, literals(GET)),
      many(2000, () => frame(FRAME.continuation, 0, 1, literals([['a', 'b']]))),
    ]),
    'http2.inbound_continuation_frames_flood',
  ],
  ['PING', many(20_000, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))), 'http2.outbound_control_flood'],
  ['SETTINGS', many(30_000, () => SETTINGS), 'http2.outbound_control_flood'],
  ['empty DATA', Buffer.concat([headersFrames(1, POST, 0), many(1000, () => frame(FRAME.data, 0, 1))]), 'http2.inbound_empty_frames_flood'],
  ['PRIORITY', many(20_000, () => frame(FRAME.priority, 0, 1, Buffer.from('0000000010', 'hex'))), 'http2.inbound_priority_frames_flood'],
  [
    'WINDOW_UPDATE',
    many(20_000, () => frame(FRAME.windowUpdate, 0, 0, Buffer.from('00000001', 'hex'))),
    'http2.inbound_window_update_frames_flood',
  ],
];

describe('a flood over HTTP/2', () => {
  it.each(FLOODS)('of %s ends its connection and no other, is counted, and leaves nothing', async (_, bytes, counter) => {
    const running = await startHttp(await startHttpBackend(cleanup, 'well'));
    const other = http2Client(cleanup, { port: () => running.port });
    await other.get('/');
    const attacker = await RawPeer.connect(running.port);
    cleanup.add(() => attacker.socket.destroy());
    attacker.send(bytes);
    await attacker.closed();
    expect(await other.get('/')).toEqual({ status: '200', body: 'well' });
    expect(other.connections).toBe(1);
    expect(await statOf(running, counter)).toBe(1);
    expect(await statOf(running, 'http.http.downstream_cx_active')).toBe(1);
    expect(await statOf(running, 'http.http.downstream_rq_active')).toBe(0);
  });
});

async function closedText(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

describe('a flood over HTTP/1.1', () => {
  it.each([
    ['many headers', (index: number) => (index < 4999 ? `x-${index}: a\r\n` : '\r\n')],
    ['long headers', (index: number) => `x-${index % 50}: ${'a'.repeat(2000)}\r\n`],
  ])('of %s is answered with 431', async (_, line) => {
    const running = await startHttp(await startHttpBackend(cleanup, 'well'));
    const socket = connect(running.port, '127.0.0.1');
    const text = closedText(socket);
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n');
    for (let index = 0; index < 5000; index++) socket.write(line(index));
    expect(await text).toMatch(/^HTTP\/1\.1 431 /);
    while ((await statOf(running, 'http.http.downstream_cx_active')) > 0) await turns(10);
  });
});

describe('idle connections', () => {
  it('cost little, and nothing once they are gone', async () => {
    const count = 2000;
    const running = await startHttp(await startHttpBackend(cleanup, 'well'));
    const before = process.memoryUsage().rss;
    const sockets: Socket[] = [];
    for (let index = 0; index < count; index++) {
      const socket = connect(running.port, '127.0.0.1');
      sockets.push(socket);
      socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
      await once(socket, 'data');
    }
    expect(await statOf(running, 'http.http.downstream_cx_active')).toBe(count);
    // The client's side is in this process, too.
    expect((process.memoryUsage().rss - before) / count).toBeLessThan(60 * 1024);
    for (const socket of sockets) socket.destroy();
    while ((await statOf(running, 'http.http.downstream_cx_active')) > 0) await turns(10);
    expect(running.proxy.activeConnections()).toBe(0);
  });
});
