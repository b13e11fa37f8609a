import { createServer, request as httpRequest } from 'node:http';
import { type ClientHttp2Stream, createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from '@jest/globals';
import { StaticCluster, TestProxy } from './testing.ts';
import { closeLater, closePeers, listening, proxyTo, session } from './testing-http2.ts';

afterEach(closePeers);

/** Accepts every upgrade and sends back what comes. */
function http1Echo(): Promise<number> {
  const server = createServer();
  server.on('upgrade', (request, socket: Duplex) => {
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${request.headers.upgrade}\r\nx-seen: ${request.method} ${request.url}\r\n\r\n`,
    );
    socket.pipe(socket);
  });
  return listening(server);
}

/** The same by extended CONNECT. */
function http2Echo(): Promise<number> {
  const server = createHttp2Server({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => stream.destroy());
    stream.respond({ ':status': 200, 'x-seen': `${headers[':method']} ${headers[':protocol']} ${headers[':path']}` });
    stream.pipe(stream);
  });
  return listening(server as unknown as Server);
}

interface Tunnel {
  readonly head: IncomingHttpHeaders;
  readonly stream: Duplex;
}

function upgrade(port: number): Promise<Tunnel> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: '127.0.0.1', port, path: '/chat', headers: { connection: 'Upgrade', upgrade: 'websocket' } });
    sent.on('upgrade', (response, socket) => {
      closeLater(() => socket.destroy());
      resolve({ head: response.headers, stream: socket });
    });
    sent.on('response', (response) => reject(new Error(`status ${response.statusCode}`)));
    sent.on('error', reject);
    sent.end();
  });
}

async function connectStream(port: number, headers: Record<string, string>): Promise<Tunnel> {
  const client = session(port);
  await new Promise((resolve) => client.once('remoteSettings', resolve));
  const stream: ClientHttp2Stream = client.request({ ':method': 'CONNECT', ...headers }, { endStream: false });
  const head = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
    stream.on('response', resolve);
    stream.on('error', reject);
  });
  return { head, stream };
}

const extendedConnect = (port: number): Promise<Tunnel> =>
  connectStream(port, { ':protocol': 'websocket', ':scheme': 'http', ':authority': 'a', ':path': '/chat' });

/** Sends pieces one after the other, each after the one before has come back; then ends, and waits for the other side's end. */
async function pingPong({ stream }: Tunnel, pieces: readonly string[]): Promise<string> {
  let received = '';
  let wake: () => void = () => {};
  stream.on('data', (chunk: Buffer) => {
    received += chunk.toString();
    wake();
  });
  const ended = new Promise<void>((resolve) => stream.on('end', resolve));
  let sent = '';
  for (const piece of pieces) {
    stream.write(piece);
    sent += piece;
    while (received.length < sent.length)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  }
  stream.end();
  await ended;
  return received;
}

describe('a WebSocket', () => {
  it.each([
    ['1', '1', 'GET /chat'],
    ['1', '2', 'CONNECT websocket /chat'],
    ['2', '1', 'GET /chat'],
    ['2', '2', 'CONNECT websocket /chat'],
  ])('goes from HTTP/%s to HTTP/%s', async (client, upstream, seen) => {
    const port = upstream === '1' ? await http1Echo() : await http2Echo();
    const { proxy } = await proxyTo(upstream === '1' ? 'http1' : 'http2', port);
    const tunnel = client === '1' ? await upgrade(proxy.port) : await extendedConnect(proxy.port);
    expect(tunnel.head['x-seen']).toBe(seen);
    if (client === '1') expect(tunnel.head).toMatchObject({ connection: 'upgrade', upgrade: 'websocket' });
    else expect(tunnel.head).toMatchObject({ ':status': 200 });
    expect(await pingPong(tunnel, ['hello', 'again', 'x'.repeat(300_000)])).toHaveLength(300_010);
    await proxy.untilEnded(1);
    expect(proxy.ended[0]).toMatchObject({ responseCode: 101, responseCodeDetails: 'via_upstream' });
  });

  it('is refused over HTTP/2 where no upgrade is allowed', async () => {
    const { proxy } = await proxyTo('http1', await http1Echo(), { hcm: { upgradeConfigs: [] } });
    expect((await extendedConnect(proxy.port)).head[':status']).toBe(403);
  });
});

describe('CONNECT over HTTP/2', () => {
  it('opens a tunnel to the address of the cluster', async () => {
    const port = await listening(createTcpServer({ allowHalfOpen: true }, (socket: Socket) => void socket.pipe(socket)));
    const { proxy } = await proxyTo('http1', port);
    const tunnel = await connectStream(proxy.port, { ':authority': 'somewhere:80' });
    expect(tunnel.head[':status']).toBe(200);
    expect(await pingPong(tunnel, ['bytes', 'of any kind'])).toBe('bytesof any kind');
  });

  it('hands its bytes to a listener of this process, where a request may be among them', async () => {
    const cluster = Object.assign(new StaticCluster('b', []), { internalListener: 'inner' });
    const route = {
      match: { connectMatcher: {} },
      route: { cluster: 'b', upgradeConfigs: [{ upgradeType: 'CONNECT', connectConfig: {} }] },
    };
    const direct = { match: { prefix: '/' }, directResponse: { status: 200, body: { inlineString: 'from inside' } } };
    const proxy = new TestProxy({
      hcm: {
        http2ProtocolOptions: { allowConnect: true },
        upgradeConfigs: [{ upgradeType: 'CONNECT' }],
        routeConfig: { name: 'r', virtualHosts: [{ name: 'v', domains: ['*'], routes: [route, direct] }] },
      },
      clusters: [cluster],
    });
    await proxy.listen();
    closeLater(() => proxy.close());
    const tunnel = await connectStream(proxy.port, { ':authority': 'inner:80' });
    expect(tunnel.head[':status']).toBe(200);
    const answer = new Promise<string>((resolve) => {
      let text = '';
      tunnel.stream.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      tunnel.stream.on('end', () => resolve(text));
    });
    tunnel.stream.write('GET / HTTP/1.1\r\nhost: inner\r\nconnection: close\r\n\r\n');
    expect(await answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*from inside$/);
    expect(proxy.handed.map(({ name }) => name)).toEqual(['inner']);
  });
});
