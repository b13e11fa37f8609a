import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';

// --- the back ends: the same answers in both versions

type Request = IncomingMessage | Http2ServerRequest;

/** Answers as the path says; the body tells what was asked. */
function answer(request: Request, given: ServerResponse | Http2ServerResponse): void {
  const response = given as ServerResponse;
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('error', () => response.destroy());
  request.on('end', () => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://a');
    const { headers, trailers, method } = request;
    const seen = JSON.stringify({ method, url: request.url, headers: masked(headers), trailers, body: Buffer.concat(chunks).toString() });
    const status = Number(searchParams.get('status') ?? 200);
    switch (pathname) {
      case '/bare':
        response.writeHead(status);
        response.end();
        return;
      case '/length':
        response.writeHead(status, { 'content-length': Buffer.byteLength(seen) });
        response.end(method === 'HEAD' ? undefined : seen);
        return;
      case '/trailers':
        response.writeHead(status, { trailer: 'x-after', 'x-before': 'a' });
        response.write(seen);
        response.addTrailers({ 'x-after': 'b' });
        response.end();
        return;
      case '/grpc-error':
        response.writeHead(200, { 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'no such thing' });
        response.end();
        return;
      case '/early-hints':
        response.writeEarlyHints({ link: '</style.css>; rel=preload' });
        response.writeHead(200);
        response.end(seen);
        return;
      case '/cookies':
        response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] });
        response.end(seen);
        return;
      default:
        response.writeHead(status, { 'x-custom': 'c' });
        response.end(seen);
    }
  });
}

const VARIES = new Set([
  'x-request-id',
  'x-forwarded-for',
  'x-envoy-upstream-service-time',
  'date',
  'content-length',
  'host',
  ':authority',
]);

/** In the order of names, without what differs between two runs or by the version that the back end is spoken to. */
function masked(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept = Object.entries(headers).map(([name, value]) => [name, VARIES.has(name) ? '…' : value]);
  return Object.fromEntries(kept.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)));
}

// --- the proxies: one listener for each version of the upstream

const UPSTREAMS = ['http1', 'http2'] as const;
type Upstream = (typeof UPSTREAMS)[number];
type Ports = Readonly<Record<Upstream | 'nobody', number>>;

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

function address(port: number): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function cluster(name: string, port: number): object {
  const explicit = name === 'http2' ? { http2_protocol_options: {} } : { http_protocol_options: { enable_trailers: true } };
  return {
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, explicit_http_config: explicit },
    },
  };
}

function listener(name: string, port: number): object {
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: name,
    codec_type: 'AUTO',
    http_protocol_options: { enable_trailers: true },
    http2_protocol_options: { allow_connect: true },
    route_config: {
      name: 'r',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            { match: { prefix: '/forbidden' }, direct_response: { status: 403, body: { inline_string: 'keep "out": 100 %' } } },
            { match: { prefix: '/known' }, route: { cluster: name } },
            { match: { prefix: '/pkg.' }, route: { cluster: name } },
          ],
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
  };
  const routes = manager.route_config.virtual_hosts[0]?.routes as object[];
  for (const path of ['/bare', '/length', '/trailers', '/grpc-error', '/early-hints', '/cookies'])
    routes.push({ match: { prefix: path }, route: { cluster: name } });
  return {
    name,
    address: address(port),
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

function bootstrap(listeners: Ports, backends: Ports): Record<string, unknown> {
  const names = Object.keys(listeners) as (keyof Ports)[];
  return {
    static_resources: {
      listeners: names.map((name) => listener(name, listeners[name])),
      clusters: names.map((name) => cluster(name, backends[name])),
    },
  };
}

// --- the clients

interface Case {
  readonly name: string;
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly trailers?: Readonly<Record<string, string>>;
  /** The client that can ask for it; absent: both. */
  readonly client?: 'HTTP/1.1' | 'HTTP/2';
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: Record<string, unknown>;
  readonly trailers: unknown;
  readonly interim: readonly number[];
  readonly body: string;
}

const CASES: readonly Case[] = [
  { name: 'a GET', path: '/known?a=b', headers: { 'x-mine': 'y' } },
  { name: 'a POST with a length', method: 'POST', path: '/known', headers: { 'content-length': '3' }, body: 'abc' },
  { name: 'a POST without one', method: 'POST', path: '/known', body: 'abc' },
  { name: 'a POST without a body', method: 'POST', path: '/known' },
  { name: 'a DELETE', method: 'DELETE', path: '/known' },
  { name: 'HEAD', method: 'HEAD', path: '/length' },
  { name: 'HEAD of an answer without a length', method: 'HEAD', path: '/known' },
  { name: 'an answer with a length', path: '/length' },
  { name: 'an answer without a body', path: '/bare' },
  { name: 'a 204', path: '/bare?status=204' },
  { name: 'a 304', path: '/bare?status=304' },
  { name: 'a 500', path: '/known?status=500' },
  { name: 'trailers of the answer', path: '/trailers', headers: { te: 'trailers' } },
  { name: 'trailers of the request', method: 'POST', path: '/known', body: 'abc', trailers: { 'x-behind': 'z' } },
  { name: 'several cookies', path: '/cookies', headers: { cookie: 'a=1; b=2' } },
  { name: 'early hints', path: '/early-hints' },
  { name: 'expect', method: 'POST', path: '/known', headers: { expect: '100-continue' }, body: 'abc' },
  { name: 'a long path', path: `/known?${'x'.repeat(8000)}` },
  { name: 'a long header', path: '/known', headers: { 'x-long': 'y'.repeat(30_000) } },
  { name: 'a body of 300 KiB', method: 'POST', path: '/known', body: 'z'.repeat(300 * 1024) },
  { name: 'OPTIONS', method: 'OPTIONS', path: '/known' },
  { name: 'another method', method: 'PROPFIND', path: '/known' },
  { name: 'a forwarded protocol', path: '/known', headers: { 'x-forwarded-proto': 'https' } },
  { name: 'headers for one hop', path: '/known', headers: { connection: 'close, x-hop', 'x-hop': '1', 'x-kept': '2' }, client: 'HTTP/1.1' },
  { name: 'te with more than trailers', path: '/known', headers: { te: 'trailers, gzip' }, client: 'HTTP/1.1' },
  { name: 'a local answer', path: '/forbidden' },
  { name: 'no route', path: '/nowhere' },
  { name: 'no route for gRPC', method: 'POST', path: '/nowhere', headers: { 'content-type': 'application/grpc' }, body: 'abc' },
  {
    name: 'a local answer for gRPC',
    method: 'POST',
    path: '/forbidden',
    headers: { 'content-type': 'application/grpc+proto' },
    body: 'abc',
  },
  {
    name: 'a gRPC error that is headers only',
    method: 'POST',
    path: '/grpc-error',
    headers: { 'content-type': 'application/grpc' },
    body: 'abc',
  },
];

function askHttp1(port: number, { method = 'GET', path, headers = {}, body, trailers }: Case): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const interim: number[] = [];
    // Without a body there is no framing at all: that is for the proxies to say.
    const framing = body !== undefined && headers['content-length'] === undefined ? { 'transfer-encoding': 'chunked' } : {};
    const sent = httpRequest({ host: '127.0.0.1', port, method, path, agent: false, headers: { ...headers, ...framing } });
    sent.on('information', ({ statusCode }) => interim.push(statusCode));
    sent.on('error', reject);
    sent.on('response', (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: masked(response.headers), trailers: response.trailers, interim, body: text }),
      );
    });
    if (trailers !== undefined) sent.addTrailers(trailers);
    sent.end(body);
  });
}

function askHttp2(port: number, { method = 'GET', path, headers = {}, body, trailers }: Case): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const client = connectHttp2(`http://127.0.0.1:${port}`);
    client.on('error', reject);
    const fields: OutgoingHttpHeaders = { ':method': method, ':path': path, ...headers };
    const stream = client.request(fields, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
    const interim: number[] = [];
    let status: number | undefined;
    let head: Record<string, unknown> = {};
    let behind: Record<string, unknown> = {};
    let text = '';
    if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('headers', (informational) => interim.push(informational[':status'] ?? 0));
    stream.on('response', (fieldsOfHead) => {
      status = fieldsOfHead[':status'];
      head = masked(fieldsOfHead);
    });
    stream.on('trailers', (fieldsBehind) => {
      behind = { ...fieldsBehind };
    });
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    stream.on('error', reject);
    stream.on('end', () => {
      client.close();
      resolve({ status, headers: head, trailers: { ...behind }, interim, body: text });
    });
    if (body !== undefined) stream.end(body);
  });
}

/** What is left when it is said in the words of both. Envoy repeats transfer-encoding in an answer to HEAD (RFC 9110 §9.3.2 lets both). */
function essence({ headers: { 'transfer-encoding': _framing, ...headers }, trailers, body, ...rest }: Answer): unknown {
  return { ...rest, headers, trailers: { ...(trailers as object) }, body: body.startsWith('{') ? JSON.parse(body) : body };
}

async function listen(server: Server | Http2Server, sockets: Set<Socket>): Promise<number> {
  server.on('connection', (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function choosePorts(): Promise<Ports> {
  return { http1: await freePort(), http2: await freePort(), nobody: await freePort() };
}

describeWithEnvoy('needs envoy: HTTP/2 and HTTP/1.1 in all directions, by Envoy and by ours', () => {
  const sockets = new Set<Socket>();
  const servers = [createServer(answer), createHttp2Server(answer)] as const;
  let envoys: Ports;
  let ours: Ports;
  let envoy: Envoy;
  let proxy: MeshProxy;

  beforeAll(async () => {
    envoys = await choosePorts();
    ours = await choosePorts();
    const backends = { http1: await listen(servers[0], sockets), http2: await listen(servers[1], sockets), nobody: await freePort() };
    envoy = await startEnvoy(bootstrap(envoys, backends));
    proxy = await startOurProxy(bootstrap(ours, backends));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
  });

  const directions = [
    ['HTTP/1.1', 'http1', askHttp1],
    ['HTTP/1.1', 'http2', askHttp1],
    ['HTTP/2', 'http1', askHttp2],
    ['HTTP/2', 'http2', askHttp2],
  ] as const;
  const asked = directions.flatMap(([client, upstream, ask]) =>
    CASES.filter((each) => each.client === undefined || each.client === client).map(
      (each) => [client, upstream, each.name, ask, each] as const,
    ),
  );
  it.each(asked)('%s to %s: %s', async (_client, upstream, _name, ask, each) => {
    const [fromEnvoy, fromOurs] = await Promise.all([ask(envoys[upstream], each), ask(ours[upstream], each)]);
    expect(essence(fromOurs)).toEqual(essence(fromEnvoy));
  });

  it.each([
    ['HTTP/1.1', askHttp1],
    ['HTTP/2', askHttp2],
  ] as const)('%s to nobody, for gRPC', async (_client, ask) => {
    const call = { name: '', method: 'POST', path: '/pkg.Service/Method', headers: { 'content-type': 'application/grpc' }, body: 'abc' };
    const [fromEnvoy, fromOurs] = await Promise.all([ask(envoys.nobody, call), ask(ours.nobody, call)]);
    expect(essence(fromOurs)).toEqual(essence(fromEnvoy));
  });
});
