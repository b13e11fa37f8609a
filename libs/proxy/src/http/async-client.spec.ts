import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { callUnary, frameMessage, type UnaryResult } from '../grpc/unary-client.ts';
import { type AsyncRequest, type AsyncResponse, type CallRuntime, sendAsyncRequest } from './async-client.ts';
import { HeaderMap } from './headers.ts';
import { StaticCluster } from './testing.ts';
import { wheelOf } from './timer-wheel.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function listen(server: Server | Http2Server | ReturnType<typeof createTcpServer>): Promise<number> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
}

async function serve(handler: RequestListener): Promise<number> {
  const server = createServer(handler);
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return listen(server);
}

function runtimeWith(...clusters: StaticCluster[]): CallRuntime {
  const context = {
    clock: systemClock,
    random: Math.random,
    cluster: (name: string) => clusters.find((cluster) => cluster.name === name),
  };
  return { context, wheel: wheelOf(systemClock) };
}

const GET: Omit<AsyncRequest, 'headers'> = {
  cluster: 'b',
  method: 'GET',
  path: '/x?y',
  authority: 'b.example',
  body: Buffer.alloc(0),
  timeoutMs: 0,
};

function send(runtime: CallRuntime, more: Partial<AsyncRequest> = {}): Promise<AsyncResponse | string> {
  return new Promise((resolve) => {
    sendAsyncRequest(
      runtime,
      { ...GET, headers: new HeaderMap(), ...more },
      { onResponse: resolve, onFailure: (failure) => resolve(failure) },
    );
  });
}

describe('a request of the proxy itself', () => {
  it('brings the whole answer', async () => {
    const port = await serve((request, response) => {
      const body: Buffer[] = [];
      request.on('data', (chunk: Buffer) => body.push(chunk));
      request.on('end', () => {
        response.writeHead(201, {
          'x-seen': `${request.method} ${request.url} ${request.headers.host} ${request.headers['content-length']}`,
        });
        response.write('first ');
        response.end(Buffer.concat(body));
      });
    });
    const cluster = new StaticCluster('b', [port]);
    const answer = await send(runtimeWith(cluster), { method: 'PUT', body: Buffer.from('sent') });
    expect(answer).toMatchObject({ status: 201 });
    const { headers, body } = answer as AsyncResponse;
    expect([headers.get('x-seen'), body.toString()]).toEqual(['PUT /x?y b.example 4', 'first sent']);
    expect(cluster.active.requests).toBe(0);
  });

  it('says that it comes from inside and when it is given up', async () => {
    const port = await serve((request, response) => response.end(JSON.stringify(request.headers)));
    const { body } = (await send(runtimeWith(new StaticCluster('b', [port])), { timeoutMs: 5000 })) as AsyncResponse;
    expect(JSON.parse(body.toString())).toMatchObject({ 'x-envoy-internal': 'true', 'x-envoy-expected-rq-timeout-ms': '5000' });
  });

  it.each([
    { name: 'a cluster that is not there', clusters: [], failure: 'no-cluster' },
    { name: 'a cluster without endpoints', clusters: [new StaticCluster('b', [])], failure: 'no-endpoint' },
  ])('fails for $name, but not before the caller has it', async ({ clusters, failure }) => {
    let hasReturned = false;
    const failed = new Promise((resolve) => {
      sendAsyncRequest(
        runtimeWith(...clusters),
        { ...GET, headers: new HeaderMap() },
        { onResponse: resolve, onFailure: (reason) => resolve([reason, hasReturned]) },
      );
    });
    hasReturned = true;
    expect(await failed).toEqual([failure, true]);
  });

  it('fails where the cluster has as many requests as it may have', async () => {
    const cluster = new StaticCluster('b', [1]);
    cluster.limits = { ...cluster.limits, maxRequests: 0 };
    expect(await send(runtimeWith(cluster))).toBe('overflow');
  });

  it('fails where nobody listens', async () => {
    const server = createTcpServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await send(runtimeWith(new StaticCluster('b', [port])))).toBe('connection-failure');
  });

  it('fails where the answer takes too long, and gives the request up', async () => {
    const isClosed = new Promise<boolean>((resolve) => {
      closers.push(() => resolve(false));
      void serve((_request, response) => response.on('close', () => resolve(true))).then(async (port) => {
        const cluster = new StaticCluster('b', [port]);
        expect(await send(runtimeWith(cluster), { timeoutMs: 500 })).toBe('timeout');
        expect(cluster.active.requests).toBe(0);
      });
    });
    expect(await isClosed).toBe(true);
  });

  it('fails where the answer is larger than anybody reads', async () => {
    const port = await serve((_request, response) => response.end(Buffer.alloc(5 * 1024 * 1024)));
    expect(await send(runtimeWith(new StaticCluster('b', [port])))).toBe('too-large');
  });

  it('fails where the answer ends early', async () => {
    const port = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 10 });
      response.write('half', () => response.destroy());
    });
    expect(await send(runtimeWith(new StaticCluster('b', [port])))).toBe('connection-termination');
  });

  it('tells nothing after it was cancelled', async () => {
    const asked = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const port = await serve((_request, response) => {
      asked.resolve();
      response.on('close', () => closed.resolve());
    });
    const told: string[] = [];
    const callbacks = { onResponse: () => told.push('response'), onFailure: (failure: string) => told.push(failure) };
    const call = sendAsyncRequest(runtimeWith(new StaticCluster('b', [port])), { ...GET, headers: new HeaderMap() }, callbacks);
    await asked.promise;
    call.cancel();
    await closed.promise;
    expect(told).toEqual([]);
  });
});

describe('a unary gRPC call', () => {
  async function call(answer: (stream: ServerHttp2Stream) => void, timeoutMs = 5000): Promise<UnaryResult> {
    const server = createHttp2Server();
    const sessions = new Set<{ destroy(): void }>();
    server.on('session', (session) => sessions.add(session));
    server.on('stream', (stream: ServerHttp2Stream) => {
      stream.on('error', () => undefined);
      stream.resume().on('end', () => answer(stream));
    });
    const cluster = new StaticCluster('b', [await listen(server)]);
    cluster.upstreamProtocol = 'http2';
    closers.push(() => {
      for (const session of sessions) session.destroy();
      server.close();
    });
    return new Promise((resolve) => {
      callUnary(runtimeWith(cluster), { cluster: 'b', method: '/p.S/M', message: Buffer.from('question'), timeoutMs }, resolve);
    });
  }

  function respond(stream: ServerHttp2Stream, body: Buffer, status: string): void {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'grpc-message': 'not%20today' }));
    stream.end(body);
  }

  it('brings the message', async () => {
    const result = await call((stream) => respond(stream, frameMessage(Buffer.from('answer')), '0'));
    expect([result.status, result.message?.toString()]).toEqual([0, 'answer']);
  });

  it('brings the status of a failure', async () => {
    expect(await call((stream) => respond(stream, Buffer.alloc(0), '7'))).toEqual({ status: 7, message: undefined, details: 'not today' });
  });

  it('reads a status that came without a body', async () => {
    const result = await call((stream) => stream.respond({ ':status': 200, 'grpc-status': '5' }, { endStream: true }));
    expect(result.status).toBe(5);
  });

  it.each([
    { name: 'a length that is wrong', body: Buffer.from([0, 0, 0, 0, 9, 1]), status: 13 },
    { name: 'no message', body: Buffer.alloc(0), status: 13 },
    { name: 'a compressed message', body: Buffer.from([1, 0, 0, 0, 1, 1]), status: 13 },
  ])('fails for $name', async ({ body, status }) => {
    expect((await call((stream) => respond(stream, body, '0'))).status).toBe(status);
  });

  it.each([
    { http: 503, status: 14 },
    { http: 404, status: 12 },
    { http: 200, status: 2 },
  ])('makes status $status of HTTP $http without a gRPC status', async ({ http, status }) => {
    expect((await call((stream) => stream.respond({ ':status': http }, { endStream: true }))).status).toBe(status);
  });

  it('says that the deadline is over', async () => {
    expect((await call(() => undefined, 30)).status).toBe(4);
  });
});
