import { createServer, request as httpRequest, type Server } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';

// --- the back ends send back what comes; `/no` they refuse

function http1Backend(): Server {
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/no' ? 403 : 200, { 'x-seen': 'no upgrade' });
    response.end('plain');
  });
  server.on('upgrade', (request, socket: Duplex) => {
    socket.on('error', () => socket.destroy());
    if (request.url === '/no') {
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nx-seen: refused\r\n\r\nno');
      return;
    }
    const { upgrade } = request.headers;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${upgrade}\r\nx-seen: ${request.method}\r\n\r\n`);
    socket.pipe(socket);
  });
  return server;
}

function http2Backend(): Http2Server {
  const server = createHttp2Server({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => stream.destroy());
    if (headers[':path'] === '/no') {
      stream.respond({ ':status': 403, 'x-seen': 'refused' });
      stream.end('no');
      return;
    }
    stream.respond({ ':status': 200, 'x-seen': `${headers[':method']} ${headers[':protocol'] ?? ''}` });
    stream.pipe(stream);
  });
  return server;
}

// --- the proxies

const UPSTREAMS = ['http1', 'http2', 'tcp'] as const;
type Ports = Readonly<Record<(typeof UPSTREAMS)[number], number>>;

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

function address(port: number): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function cluster(name: keyof Ports, port: number): object {
  const explicit = name === 'http2' ? { http2_protocol_options: { allow_connect: true } } : { http_protocol_options: {} };
  return {
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, explicit_http_config: explicit },
    },
  };
}

function listener(name: keyof Ports, port: number): object {
  const connect = {
    match: { connect_matcher: {} },
    route: { cluster: name, upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
  };
  const off = { match: { prefix: '/off' }, route: { cluster: name, upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] } };
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: name,
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT', enabled: name === 'tcp' }],
    route_config: {
      name: 'r',
      virtual_hosts: [{ name: 'v', domains: ['*'], routes: [connect, off, { match: { prefix: '/' }, route: { cluster: name } }] }],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
  };
  return {
    name,
    address: address(port),
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

function bootstrap(listeners: Ports, backends: Ports): Record<string, unknown> {
  return {
    static_resources: {
      listeners: UPSTREAMS.map((name) => listener(name, listeners[name])),
      clusters: UPSTREAMS.map((name) => cluster(name, backends[name])),
    },
  };
}

// --- the clients

interface Outcome {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  /** What came back, or the body where the tunnel was refused. */
  readonly bytes: string;
}

const VARIES = new Set(['date', 'x-envoy-upstream-service-time']);

function masked(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers)
      .map(([name, value]) => [name, VARIES.has(name) ? '…' : value] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    stream.on('end', () => resolve(text));
    stream.on('error', reject);
  });
}

const SAID = 'hello there';

/** Says something and waits until as much has come back. Who ends before that is gone to Envoy's HTTP/1, whatever is on its way. */
function converse(stream: Duplex): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.on('error', reject);
    stream.on('close', () => resolve(`${text} (closed)`));
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.length >= SAID.length) resolve(text);
    });
    stream.write(SAID);
  });
}

function upgradeHttp1(port: number, path: string): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: '127.0.0.1', port, path, agent: false, headers: { connection: 'upgrade', upgrade: 'websocket' } });
    sent.on('error', reject);
    sent.on('upgrade', (response, socket) => {
      converse(socket).then((bytes) => {
        socket.destroy();
        resolve({ status: response.statusCode, headers: masked(response.headers), bytes });
      }, reject);
    });
    sent.on('response', (response) => {
      readAll(response).then((bytes) => resolve({ status: response.statusCode, headers: masked(response.headers), bytes }), reject);
    });
    sent.end();
  });
}

function tunnelHttp2(port: number, fields: Readonly<Record<string, string>>): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const client = connectHttp2(`http://127.0.0.1:${port}`);
    client.on('error', reject);
    // Extended CONNECT may be used once the server has said that it knows it (RFC 8441 §3).
    client.once('remoteSettings', () => {
      const stream = client.request({ ':method': 'CONNECT', ...fields }, { endStream: false });
      stream.on('error', reject);
      stream.on('response', (head) => {
        (head[':status'] === 200 ? converse(stream) : readAll(stream)).then((bytes) => {
          client.destroy();
          resolve({ status: head[':status'], headers: masked(head), bytes });
        }, reject);
      });
    });
  });
}

const upgradeHttp2 = (port: number, path: string): Promise<Outcome> =>
  tunnelHttp2(port, { ':protocol': 'websocket', ':scheme': 'http', ':authority': 'a', ':path': path });

async function choosePorts(): Promise<Ports> {
  return { http1: await freePort(), http2: await freePort(), tcp: await freePort() };
}

describeWithEnvoy('needs envoy: tunnels over HTTP/1.1 and HTTP/2, by Envoy and by ours', () => {
  const sockets = new Set<Socket>();
  const servers: readonly (Server | Http2Server | TcpServer)[] = [
    http1Backend(),
    http2Backend(),
    createTcpServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket)),
  ];
  let envoys: Ports;
  let ours: Ports;
  let envoy: Envoy;
  let proxy: MeshProxy;

  beforeAll(async () => {
    const ports: number[] = [];
    for (const server of servers) {
      server.on('connection', (socket: Socket) => sockets.add(socket));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      ports.push((server.address() as AddressInfo).port);
    }
    const [http1 = 0, http2 = 0, tcp = 0] = ports;
    const backends: Ports = { http1, http2, tcp };
    envoys = await choosePorts();
    ours = await choosePorts();
    envoy = await startEnvoy(bootstrap(envoys, backends));
    proxy = await startOurProxy(bootstrap(ours, backends));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
  });

  it.each(
    (['/yes', '/no', '/off'] as const).flatMap((path) => [
      ['HTTP/1.1', 'http1', path, upgradeHttp1] as const,
      ['HTTP/1.1', 'http2', path, upgradeHttp1] as const,
      ['HTTP/2', 'http1', path, upgradeHttp2] as const,
      ['HTTP/2', 'http2', path, upgradeHttp2] as const,
    ]),
  )('a WebSocket from %s to %s: %s', async (_client, upstream, path, ask) => {
    const [fromEnvoy, fromOurs] = await Promise.all([ask(envoys[upstream], path), ask(ours[upstream], path)]);
    expect(fromOurs).toEqual(fromEnvoy);
    if (path === '/yes') expect(fromOurs.bytes).toBe(SAID);
  });

  it.each(['tcp', 'http1'] as const)('CONNECT over HTTP/2 where it ends at the proxy: %s', async (upstream) => {
    const ask = (port: number): Promise<Outcome> => tunnelHttp2(port, { ':authority': 'somewhere:80' });
    const [fromEnvoy, fromOurs] = await Promise.all([ask(envoys[upstream]), ask(ours[upstream])]);
    expect(fromOurs).toEqual(fromEnvoy);
  });
});
