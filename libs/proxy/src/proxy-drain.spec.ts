import { once } from 'node:events';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { http1Client, http2Client, startHttpBackend } from './testing/clients.ts';
import { Cleanup, type RunningProxy, startEcho, startProxy } from './testing/harness.ts';
import { httpListener, routesTo, staticCluster, tcpListener } from './testing/resources.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const DRAIN_MS = 1500;

/** A server that agrees to every upgrade and sends back what comes then. */
async function startUpgrading(): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n');
      socket.pipe(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** `http`, `ws` and `tcp` inbound, `out` outbound; responses of the back end stay open with the test. */
async function startDraining(drainTimeMs = DRAIN_MS): Promise<{ running: RunningProxy; responses: ServerResponse[] }> {
  const responses: ServerResponse[] = [];
  const backend = await startHttpBackend(cleanup, '', (incoming, response) => {
    if (incoming.url === '/') return void response.end('well');
    responses.push(response);
    response.write('begun ');
  });
  const running = await startProxy(cleanup, '', { drainTimeMs });
  running.apply('cluster', {
    app: staticCluster('app', [backend]),
    echo: staticCluster('echo', [await startEcho(cleanup)]),
    ws: staticCluster('ws', [await startUpgrading()]),
  });
  const inbound: JsonObject = { traffic_direction: 'INBOUND' };
  const routes = { route_config: routesTo('app', { timeout: '0s' }) };
  expect(
    running.apply('listener', {
      http: httpListener(routes, inbound),
      tcp: tcpListener('echo', inbound),
      ws: httpListener({ route_config: routesTo('ws'), upgrade_configs: [{ upgrade_type: 'websocket' }] }, inbound),
      out: httpListener(routes, { traffic_direction: 'OUTBOUND' }),
    }),
  ).toEqual([]);
  return { running, responses };
}

async function begunHttp1(port: number): Promise<IncomingMessage> {
  const asked = request({ host: '127.0.0.1', port, path: '/long', agent: false, headers: { connection: 'keep-alive' } });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  await once(response.setEncoding('utf8'), 'readable');
  return response;
}

async function begunHttp2(port: number): Promise<{ session: ClientHttp2Session; stream: ClientHttp2Stream }> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  cleanup.add(() => session.destroy());
  const stream = session.request({ ':path': '/long' });
  await once(stream.setEncoding('utf8'), 'readable');
  return { session, stream };
}

/** A connection on which `first` was answered. */
async function begun(port: number, first: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  cleanup.add(() => socket.destroy());
  socket.write(first);
  await once(socket, 'data');
  return socket;
}

const UPGRADE = 'GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n';

async function textOf(body: AsyncIterable<unknown>): Promise<string> {
  let text = '';
  for await (const chunk of body) text += chunk;
  return text;
}

const isRefused = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', () => resolve(true));
  });

describe('the end of a proxy', () => {
  it('lets exchanges end that end in the drain time, takes no connection more, and cuts what is left', async () => {
    const { running, responses } = await startDraining();
    const [http, tcp] = [running.portOf('http'), running.portOf('tcp')];
    const answer = await begunHttp1(http);
    const { session, stream } = await begunHttp2(http);
    const endless = await begunHttp2(http);
    const tunnels = [await begun(tcp, 'a'), await begun(running.portOf('ws'), UPGRADE)];
    const goaway = once(session, 'goaway');
    const startedMs = performance.now();
    const closed = running.proxy.close();
    expect((await goaway)[0]).toBe(0);
    expect([await isRefused(http), await isRefused(tcp)]).toEqual([true, true]);
    for (const socket of tunnels) {
      socket.write('b');
      expect(String((await once(socket, 'data'))[0])).toBe('b');
    }
    for (const response of responses.slice(0, 2)) response.end('ended');
    expect(await textOf(answer)).toBe('begun ended');
    expect(await textOf(stream)).toBe('begun ended');
    const cut = [...tunnels.map((socket) => once(socket, 'close')), new Promise((resolve) => endless.session.once('close', resolve))];
    endless.stream.on('error', () => {});
    await closed;
    const lasted = performance.now() - startedMs;
    expect(lasted).toBeGreaterThanOrEqual(DRAIN_MS - 1);
    expect(lasted).toBeLessThan(DRAIN_MS + 10_000);
    await Promise.all(cut);
    expect(running.proxy.activeConnections()).toBe(0);
  });

  it('comes as soon as the last exchange is over', async () => {
    const { running, responses } = await startDraining(30_000);
    const answer = await begunHttp1(running.portOf('http'));
    const startedMs = performance.now();
    const closed = running.proxy.close();
    responses[0]?.end('ended');
    expect(await textOf(answer)).toBe('begun ended');
    await closed;
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  });
});

describe('/drain_listeners?inboundonly&graceful', () => {
  it('asks inbound connections to end, still takes new ones for the drain time, and leaves outbound alone', async () => {
    const { running, responses } = await startDraining(3000);
    const [http, out] = [running.portOf('http'), running.portOf('out')];
    const outbound = [http1Client(cleanup, { port: () => out }), http2Client(cleanup, { port: () => out })];
    for (const client of outbound) await client.get('/');
    const answer = await begunHttp1(http);
    const { session, stream } = await begunHttp2(http);
    const goaway = once(session, 'goaway');
    expect((await running.admin('/drain_listeners?inboundonly&graceful', 'POST')).status).toBe(200);
    await goaway;
    expect((await http1Client(cleanup, { port: () => http }).get('/')).body).toBe('well');
    while (!(await isRefused(http))) await new Promise((resolve) => setImmediate(resolve));
    // Its exchanges go on, longer than it takes connections.
    for (const response of responses) response.end('ended');
    expect([await textOf(answer), await textOf(stream)]).toEqual(['begun ended', 'begun ended']);
    for (const client of outbound) expect(await client.get('/')).toEqual({ status: '200', body: 'well' });
    expect(outbound.map(({ connections }) => connections)).toEqual([1, 1]);
  });

  it('has answers of HTTP/1.1 say that the connection ends', async () => {
    const { running } = await startDraining();
    await running.admin('/drain_listeners?inboundonly&graceful', 'POST');
    const asked = request({ host: '127.0.0.1', port: running.portOf('http'), agent: false, headers: { connection: 'keep-alive' } });
    asked.end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    expect(answer.headers.connection).toBe('close');
    expect(await textOf(answer)).toBe('well');
  });
});
