import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { ROUTER, StaticCluster, TestProxy, type TestProxyOptions } from './testing.ts';

type Json = { readonly [field: string]: JsonValue };
type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function backend(handler: Handler): Promise<{ port: number; server: Server }> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, server };
}

/** A back end that answers as the test writes it. */
async function rawBackend(onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: TcpServer = createTcpServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

const ANY: Json = { prefix: '/' };

/** Everything to cluster `b`, unless said otherwise. */
function routeConfig(...routes: Json[]): Json {
  return {
    name: 'r',
    virtualHosts: [{ name: 'all', domains: ['*'], routes: routes.length > 0 ? routes : [{ match: ANY, route: { cluster: 'b' } }] }],
  };
}

async function proxy(options: Partial<TestProxyOptions> & { ports?: readonly number[]; routes?: Json[] }): Promise<TestProxy> {
  const { ports = [], routes = [], hcm = {}, ...rest } = options;
  const made = new TestProxy({ clusters: [new StaticCluster('b', ports)], ...rest, hcm: { routeConfig: routeConfig(...routes), ...hcm } });
  await made.listen();
  closers.push(() => made.close());
  return made;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

function call(
  port: number,
  options: { path?: string; method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { host: '127.0.0.1', port, path: options.path ?? '/', method: options.method ?? 'GET', headers: options.headers ?? {}, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString() }),
        );
        response.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(options.body);
  });
}

/** Sends bytes and gives back all that comes until the other side ends. */
function raw(port: number, ...pieces: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
    for (const piece of pieces) socket.write(piece, 'latin1');
  });
}

const echo: Handler = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () =>
    response.end(
      JSON.stringify({
        method: request.method,
        url: request.url,
        headers: request.headers,
        trailers: request.trailers,
        body: Buffer.concat(chunks).toString(),
      }),
    ),
  );
};

describe('the request path', () => {
  it('hands a request on with a request id and what Envoy adds, and its answer back', async () => {
    const { port } = await backend(echo);
    const p = await proxy({ ports: [port] });
    const answer = await call(p.port, { path: '/a?b=c', headers: { host: 'reviews:9080', 'X-Custom': 'V' } });
    const seen = JSON.parse(answer.body);
    expect(seen).toMatchObject({
      method: 'GET',
      url: '/a?b=c',
      headers: { host: 'reviews:9080', 'x-custom': 'V', 'x-forwarded-proto': 'http', 'x-envoy-expected-rq-timeout-ms': '15000' },
    });
    expect(seen.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers['server']).toBe('envoy');
    expect(answer.headers['x-envoy-upstream-service-time']).toMatch(/^\d+$/);
    expect(p.ended[0]).toMatchObject({
      method: 'GET',
      path: '/a?b=c',
      responseCode: 200,
      responseCodeDetails: 'via_upstream',
      upstreamCluster: 'b',
      authority: 'reviews:9080',
      flags: [],
      requestId: seen.headers['x-request-id'],
    });
  });

  it('keeps connections on both sides and answers pipelined requests in order', async () => {
    const connections = new Set<unknown>();
    const { port } = await backend((request, response) => {
      connections.add(request.socket);
      echo(request, response);
    });
    const p = await proxy({ ports: [port] });
    const one = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
    const text = await raw(p.port, one('/1') + one('/2') + one('/3', 'Connection: close\r\n'));
    expect([...text.matchAll(/"url":"(\/\d)"/g)].map((match) => match[1])).toEqual(['/1', '/2', '/3']);
    expect(connections.size).toBe(1);
  });

  it.each([10, 100_000, 5_000_000])('carries a body of %d bytes both ways, with a length and in chunks', async (size) => {
    const { port } = await backend((request, response) => void request.pipe(response));
    const p = await proxy({ ports: [port] });
    const body = Buffer.alloc(size, 'abcdefghij').toString();
    expect((await call(p.port, { method: 'POST', body, headers: { 'content-length': String(size) } })).body === body).toBe(true);
    expect((await call(p.port, { method: 'POST', body, headers: { 'transfer-encoding': 'chunked' } })).body === body).toBe(true);
    expect(p.ended.map((info) => [info.bytesReceived, info.bytesSent])).toEqual([
      [size, size],
      [size, size],
    ]);
  });

  it('does not read ahead of a client that does not read', async () => {
    let written = 0;
    const port = await rawBackend((socket) => {
      const chunk = Buffer.alloc(64 * 1024);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * 1024 * 1024}\r\n\r\n`);
      const pump = (): void => {
        while (written < 64 * 1024 * 1024 && !socket.destroyed) {
          written += chunk.length;
          if (!socket.write(chunk)) break;
        }
      };
      socket.on('drain', pump);
      socket.once('data', pump);
    });
    const p = await proxy({ ports: [port] });
    const client = connect(p.port, '127.0.0.1');
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    // The kernel's buffers fill, then nothing moves any more: two equal readings say so.
    let before = -1;
    while (before !== written || written === 0) {
      before = written;
      await new Promise((resolve) => setImmediate(resolve));
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(written).toBeLessThan(32 * 1024 * 1024);
    let received = 0;
    client.on('data', (chunk) => {
      received += chunk.length;
    });
    await p.untilEnded(1);
    expect(p.ended[0]?.bytesSent).toBe(64 * 1024 * 1024);
    client.destroy();
    expect(received).toBeGreaterThan(0);
  });

  it('reads a connection again that was paused when its answer ended', async () => {
    const connections = new Set<unknown>();
    const body = Buffer.alloc(256 * 1024, 'x');
    const { port } = await backend((request, response) => {
      connections.add(request.socket);
      response.end(body);
    });
    const p = await proxy({ ports: [port] });
    for (let turn = 0; turn < 20; turn++) expect((await call(p.port)).body).toHaveLength(body.length);
    expect(connections.size).toBe(1);
  });

  it('lets the upstream say whether a body is wanted, where it is told to', async () => {
    const { port, server } = await backend(echo);
    let asked = 0;
    server.on('checkContinue', (request, response) => {
      asked++;
      response.writeContinue();
      echo(request, response);
    });
    const p = await proxy({ ports: [port], hcm: { proxy100Continue: true } });
    const text = await raw(
      p.port,
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n',
      'ok',
    );
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
    expect(asked).toBe(1);
  });

  it('answers HEAD, 204 and 304 without a body', async () => {
    const { port } = await backend((request, response) => {
      response.writeHead(
        request.url === '/204' ? 204 : request.url === '/304' ? 304 : 200,
        request.url === '/' ? { 'content-length': '5' } : {},
      );
      response.end(request.method === 'HEAD' || request.url !== '/' ? undefined : 'hello');
    });
    const p = await proxy({ ports: [port] });
    expect(await call(p.port, { method: 'HEAD' })).toMatchObject({ status: 200, headers: { 'content-length': '5' }, body: '' });
    expect(await call(p.port, { path: '/204' })).toMatchObject({ status: 204, body: '' });
    expect(await call(p.port, { path: '/304' })).toMatchObject({ status: 304, body: '' });
    expect((await call(p.port)).body).toBe('hello');
  });

  it('passes trailers on, both ways, where the codec is told to', async () => {
    const { port } = await backend((request, response) => {
      request.resume();
      request.on('end', () => {
        response.writeHead(200, { trailer: 'x-end' });
        response.write(JSON.stringify(request.trailers));
        response.addTrailers({ 'x-end': 'bye' });
        response.end();
      });
    });
    const p = await proxy({ ports: [port], hcm: { httpProtocolOptions: { enableTrailers: true } } });
    const text = await raw(
      p.port,
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-begin: hi\r\n\r\n',
    );
    expect(text).toContain('{"x-begin":"hi"}');
    expect(text).toMatch(/0\r\nx-end: bye\r\n\r\n$/);
  });

  it('answers 100 to who waits for it', async () => {
    const { port } = await backend(echo);
    const p = await proxy({ ports: [port] });
    const text = await raw(
      p.port,
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n',
      'ok',
    );
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
    expect(text).toContain('"body":"ok"');
  });

  it('carries a websocket after the upgrade, and refuses it where it is not allowed', async () => {
    const port = await rawBackend((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
        socket.on('data', (chunk) => socket.end(`you said ${chunk.toString()}`));
      });
    });
    const head = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
    const open = await proxy({ ports: [port], hcm: { upgradeConfigs: [{ upgradeType: 'websocket' }] } });
    const text = await new Promise<string>((resolve) => {
      const client = connect(open.port, '127.0.0.1');
      let all = '';
      client.on('data', (chunk) => {
        all += chunk.toString();
        if (all.endsWith('\r\n\r\n')) client.write('hello');
      });
      client.on('close', () => resolve(all));
      client.write(head);
    });
    expect(text).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n[\s\S]*upgrade: websocket\r\n[\s\S]*you said hello$/);
    const closed = await proxy({ ports: [port] });
    // What follows a refused upgrade is not taken for a request.
    expect(await raw(closed.port, `${head}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*connection: close\r\n\r\n$/,
    );
    expect(closed.ended).toHaveLength(1);
  });

  it('ends a CONNECT tunnel at an address, and at a listener of the process', async () => {
    const { port } = await backend(echo);
    const connectRoute = (cluster: string): Json => ({
      match: { connectMatcher: {} },
      route: { cluster, upgradeConfigs: [{ upgradeType: 'CONNECT', connectConfig: {} }] },
    });
    const inner = new StaticCluster('inner', []);
    inner.internalListener = 'connect_http';
    const clusters = [new StaticCluster('b', [port]), inner];
    const upgrades: Json = { upgradeConfigs: [{ upgradeType: 'CONNECT' }] };
    for (const cluster of ['b', 'inner']) {
      const p = await proxy({ clusters, routes: [connectRoute(cluster), { match: ANY, route: { cluster: 'b' } }], hcm: upgrades });
      const text = await raw(
        p.port,
        'CONNECT reviews:9080 HTTP/1.1\r\nHost: reviews:9080\r\n\r\nGET /in HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n',
      );
      expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*"url":"\/in"/);
      expect(p.handed.map(({ name }) => name)).toEqual(cluster === 'inner' ? ['connect_http'] : []);
    }
  });

  describe('when there is no upstream to answer', () => {
    it('answers as Envoy does and says why', async () => {
      const { port: gone, server } = await backend(echo);
      await new Promise((resolve) => server.close(resolve));
      const full = new StaticCluster('full', [gone]);
      full.limits.maxRequests = 0;
      const p = await proxy({
        clusters: [new StaticCluster('empty', []), new StaticCluster('down', [gone]), full],
        hcm: {
          routeConfig: routeConfig(
            ...['empty', 'down', 'full', 'missing'].map((cluster) => ({ match: { prefix: `/${cluster}` }, route: { cluster } })),
          ),
        },
      });
      const expected: [string, number, string, string, string[]][] = [
        ['/empty', 503, 'no healthy upstream', 'no_healthy_upstream', ['noHealthyUpstream']],
        [
          '/down',
          503,
          'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure',
          'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
          ['upstreamConnectionFailure'],
        ],
        [
          '/full',
          503,
          'upstream connect error or disconnect/reset before headers. reset reason: overflow',
          'upstream_reset_before_response_started{overflow}',
          ['upstreamOverflow'],
        ],
        ['/missing', 503, '', 'cluster_not_found', ['noClusterFound']],
        ['/other', 404, '', 'route_not_found', ['noRouteFound']],
      ];
      for (const [path, status, body, details, flags] of expected) {
        expect(await call(p.port, { path })).toMatchObject({ status, body });
        expect(p.ended.at(-1)).toMatchObject({ responseCode: status, responseCodeDetails: details, flags });
      }
    });

    it('tells an answer that was cut off from one that is complete', async () => {
      const port = await rawBackend((socket) =>
        socket.once('data', (chunk) =>
          chunk.includes('/headers') ? socket.destroy() : socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'),
        ),
      );
      const p = await proxy({ ports: [port] });
      expect(await call(p.port, { path: '/headers' })).toMatchObject({
        status: 503,
        body: 'upstream connect error or disconnect/reset before headers. reset reason: connection termination',
      });
      expect(p.ended[0]).toMatchObject({ flags: ['upstreamConnectionTermination'] });
      await expect(call(p.port, { path: '/body' })).rejects.toMatchObject({ code: 'ECONNRESET' });
      expect(p.ended[1]).toMatchObject({
        responseCode: 200,
        flags: ['upstreamConnectionTermination'],
        responseCodeDetails: 'upstream_reset_after_response_started{connection_termination}',
      });
    });

    it('answers 502 where the upstream does not speak HTTP', async () => {
      const port = await rawBackend((socket) => socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9\r\n\r\n')));
      const p = await proxy({ ports: [port] });
      expect(await call(p.port)).toMatchObject({ status: 502 });
      expect(p.ended[0]).toMatchObject({ flags: ['upstreamProtocolError'] });
    });
  });

  it('does not take bytes behind an answer for the next answer', async () => {
    let connections = 0;
    const port = await rawBackend((socket) => {
      connections++;
      socket.on('data', () =>
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'),
      );
    });
    const p = await proxy({ ports: [port] });
    for (let turn = 0; turn < 3; turn++) expect((await call(p.port)).body).toBe('ok');
    expect(connections).toBe(3);
  });

  it('sends a safe request again that met a connection which was just closed', async () => {
    let requests = 0;
    const port = await rawBackend((socket) => {
      let onThis = 0;
      socket.on('data', () => {
        requests++;
        // The second request on a connection finds it closing.
        if (++onThis === 2) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const p = await proxy({ ports: [port] });
    for (let turn = 0; turn < 3; turn++) expect((await call(p.port)).status).toBe(200);
    expect(requests).toBe(5);
    expect((await call(p.port, { method: 'POST', body: 'x' })).status).toBe(503);
  });

  describe('retries', () => {
    const retrying = (policy: Json, more: Json = {}): Json => ({
      match: ANY,
      route: {
        cluster: 'b',
        retryPolicy: { numRetries: 2, retryBackOff: { baseInterval: '0.001s', maxInterval: '0.002s' }, ...policy },
        ...more,
      },
    });

    it('tries again as often as it may, with the body, at other endpoints', async () => {
      const seen: string[] = [];
      const failing =
        (name: string): Handler =>
        (request, response) => {
          let body = '';
          request.on('data', (chunk) => {
            body += chunk;
          });
          request.on('end', () => {
            seen.push(`${name}:${body}`);
            response.writeHead(name === 'c' ? 200 : 503).end(name);
          });
        };
      const ports = await Promise.all(['a', 'b', 'c'].map(async (name) => (await backend(failing(name))).port));
      const p = await proxy({
        ports,
        routes: [retrying({ retryOn: '5xx', retryHostPredicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }] })],
      });
      expect(await call(p.port, { method: 'POST', body: 'payload' })).toMatchObject({ status: 200, body: 'c' });
      expect(seen).toEqual(['a:payload', 'b:payload', 'c:payload']);
      expect(p.ended[0]).toMatchObject({ upstreamAttempts: 3, flags: [] });
    });

    it('gives the last answer when all tries are used up', async () => {
      const { port } = await backend((_request, response) => response.writeHead(503).end('no'));
      const cluster = new StaticCluster('b', [port]);
      const p = await proxy({ clusters: [cluster], routes: [retrying({ retryOn: 'gateway-error' })] });
      expect(await call(p.port)).toMatchObject({ status: 503, body: 'no' });
      expect(p.ended[0]).toMatchObject({ upstreamAttempts: 3, flags: ['upstreamRetryLimitExceeded'] });
      expect(cluster.active).toMatchObject({ requests: 0, retries: 0, pendingRequests: 0 });
    });

    it.each<[retryOn: string, more: Json, status: number, attempts: number]>([
      ['connect-failure', {}, 503, 1],
      ['retriable-4xx', {}, 409, 3],
      ['retriable-status-codes', { retriableStatusCodes: [429] }, 429, 3],
      ['retriable-status-codes', { retriableStatusCodes: [429] }, 503, 1],
      ['retriable-headers', { retriableHeaders: [{ name: 'x-again' }] }, 200, 3],
      ['gateway-error', {}, 500, 1],
    ])('%s with %j and an answer %d makes %d tries', async (retryOn, more, status, attempts) => {
      const { port } = await backend((_request, response) => response.writeHead(status, { 'x-again': '1' }).end());
      const p = await proxy({ ports: [port], routes: [retrying({ retryOn, ...more })] });
      expect((await call(p.port)).status).toBe(status);
      expect(p.ended[0]?.upstreamAttempts).toBe(attempts);
    });

    it('tries again after a connection failure and a try that takes too long', async () => {
      const { port: gone, server } = await backend(echo);
      await new Promise((resolve) => server.close(resolve));
      const { port: silent } = await backend(() => {});
      const { port: good } = await backend(echo);
      const failing = await proxy({ ports: [gone, good], routes: [retrying({ retryOn: 'connect-failure' })] });
      expect((await call(failing.port)).status).toBe(200);
      const slow = await proxy({ ports: [silent, good], routes: [retrying({ retryOn: '5xx', perTryTimeout: '0.5s' })] });
      expect((await call(slow.port)).status).toBe(200);
      expect(slow.ended[0]?.upstreamAttempts).toBe(2);
    });
  });

  it('gives a slow client the whole of an answer that closes the connection', async () => {
    const body = Buffer.alloc(8 * 1024 * 1024, 'y');
    const { port } = await backend((_request, response) => response.end(body));
    const p = await proxy({ ports: [port] });
    const received = await new Promise<number>((resolve) => {
      const client = connect(p.port, '127.0.0.1');
      let bytes = 0;
      client.on('data', (chunk) => {
        bytes += chunk.length;
        client.pause();
        setImmediate(() => client.resume());
      });
      client.on('close', () => resolve(bytes));
      client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    });
    expect(received).toBeGreaterThan(body.length);
  });

  it('limits the time of a request', async () => {
    const { port } = await backend(() => {});
    const p = await proxy({ ports: [port], routes: [{ match: ANY, route: { cluster: 'b', timeout: '0.05s' } }] });
    const before = performance.now();
    expect(await call(p.port)).toMatchObject({ status: 504, body: 'upstream request timeout' });
    expect(performance.now() - before).toBeGreaterThanOrEqual(49);
    expect(p.ended[0]).toMatchObject({ flags: ['upstreamRequestTimeout'], responseCodeDetails: 'response_timeout' });
  });

  it('gives the upstream request up when the client goes', async () => {
    let cancelled: (() => void) | undefined;
    const gone = new Promise<void>((resolve) => {
      cancelled = resolve;
    });
    const { port } = await backend((request) => {
      request.socket.on('close', () => cancelled?.());
      client.destroy();
    });
    const cluster = new StaticCluster('b', [port]);
    const p = await proxy({ clusters: [cluster] });
    const client = connect(p.port, '127.0.0.1');
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await Promise.all([gone, p.untilEnded(1)]);
    expect(p.ended[0]).toMatchObject({
      responseCode: 0,
      flags: ['downstreamConnectionTermination'],
      responseCodeDetails: 'downstream_remote_disconnect',
    });
    expect(cluster.active.requests).toBe(0);
  });

  it('injects delays and aborts by share, per route', async () => {
    const { port } = await backend(echo);
    const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
    const fault = (config: Json): Json => ({ typedPerFilterConfig: { 'envoy.filters.http.fault': { '@type': FAULT, ...config } } });
    const percentage = { numerator: 50, denominator: 'HUNDRED' };
    let random = 0;
    const p = await proxy({
      ports: [port],
      random: () => random,
      routes: [
        { match: { prefix: '/abort' }, route: { cluster: 'b' }, ...fault({ abort: { httpStatus: 555, percentage } }) },
        { match: { prefix: '/delay' }, route: { cluster: 'b', timeout: '0.5s' }, ...fault({ delay: { fixedDelay: '0.6s', percentage } }) },
        { match: ANY, route: { cluster: 'b' } },
      ],
      hcm: { httpFilters: [{ name: 'envoy.filters.http.fault', typedConfig: { '@type': FAULT } }, ROUTER] },
    });
    expect(await call(p.port, { path: '/abort' })).toMatchObject({ status: 555, body: 'fault filter abort' });
    expect(p.ended.at(-1)).toMatchObject({ flags: ['faultInjected'], responseCodeDetails: 'fault_filter_abort', upstreamAttempts: 0 });
    const before = performance.now();
    expect(await call(p.port, { path: '/delay', method: 'POST', body: 'kept' })).toMatchObject({
      status: 200,
      body: expect.stringContaining('"body":"kept"'),
    });
    expect(performance.now() - before).toBeGreaterThanOrEqual(599);
    expect(p.ended.at(-1)).toMatchObject({ flags: ['delayInjected'] });
    random = 0.5;
    expect((await call(p.port, { path: '/abort' })).status).toBe(200);
    expect((await call(p.port)).status).toBe(200);
  });

  it('mirrors requests with their bodies and does not wait', async () => {
    let tell: ((text: string) => void) | undefined;
    const mirrored = new Promise<string>((resolve) => {
      tell = resolve;
    });
    const { port: shadow } = await backend((request) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => tell?.(`${request.method} ${request.url} ${request.headers.host} ${body}`));
    });
    const { port } = await backend(echo);
    const p = await proxy({
      clusters: [new StaticCluster('b', [port]), new StaticCluster('m', [shadow])],
      routes: [{ match: ANY, route: { cluster: 'b', requestMirrorPolicies: [{ cluster: 'm', disableShadowHostSuffixAppend: true }] } }],
    });
    expect((await call(p.port, { path: '/m', method: 'POST', body: 'copy', headers: { host: 'reviews' } })).status).toBe(200);
    expect(await mirrored).toBe('POST /m reviews copy');
  });

  it('rewrites path and host, changes headers, redirects and answers by itself', async () => {
    const { port } = await backend(echo);
    const p = await proxy({
      ports: [port],
      routes: [
        {
          match: { prefix: '/old' },
          route: { cluster: 'b', prefixRewrite: '/new', hostRewriteLiteral: 'other', appendXForwardedHost: true },
          requestHeadersToAdd: [{ header: { key: 'x-from', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(x-kept)%' } }],
          requestHeadersToRemove: ['x-in'],
          responseHeadersToAdd: [{ header: { key: 'x-out', value: 'naïve €' } }],
          responseHeadersToRemove: ['x-secret'],
        },
        { match: { prefix: '/move' }, redirect: { pathRedirect: '/there' } },
        { match: { prefix: '/teapot' }, directResponse: { status: 418, body: { inlineString: 'short and stout' } } },
      ],
    });
    const answer = await call(p.port, { path: '/old/x?y=1', headers: { host: 'me', 'x-in': 'w', 'x-kept': 'v' } });
    const { url, headers } = JSON.parse(answer.body);
    expect([url, headers.host, headers['x-forwarded-host'], headers['x-envoy-original-path'], headers['x-from'], headers['x-in']]).toEqual([
      '/new/x?y=1',
      'other',
      'me',
      '/old/x?y=1',
      '127.0.0.1 v',
      undefined,
    ]);
    expect(Buffer.from(String(answer.headers['x-out']), 'latin1').toString()).toBe('naïve €');
    expect(p.ended[0]).toMatchObject({ path: '/new/x?y=1', originalPath: '/old/x?y=1' });
    expect(await call(p.port, { path: '/move?q=1', headers: { host: 'me' } })).toMatchObject({
      status: 301,
      headers: { location: 'http://me/there?q=1' },
    });
    expect(await call(p.port, { path: '/teapot' })).toMatchObject({
      status: 418,
      body: 'short and stout',
      headers: { 'content-type': 'text/plain' },
    });
  });

  it('answers preflights by the policy of the route and lets other origins read', async () => {
    const { port } = await backend(echo);
    const CORS = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3';
    const p = await proxy({
      ports: [port],
      routes: [
        {
          match: ANY,
          route: { cluster: 'b' },
          typedPerFilterConfig: {
            'envoy.filters.http.cors': {
              '@type': `${CORS}.CorsPolicy`,
              allowOriginStringMatch: [{ exact: 'https://a' }],
              allowMethods: 'GET,POST',
              maxAge: '60',
            },
          },
        },
      ],
      hcm: { httpFilters: [{ name: 'envoy.filters.http.cors', typedConfig: { '@type': `${CORS}.Cors` } }, ROUTER] },
    });
    const preflight = { method: 'OPTIONS', headers: { origin: 'https://a', 'access-control-request-method': 'POST' } };
    expect(await call(p.port, preflight)).toMatchObject({
      status: 200,
      headers: { 'access-control-allow-origin': 'https://a', 'access-control-allow-methods': 'GET,POST', 'access-control-max-age': '60' },
    });
    expect((await call(p.port, { headers: { origin: 'https://a' } })).headers['access-control-allow-origin']).toBe('https://a');
    expect((await call(p.port, { headers: { origin: 'https://b' } })).headers['access-control-allow-origin']).toBeUndefined();
  });

  it('does not believe what only the mesh may say', async () => {
    const { port } = await backend(echo);
    const p = await proxy({ ports: [port], hcm: { useRemoteAddress: true } });
    const answer = await call(p.port, {
      headers: {
        'x-envoy-retry-on': '5xx',
        'x-envoy-internal': 'true',
        'x-envoy-original-path': '/admin',
        'x-request-id': 'mine',
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-proto': 'https',
        'x-forwarded-client-cert': 'URI=spiffe://a',
      },
    });
    const { headers } = JSON.parse(answer.body);
    expect(headers).toMatchObject({
      'x-forwarded-for': '1.2.3.4,127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-envoy-external-address': '127.0.0.1',
    });
    for (const name of ['x-envoy-retry-on', 'x-envoy-internal', 'x-envoy-original-path', 'x-forwarded-client-cert'])
      expect(headers[name]).toBeUndefined();
    expect(headers['x-request-id']).not.toBe('mine');
    const inside = await proxy({ ports: [port] });
    expect(JSON.parse((await call(inside.port, { headers: { 'x-request-id': 'mine' } })).body).headers['x-request-id']).toBe('mine');
  });

  it('says who the client proved to be, and exchanges peer metadata with it', async () => {
    const { port } = await backend(echo);
    const tls = {
      requestedServerName: 's',
      alpn: 'istio',
      localUriSan: 'spiffe://td/ns/default/sa/b',
      peer: { uriSans: ['spiffe://td/ns/default/sa/a;By=x'], dnsSans: [], subject: 'CN="a"', sha256: 'ab' },
    };
    const PEER = 'type.googleapis.com/io.istio.http.peer_metadata.Config';
    const p = await proxy({
      ports: [port],
      tls,
      listener: { name: 'in', direction: 'inbound' },
      hcm: {
        forwardClientCertDetails: 'APPEND_FORWARD',
        setCurrentClientCertDetails: { subject: true, uri: true, dns: true },
        httpFilters: [
          {
            name: 'istio.metadata_exchange',
            typedConfig: { '@type': PEER, downstreamDiscovery: [{ istioHeaders: {} }], downstreamPropagation: [{ istioHeaders: {} }] },
          },
          ROUTER,
        ],
      },
    });
    const answer = await call(p.port, { headers: { 'x-envoy-peer-metadata': 'productpage', 'x-envoy-peer-metadata-id': 'id' } });
    const { headers } = JSON.parse(answer.body);
    expect(headers['x-forwarded-client-cert']).toBe(
      'By=spiffe://td/ns/default/sa/b;Hash=ab;Subject="CN=\\"a\\"";URI="spiffe://td/ns/default/sa/a;By=x"',
    );
    expect(headers['x-forwarded-proto']).toBe('https');
    expect(headers['x-envoy-peer-metadata']).toBeUndefined();
    expect(answer.headers['x-envoy-peer-metadata']).toBe('bG9jYWw=');
    expect(p.ended[0]).toMatchObject({ isDownstreamMtls: true, peer: { workload: 'productpage' } });
  });

  it.each<[options: Json, path: string, status: number, seen: string | undefined]>([
    [{}, '/a/../b', 200, '/a/../b'],
    [{ normalizePath: true }, '/a/../b', 200, '/b'],
    [{ normalizePath: true }, '/../../b', 200, '/b'],
    [{ normalizePath: true }, '\\a'.padStart(3, '/'), 200, '//a'],
    [{ normalizePath: true }, '//a', 200, '//a'],
    [{ normalizePath: true }, '/a%2fb', 200, '/a%2fb'],
    [{ normalizePath: true }, '/%61/%2e%2e/b?x=/../%61', 200, '/b?x=/../%61'],
    [{ normalizePath: true }, '/a%00', 400, undefined],
    [{ normalizePath: true, mergeSlashes: true }, '//a///b', 200, '/a/b'],
    [{ normalizePath: true, mergeSlashes: true, pathWithEscapedSlashesAction: 'UNESCAPE_AND_FORWARD' }, '/a%2fb%5cc', 200, '/a/b/c'],
    [{ normalizePath: true, pathWithEscapedSlashesAction: 'REJECT_REQUEST' }, '/a%2Fb', 400, undefined],
    [{ normalizePath: true, pathWithEscapedSlashesAction: 'UNESCAPE_AND_REDIRECT' }, '/a%2Fb', 307, undefined],
  ])('with %j the path %s', async (options, path, status, seen) => {
    const { port } = await backend(echo);
    const p = await proxy({ ports: [port], hcm: options });
    const text = await raw(p.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    if (seen !== undefined) expect(/"url":"([^"]*)"/.exec(text)?.[1]).toBe(seen);
  });

  it.each([
    ['GET / HTTP/1.1\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
    ['GET /#f HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['GET a HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['FETCH / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['GET * HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['GET / HTTP/1.0\r\nHost: a\r\n\r\n', 426],
    ['CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello', 400],
    ['GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(62 * 1024)}\r\n\r\n`, 431],
    [`GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(101)}\r\n`, 431],
  ])('%j is answered %d, and nothing reaches the back end', async (text, status) => {
    let requests = 0;
    const { port } = await backend((request, response) => {
      requests++;
      echo(request, response);
    });
    const p = await proxy({ ports: [port] });
    expect(await raw(p.port, `${text}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`)).toMatch(
      new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*connection: close\r\n`),
    );
    expect(requests).toBe(0);
    expect(p.ended[0]).toMatchObject({ responseCode: status });
  });

  it('goes on in HTTP/1.1 with clients that offer h2c', async () => {
    const { port } = await backend(echo);
    const p = await proxy({ ports: [port] });
    const answer = await call(p.port, {
      headers: { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' },
    });
    expect(answer.status).toBe(200);
    expect(Object.keys(JSON.parse(answer.body).headers)).not.toEqual(expect.arrayContaining(['http2-settings']));
    expect(JSON.parse(answer.body).headers.upgrade).toBeUndefined();
  });

  it('takes the authority of an absolute target', async () => {
    const { port } = await backend(echo);
    const p = await proxy({ ports: [port] });
    const text = await raw(p.port, 'GET http://reviews:9080?x=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n');
    expect(text).toContain('"url":"/?x=1"');
    expect(text).toContain('"host":"reviews:9080"');
  });

  it('serves HTTP/1.0 where it is told to', async () => {
    const { port } = await backend((_request, response) => {
      response.write('a');
      response.end('b');
    });
    const p = await proxy({ ports: [port], hcm: { httpProtocolOptions: { acceptHttp10: true, defaultHostForHttp10: 'd' } } });
    expect(await raw(p.port, 'GET / HTTP/1.0\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 200 OK\r\n(?![\s\S]*transfer-encoding)[\s\S]*connection: close\r\n\r\nab$/,
    );
  });

  it('closes idle connections when it drains, and the others after their answer', async () => {
    let answer: (() => void) | undefined;
    const { port } = await backend((_request, response) => {
      answer = () => response.end('done');
      started?.();
    });
    let started: (() => void) | undefined;
    const isStarted = new Promise<void>((resolve) => {
      started = resolve;
    });
    const p = await proxy({ ports: [port] });
    const idle = connect(p.port, '127.0.0.1');
    const idleClosed = new Promise((resolve) => idle.resume().on('close', resolve));
    const busy = raw(p.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await isStarted;
    p.filter.drain();
    await idleClosed;
    answer?.();
    expect(await busy).toMatch(/connection: close\r\n\r\n/);
    while (p.filter.activeConnections > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('queues requests at the connection limit and refuses them at the pending limit', async () => {
    const waiting: ServerResponse[] = [];
    let arrived: (() => void) | undefined;
    const { port } = await backend((_request, response) => {
      waiting.push(response);
      arrived?.();
    });
    const cluster = new StaticCluster('b', [port]);
    cluster.limits = { maxConnections: 1, maxPendingRequests: 1, maxRequests: 10, maxRetries: 10 };
    const p = await proxy({ clusters: [cluster] });
    const firstArrived = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const first = call(p.port);
    await firstArrived;
    const secondArrived = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const others = [call(p.port), call(p.port)];
    const refused = await Promise.race(others);
    expect(refused).toMatchObject({ status: 503, headers: { 'x-envoy-overloaded': 'true' } });
    waiting[0]?.end('1');
    expect((await first).body).toBe('1');
    await secondArrived;
    waiting[1]?.end('2');
    expect((await Promise.all(others)).map(({ status }) => status).sort()).toEqual([200, 503]);
    expect(cluster.stats.upstreamCxTotal).toBe(1);
  });

  it('sends no request over a connection that has lived as long as it may', async () => {
    const closed = Promise.withResolvers<void>();
    const { port, server } = await backend((_request, response) => response.end('ok'));
    server.on('connection', (socket) => socket.once('close', () => closed.resolve()));
    const cluster = new StaticCluster('b', [port]);
    const p = await proxy({ clusters: [cluster] });
    await call(p.port);
    await call(p.port);
    expect(cluster.stats.upstreamCxTotal).toBe(1);
    cluster.maxConnectionDurationMs = 1;
    const now = performance.now();
    while (performance.now() - now < 2);
    await call(p.port);
    await closed.promise;
    expect(cluster.stats.upstreamCxTotal).toBe(2);
  });
});
