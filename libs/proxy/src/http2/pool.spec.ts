import { createServer as createHttp1Server } from 'node:http';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream, type Settings } from 'node:http2';
import type { Server } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { closePeers, http1Call, listening, proxyTo, session, streamCall } from '../http/testing-http2.ts';

afterEach(closePeers);

interface Backend {
  readonly port: number;
  readonly sessions: ServerHttp2Session[];
  /** Streams that wait for their answer, in the order of their coming. */
  readonly held: ServerHttp2Stream[];
  /** Resolves once so many are held. */
  untilHeld(count: number): Promise<void>;
}

/** Answers `/hold` when the test wants, everything else at once. */
async function holdingBackend(settings: Settings = {}): Promise<Backend> {
  const server: Http2Server = createServer({ settings });
  const sessions: ServerHttp2Session[] = [];
  const held: ServerHttp2Stream[] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  server.on('session', (made) => {
    made.on('error', () => made.destroy());
    sessions.push(made);
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    if (headers[':path'] !== '/hold') {
      answer(stream);
      return;
    }
    held.push(stream);
    for (const { count, resolve } of waiting) if (held.length >= count) resolve();
  });
  const port = await listening(server as unknown as Server);
  return {
    port,
    sessions,
    held,
    untilHeld: (count) => (held.length >= count ? Promise.resolve() : new Promise((resolve) => waiting.push({ count, resolve }))),
  };
}

function answer(stream: ServerHttp2Stream | undefined): void {
  stream?.respond({ ':status': 200 });
  stream?.end('ok');
}

/** So many requests at once, over one connection of the client. */
function callAll(port: number, count: number, path: string) {
  const client = session(port);
  return Array.from({ length: count }, () => streamCall(client, { path }));
}

describe('the HTTP/2 connections to an endpoint', () => {
  it('are one, however many requests are under way', async () => {
    const backend = await holdingBackend();
    const { proxy, cluster } = await proxyTo('http2', backend.port);
    const calls = callAll(proxy.port, 20, '/hold');
    await backend.untilHeld(20);
    expect(backend.sessions).toHaveLength(1);
    expect(cluster.active).toMatchObject({ connections: 1, requests: 20, pendingRequests: 0 });
    for (const stream of backend.held) answer(stream);
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(new Array(20).fill(200));
    expect(cluster.active).toMatchObject({ requests: 0, pendingRequests: 0 });
  });

  it('are more where the server takes only few requests on each', async () => {
    const backend = await holdingBackend({ maxConcurrentStreams: 2 });
    const { proxy } = await proxyTo('http2', backend.port);
    await streamCall(session(proxy.port), {});
    const calls = callAll(proxy.port, 5, '/hold');
    await backend.untilHeld(5);
    expect(backend.sessions).toHaveLength(3);
    for (const stream of backend.held) answer(stream);
    expect((await Promise.all(calls)).every(({ status }) => status === 200)).toBe(true);
  });

  it('are no more than the limit: what finds no room waits for it', async () => {
    const backend = await holdingBackend({ maxConcurrentStreams: 1 });
    const limits = { maxConnections: 1, maxPendingRequests: 10, maxRequests: 100, maxRetries: 3 };
    const { proxy, cluster } = await proxyTo('http2', backend.port, { cluster: { limits } });
    await streamCall(session(proxy.port), {});
    const calls = callAll(proxy.port, 3, '/hold');
    for (let index = 0; index < 3; index++) {
      await backend.untilHeld(index + 1);
      expect(backend.sessions).toHaveLength(1);
      expect(backend.held).toHaveLength(index + 1);
      answer(backend.held[index]);
    }
    expect((await Promise.all(calls)).every(({ status }) => status === 200)).toBe(true);
    expect(cluster.stats.upstreamCxOverflow).toBeGreaterThan(0);
    expect(cluster.active.pendingRequests).toBe(0);
  });

  it('turn requests away where more wait than may', async () => {
    const backend = await holdingBackend({ maxConcurrentStreams: 1 });
    const limits = { maxConnections: 1, maxPendingRequests: 1, maxRequests: 100, maxRetries: 3 };
    const { proxy, cluster } = await proxyTo('http2', backend.port, { cluster: { limits } });
    await streamCall(session(proxy.port), {});
    const held = callAll(proxy.port, 1, '/hold');
    await backend.untilHeld(1);
    const client = session(proxy.port);
    const waits = streamCall(client, {});
    const refused = await streamCall(client, {});
    expect(refused).toMatchObject({ status: 503, headers: { 'x-envoy-overloaded': 'true' } });
    expect(cluster.stats.upstreamRqPendingOverflow).toBe(1);
    answer(backend.held[0]);
    expect((await Promise.all([...held, waits])).map(({ status }) => status)).toEqual([200, 200]);
  });

  it('are replaced after as many requests as each may carry', async () => {
    const backend = await holdingBackend();
    const { proxy } = await proxyTo('http2', backend.port, { cluster: { maxRequestsPerConnection: 2 } });
    const client = session(proxy.port);
    for (let index = 0; index < 5; index++) expect((await streamCall(client, {})).status).toBe(200);
    expect(backend.sessions).toHaveLength(3);
  });

  it('get nothing new after GOAWAY, and finish what they have', async () => {
    const backend = await holdingBackend();
    const { proxy } = await proxyTo('http2', backend.port);
    const calls = callAll(proxy.port, 1, '/hold');
    await backend.untilHeld(1);
    const [first] = backend.sessions;
    const client = session(proxy.port);
    first?.goaway(0, backend.held[0]?.id ?? 0);
    // The proxy has read GOAWAY once it has answered the PING behind it.
    await new Promise((resolve) => first?.ping(resolve));
    expect((await streamCall(client, {})).status).toBe(200);
    expect(backend.sessions).toHaveLength(2);
    answer(backend.held[0]);
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual([200]);
  });

  it('send again what the server says it did not look at, where the route retries refused-stream', async () => {
    const server = createServer();
    let refusals = 0;
    server.on('stream', (stream: ServerHttp2Stream) => {
      stream.on('error', () => {});
      if (refusals++ === 0) stream.close(7);
      else answer(stream);
    });
    const port = await listening(server as unknown as Server);
    const route = { match: { prefix: '/' }, route: { cluster: 'b', retryPolicy: { retryOn: 'refused-stream', numRetries: 1 } } };
    const hcm = { routeConfig: { name: 'r', virtualHosts: [{ name: 'v', domains: ['*'], routes: [route] }] } };
    const { proxy } = await proxyTo('http2', port, { hcm });
    expect((await streamCall(session(proxy.port), { method: 'POST', body: 'x' })).status).toBe(200);
    refusals = 0;
    const { proxy: without } = await proxyTo('http2', port);
    expect((await streamCall(session(without.port), { method: 'POST', body: 'x' })).status).toBe(503);
    expect(without.ended[0]?.responseCodeDetails).toMatch(/upstream_reset_before_response_started\{remote_refused_stream_reset/);
  });

  it('fail all who wait when none can be made', async () => {
    const { proxy, cluster } = await proxyTo('http2', 1);
    const answers = await Promise.all(callAll(proxy.port, 5, '/'));
    expect(answers.map(({ status }) => status)).toEqual(new Array(5).fill(503));
    expect(cluster.stats.upstreamCxConnectFail).toBe(1);
    expect(cluster.active).toMatchObject({ pendingRequests: 0, requests: 0 });
  });

  it('close when they were idle for long enough', async () => {
    const backend = await holdingBackend();
    const { proxy } = await proxyTo('http2', backend.port, { cluster: { idleTimeoutMs: 20 } });
    expect((await streamCall(session(proxy.port), {})).status).toBe(200);
    const [made] = backend.sessions;
    await new Promise<void>((resolve) => (made?.closed === true ? resolve() : made?.on('close', resolve)));
    expect((await streamCall(session(proxy.port), {})).status).toBe(200);
    expect(backend.sessions).toHaveLength(2);
  });
});

describe('the connections to an endpoint that goes', () => {
  it('carry the requests under way to their end, and close then', async () => {
    const backend = await holdingBackend();
    const { proxy, cluster } = await proxyTo('http2', backend.port);
    const calls = callAll(proxy.port, 2, '/hold');
    await backend.untilHeld(2);
    const [made] = backend.sessions;
    const closed = new Promise<void>((resolve) => made?.on('close', resolve));
    cluster.endpoints[0]?.pool?.drain();
    for (const stream of backend.held) answer(stream);
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual([200, 200]);
    await closed;
  });
});

describe('an endpoint that is spoken to as the client speaks', () => {
  it('gets HTTP/1.1 for HTTP/1.1 and HTTP/2 for HTTP/2', async () => {
    const versions: string[] = [];
    const server = createHttp1Server((request, response) => {
      versions.push(request.httpVersion);
      response.end('ok');
    });
    const port = await listening(server);
    const { proxy } = await proxyTo('downstream', port);
    expect((await http1Call(proxy.port, {})).status).toBe(200);
    // A server of HTTP/1.1 alone closes what begins with the preface of HTTP/2.
    expect((await streamCall(session(proxy.port), {})).status).toBe(503);
    expect(versions).toEqual(['1.1']);
    const { proxy: other } = await proxyTo('downstream', (await holdingBackend()).port);
    expect((await streamCall(session(other.port), {})).status).toBe(200);
  });
});
