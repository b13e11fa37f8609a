import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { StaticCluster, TestProxy, type TestProxyOptions } from './testing.ts';

export type Json = { readonly [field: string]: JsonValue };

const closers: (() => unknown)[] = [];

/** What is to be closed after the test. */
export function closeLater(close: () => unknown): void {
  closers.push(close);
}

/** Closes what the test has opened with the functions of this file, last first. For `afterEach`. */
export async function closePeers(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}

/** The port where it listens from now on. */
export async function listening(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

/** Says what it was asked, in the body, and in a trailer. */
export function echo(request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const seen = {
      version: request.httpVersion,
      method: request.method,
      url: request.url,
      headers: request.headers,
      trailers: request.trailers,
      body: Buffer.concat(chunks).toString(),
    };
    const { response: out } = { response: response as ServerResponse };
    out.setHeader('trailer', 'x-after');
    out.setHeader('content-type', 'application/json');
    out.write(JSON.stringify(seen));
    out.addTrailers({ 'x-after': 'the body' });
    out.end();
  });
}

export const http1Backend = (): Promise<number> => listening(createServer(echo));
export const http2Backend = (): Promise<number> => listening(createHttp2Server(echo));

export type Upstream = 'http1' | 'http2' | 'auto' | 'downstream';

export async function proxyTo(upstream: Upstream, port: number, options: { hcm?: Json; cluster?: Partial<StaticCluster> } = {}) {
  const cluster = Object.assign(new StaticCluster('b', [port]), { upstreamProtocol: upstream }, options.cluster);
  const route: Json = { match: { prefix: '/' }, route: { cluster: 'b', timeout: '5s' } };
  const connect: Json = {
    match: { connectMatcher: {} },
    route: { cluster: 'b', upgradeConfigs: [{ upgradeType: 'CONNECT', connectConfig: {} }] },
  };
  const hcm: TestProxyOptions['hcm'] = {
    httpProtocolOptions: { enableTrailers: true },
    http2ProtocolOptions: { allowConnect: true },
    upgradeConfigs: [{ upgradeType: 'websocket' }, { upgradeType: 'CONNECT' }],
    routeConfig: { name: 'r', virtualHosts: [{ name: 'v', domains: ['*'], routes: [connect, route] }] },
    ...options.hcm,
  };
  const proxy = new TestProxy({ hcm, clusters: [cluster] });
  await proxy.listen();
  closers.push(() => proxy.close());
  return { proxy, cluster };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders | IncomingMessage['headers'];
  readonly trailers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

export interface Call {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly trailers?: Record<string, string>;
}

export function http1Call(port: number, { method = 'GET', path = '/', headers = {}, body, trailers }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          trailers: response.trailers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    sent.on('error', reject);
    if (trailers !== undefined) sent.addTrailers(trailers);
    sent.end(body);
  });
}

export function session(port: number): ClientHttp2Session {
  const client = connectHttp2(`http://127.0.0.1:${port}`);
  client.on('error', () => client.destroy());
  closers.push(() => client.destroy());
  return client;
}

export function streamCall(
  client: ClientHttp2Session,
  { method = 'GET', path = '/', headers = {}, body, trailers }: Call,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fields: OutgoingHttpHeaders = { ':method': method, ':path': path, ...headers };
    const stream = client.request(fields, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
    const answer = { status: 0, headers: {} as IncomingHttpHeaders, trailers: {} as IncomingHttpHeaders, body: '' };
    if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('response', (head) => {
      answer.status = head[':status'] ?? 0;
      answer.headers = head;
    });
    stream.on('trailers', (fieldsBehind) => {
      answer.trailers = fieldsBehind;
    });
    stream.on('data', (chunk: Buffer) => {
      answer.body += chunk.toString();
    });
    stream.on('end', () => resolve(answer));
    stream.on('error', reject);
    if (body !== undefined) stream.end(body);
  });
}
