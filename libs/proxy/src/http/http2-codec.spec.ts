import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { connect, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { TlsInfo } from '../contract.ts';
import { TestProxy } from './testing.ts';
import { closeLater, closePeers, type Json, listening, proxyTo, session, streamCall } from './testing-http2.ts';

afterEach(closePeers);

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** SETTINGS without any, and `GET / http a` on stream 1. */
const SETTINGS = Buffer.from('000000040000000000', 'hex');
const REQUEST = Buffer.from('0000060105000000018286844101' + '61', 'hex');

async function answering(hcm: Json = {}, alpn?: string): Promise<TestProxy> {
  const direct = { match: { prefix: '/' }, directResponse: { status: 200, body: { inlineString: 'yes' } } };
  const tls: TlsInfo | undefined = alpn === undefined ? undefined : { requestedServerName: '', alpn, peer: undefined, localUriSan: '' };
  const proxy = new TestProxy({
    hcm: { ...hcm, routeConfig: { name: 'r', virtualHosts: [{ name: 'v', domains: ['*'], routes: [direct] }] } },
    clusters: [],
    ...(tls !== undefined && { tls }),
  });
  await proxy.listen();
  closeLater(() => proxy.close());
  return proxy;
}

/** Sends the pieces, each once the proxy has read the one before, and gives all that came until `isEnough` or the end. */
function say(port: number, pieces: readonly (string | Buffer)[], isEnough: (bytes: Buffer) => boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true });
    closeLater(() => socket.destroy());
    let received = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (isEnough(received)) resolve(received);
    });
    socket.on('close', () => resolve(received));
    socket.on('error', reject);
    const rest = [...pieces];
    const next = (): void => {
      const piece = rest.shift();
      if (piece !== undefined) socket.write(piece, () => setImmediate(next));
    };
    next();
  });
}

const hasHttp1Answer = (bytes: Buffer): boolean => bytes.includes('\r\n\r\nyes');
/** The body stands in a DATA frame of its own. */
const hasHttp2Answer = (bytes: Buffer): boolean => bytes.includes('yes') && !bytes.includes('HTTP/1.1');

describe('a connection whose client does not say which HTTP it speaks', () => {
  it('is HTTP/2 where it begins with the preface', async () => {
    const proxy = await answering();
    const bytes = await say(proxy.port, [Buffer.concat([Buffer.from(PREFACE), SETTINGS, REQUEST])], hasHttp2Answer);
    expect(hasHttp2Answer(bytes)).toBe(true);
    expect(proxy.ended[0]).toMatchObject({ protocol: 'HTTP/2', responseCode: 200 });
    expect(proxy.filter.stats).toMatchObject({ downstreamCxTotal: 1, downstreamCxActive: 1 });
  });

  it('is HTTP/2 however small the pieces are in which the preface comes', async () => {
    const proxy = await answering();
    const bytes = await say(proxy.port, [...PREFACE, SETTINGS, REQUEST], hasHttp2Answer);
    expect(hasHttp2Answer(bytes)).toBe(true);
  });

  it('is HTTP/1.1 where it only begins like it', async () => {
    const proxy = await answering();
    const bytes = await say(proxy.port, ['P', 'R', 'OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n'], hasHttp1Answer);
    expect(hasHttp1Answer(bytes)).toBe(true);
    expect(proxy.ended[0]).toMatchObject({ protocol: 'HTTP/1.1', method: 'PROPFIND' });
  });
});

describe('a client that agreed on a version by ALPN', () => {
  it('speaks HTTP/2 where it is h2', async () => {
    const proxy = await answering({}, 'h2');
    expect(await streamCall(session(proxy.port), {})).toMatchObject({ status: 200, body: 'yes' });
  });

  it('is not understood where it speaks another one', async () => {
    const proxy = await answering({}, 'http/1.1');
    expect((await say(proxy.port, [PREFACE], () => false)).toString()).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('codec_type', () => {
  it('HTTP1 refuses HTTP/2', async () => {
    const proxy = await answering({ codecType: 'HTTP1' });
    expect((await say(proxy.port, [PREFACE], () => false)).toString()).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('HTTP2 closes what is not HTTP/2', async () => {
    const proxy = await answering({ codecType: 'HTTP2' });
    const bytes = await say(proxy.port, ['GET / HTTP/1.1\r\nhost: a\r\n\r\n'], () => false);
    expect(bytes.includes('HTTP/1.1')).toBe(false);
    expect(await streamCall(session(proxy.port), {})).toMatchObject({ status: 200 });
  });

  it('HTTP3 is refused by name', () => {
    const make = (): TestProxy => new TestProxy({ hcm: { codecType: 'HTTP3', routeConfig: { name: 'r' } }, clusters: [] });
    expect(make).toThrow(/codec_type/);
  });
});

describe('a connection manager that drains', () => {
  it('lets the streams under way end, and the connections with them', async () => {
    let held: ServerHttp2Stream | undefined;
    const server = createHttp2Server();
    const isHeld = new Promise<void>((resolve) =>
      server.on('stream', (stream) => {
        held = stream;
        resolve();
      }),
    );
    const { proxy } = await proxyTo('http2', await listening(server as unknown as Server));
    const client = session(proxy.port);
    const goaway = new Promise<void>((resolve) => client.once('goaway', () => resolve()));
    const call = streamCall(client, {});
    await isHeld;
    proxy.filter.drain();
    await goaway;
    held?.respond({ ':status': 200 });
    held?.end('late');
    expect(await call).toMatchObject({ status: 200, body: 'late' });
    // The socket's own end comes some turns later; without a drain it never would.
    while (proxy.filter.activeConnections > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});
