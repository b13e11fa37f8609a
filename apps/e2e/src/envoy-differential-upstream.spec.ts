import { constants } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer as createHttpServer, type Server as HttpServer, request } from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { createHostCertificate, freePort, type HostCertificate } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { until } from './until.ts';

type Json = Record<string, unknown>;

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

const address = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });
const any = (type: string, fields: Json): Json => ({ '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields });

// --- the clusters

interface Backends {
  readonly tls: number;
  readonly proxied: number;
  readonly proxiedTls: number;
}

function cluster(name: string, port: number, more: Json): Json {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    ...more,
  };
}

function tlsSocket(ca: string, fields: Json = {}): Json {
  const validation = ca === '' ? {} : { validation_context: { trusted_ca: { inline_string: ca } } };
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: any('transport_sockets.tls.v3.UpstreamTlsContext', { common_tls_context: validation, ...fields }),
  };
}

function proxySocket(
  config: Json,
  inner: Json = { name: 'envoy.transport_sockets.raw_buffer', typed_config: any('transport_sockets.raw_buffer.v3.RawBuffer', {}) },
): Json {
  return {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    typed_config: any('transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', { config, transport_socket: inner }),
  };
}

function httpOptions(fields: Json): Json {
  return {
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, explicit_http_config: { http_protocol_options: {} }, ...fields },
    },
  };
}

function clusters(at: Backends, ca: string): readonly Json[] {
  const names = (fields: Json): Json => httpOptions({ upstream_http_protocol_options: fields });
  const passed = { match_type: 'INCLUDE', tlv_type: [0xe2] };
  return [
    cluster('names', at.tls, { transport_socket: tlsSocket(ca, { sni: 'fixed.example.com' }), ...names({ auto_sni: true }) }),
    cluster('older', at.tls, { transport_socket: tlsSocket(ca), upstream_http_protocol_options: { auto_sni: true } }),
    cluster('verified', at.tls, { transport_socket: tlsSocket(ca), ...names({ auto_sni: true, auto_san_validation: true }) }),
    cluster('trusting', at.tls, { transport_socket: tlsSocket(''), ...names({ auto_sni: true, auto_san_validation: true }) }),
    cluster('header', at.tls, {
      transport_socket: tlsSocket(ca),
      ...names({ auto_sni: true, auto_san_validation: true, override_auto_sni_header: 'X-Name' }),
    }),
    cluster('proxyv1', at.proxied, { transport_socket: proxySocket({ version: 'V1' }) }),
    cluster('proxyv2', at.proxied, { transport_socket: proxySocket({ version: 'V2' }) }),
    cluster('proxytlvs', at.proxied, { transport_socket: proxySocket({ version: 'V2', pass_through_tlvs: passed }) }),
    cluster('proxytls', at.proxiedTls, {
      transport_socket: proxySocket({ version: 'V1' }, tlsSocket(ca)),
      ...names({ auto_sni: true }),
    }),
  ];
}

// --- the listeners: plain clients, one that tells upstreams nothing of its clients, two whose filters set what connections are made by

const LISTENERS = ['plain', 'silent', 'state', 'tcp'] as const;
type Ports = Readonly<Record<(typeof LISTENERS)[number], number>>;

function listener(name: keyof Ports, port: number, routes: readonly Json[]): Json {
  if (name === 'tcp') return tcpListener(port);
  const manager = any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: name,
    route_config: { name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
    ...(name === 'state' && { access_log: [LOG] }),
    http_filters: [
      ...(name === 'state' ? [{ name: 'envoy.filters.http.set_filter_state', typed_config: FILTER_STATE }] : []),
      { name: 'envoy.filters.http.router', typed_config: any('filters.http.router.v3.Router', {}) },
    ],
    ...(name === 'silent' && { add_proxy_protocol_connection_state: false }),
  });
  return {
    name,
    address: address(port),
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

function stateValue(key: string, format: string, more: Json = {}): Json {
  return { object_key: key, format_string: { text_format_source: { inline_string: format }, omit_empty_values: true }, ...more };
}

const FILTER_STATE = any('filters.http.set_filter_state.v3.Config', {
  on_request_headers: [
    stateValue('envoy.network.upstream_server_name', '%REQ(x-sni)%', { skip_if_empty: true }),
    stateValue('envoy.network.upstream_subject_alt_names', '%REQ(x-san)%', { skip_if_empty: true }),
    stateValue('mine', 'first %REQ(x-sni)%', { factory_key: 'envoy.string', read_only: true }),
  ],
});

const LOG = {
  name: 'envoy.access_loggers.stdout',
  typed_config: any('access_loggers.stream.v3.StdoutAccessLog', {
    log_format: { text_format_source: { inline_string: 'state=%FILTER_STATE(mine:PLAIN)%|%FILTER_STATE(none:PLAIN)%\n' } },
  }),
};

/** Goes to the cluster that is named by the client's own port, or else to its own. */
function tcpListener(port: number): Json {
  const values = [
    stateValue('envoy.tcp_proxy.cluster', 'proxyv1'),
    stateValue('mine', '%DOWNSTREAM_LOCAL_PORT%', { factory_key: 'envoy.string' }),
  ];
  return {
    name: 'tcp',
    address: address(port),
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.set_filter_state',
            typed_config: any('filters.network.set_filter_state.v3.Config', { on_new_connection: values }),
          },
          {
            name: 'envoy.filters.network.tcp_proxy',
            typed_config: any('filters.network.tcp_proxy.v3.TcpProxy', { stat_prefix: 'tcp', cluster: 'nowhere' }),
          },
        ],
      },
    ],
  };
}

function bootstrap(ports: Ports, backends: Backends, ca: string): Json {
  const all = clusters(backends, ca);
  const routes = all.flatMap(({ name }) => [
    { match: { prefix: `/${name}/rewritten` }, route: { cluster: name, host_rewrite_literal: 'rewritten.example.com' } },
    { match: { prefix: `/${name}` }, route: { cluster: name } },
  ]);
  return { static_resources: { clusters: all, listeners: LISTENERS.map((name) => listener(name, ports[name], routes)) } };
}

// --- the back ends

/** Of a resumed session Node does not tell the name: none is resumed. */
const NO_SESSIONS: ServerOptions = { maxVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_TICKET };

/** Answers with the name that it was asked for, and with the number of the connection among those of its proxy. */
function tlsBackend({ certChainPem, privateKeyPem }: HostCertificate): HttpServer {
  const server = createHttpsServer({ cert: certChainPem, key: privateKeyPem, ...NO_SESSIONS });
  const used: Socket[] = [];
  return server.on('request', ({ socket }, response) => {
    if (!used.includes(socket)) used.push(socket);
    const { servername } = socket as TLSSocket;
    response.end(`${String(servername)} on connection ${used.indexOf(socket)}`);
  });
}

/** Answers with what came before the HTTP, and gives the rest to an HTTP server. */
function proxiedBackend(server: HttpServer): Server {
  const headers = new WeakMap<object, string>();
  let count = 0;
  server.on('request', (asked, response) => {
    const socket = (asked.socket as { _parent?: Socket } & Socket)._parent ?? asked.socket;
    response.setHeader('x-proxy', headers.get(socket) ?? '');
    response.end(`${String((asked.socket as TLSSocket).servername ?? '')} on its connection`);
  });
  return createServer((socket) => {
    socket.on('error', () => socket.destroy());
    let bytes = Buffer.alloc(0);
    const onReadable = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
        bytes = Buffer.concat([bytes, chunk]);
      const length = headerLength(bytes);
      if (length === undefined) return;
      socket.removeListener('readable', onReadable);
      headers.set(socket, `${++count}: ${described(bytes.subarray(0, length))}`);
      socket.unshift(bytes.subarray(length));
      server.emit('connection', socket);
    };
    socket.on('readable', onReadable);
  });
}

function headerLength(bytes: Buffer): number | undefined {
  if (bytes.length < 16) return undefined;
  if (bytes[0] !== 0x0d) {
    const end = bytes.indexOf('\r\n');
    return end < 0 ? undefined : end + 2;
  }
  const length = 16 + bytes.readUInt16BE(14);
  return bytes.length < length ? undefined : length;
}

/** Without the ports, which are of each connection's own. */
function described(header: Buffer): string {
  if (header[0] !== 0x0d)
    return header
      .toString('latin1')
      .trim()
      .replace(/ \d+ \d+$/, '');
  const addresses = header.subarray(16, 24).toString('hex');
  return `${header.subarray(12, 16).toString('hex')} ${addresses} ${header.subarray(28).toString('hex')}`;
}

// --- the clients

interface Asked {
  readonly port: number;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly agent?: Agent;
}

async function ask({ port, path, headers, agent }: Asked): Promise<unknown> {
  const asking = request({ port, host: '127.0.0.1', path, headers, agent: agent ?? false }).end();
  const [response] = await once(asking, 'response');
  const body = await text(response);
  return { status: response.statusCode, proxy: response.headers['x-proxy'], body: response.statusCode === 200 ? body : 'failed' };
}

/** What one client after another is told, each over a connection of its own. */
async function inTurn(all: readonly Asked[]): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const asked of all) answers.push(await ask(asked));
  return answers;
}

describeWithEnvoy('needs envoy: connections to upstreams of our proxy and Envoy', () => {
  const closing: (() => unknown)[] = [];
  const none: Ports = { plain: 0, silent: 0, state: 0, tcp: 0 };
  const at: Record<'envoy' | 'ours', Ports> = { envoy: none, ours: none };
  let ourLog = '';
  let envoy: Envoy;
  let proxy: MeshProxy;

  async function listen(server: Server | HttpServer): Promise<number> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => server.close());
    if ('closeAllConnections' in server) closing.push(() => server.closeAllConnections());
    return (server.address() as AddressInfo).port;
  }

  /** Back ends of its own for each proxy: they count connections. */
  async function startBackends(certificate: HostCertificate): Promise<Backends> {
    const plain = createHttpServer();
    const { certChainPem: cert, privateKeyPem: key } = certificate;
    const secure = createHttpsServer({ cert, key, ...NO_SESSIONS });
    closing.push(
      () => plain.closeAllConnections(),
      () => secure.closeAllConnections(),
    );
    return {
      tls: await listen(tlsBackend(certificate)),
      proxied: await listen(proxiedBackend(plain)),
      proxiedTls: await listen(proxiedBackend(secure)),
    };
  }

  async function newPorts(): Promise<Ports> {
    return { plain: await freePort(), silent: await freePort(), state: await freePort(), tcp: await freePort() };
  }

  beforeAll(async () => {
    const certificate = await createHostCertificate('*.example.com');
    at.envoy = await newPorts();
    at.ours = await newPorts();
    const forEnvoy = await startBackends(certificate);
    const forUs = await startBackends(certificate);
    envoy = await startEnvoy(bootstrap(at.envoy, forEnvoy, certificate.caPem));
    proxy = await startOurProxy(bootstrap(at.ours, forUs, certificate.caPem), (text) => {
      ourLog += text;
    });
  });

  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    for (const close of closing) close();
  });

  it.each(['names', 'older', 'verified', 'trusting', 'header'])('are made by the host of the request alike: %s', async (name) => {
    const hosts = ['a.example.com', 'b.example.com', 'a.example.com:8080', 'other.example', '10.1.1.1', '[::1]:80', 'a.example.com'];
    const all = (ports: Ports): readonly Asked[] => [
      ...hosts.map((host) => ({ port: ports.plain, path: `/${name}`, headers: { host } })),
      { port: ports.plain, path: `/${name}/rewritten`, headers: { host: 'a.example.com' } },
      { port: ports.plain, path: `/${name}`, headers: { host: 'other.example', 'x-name': 'c.example.com' } },
      { port: ports.plain, path: `/${name}`, headers: { host: 'b.example.com', 'x-name': '' } },
    ];
    expect(await inTurn(all(at.ours))).toEqual(await inTurn(all(at.envoy)));
  });

  it.each(['proxyv1', 'proxyv2', 'proxytlvs', 'proxytls'])('begin with a PROXY header of their client alike: %s', async (name) => {
    const all = async (ports: Ports): Promise<unknown> => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const another = new Agent({ keepAlive: true, maxSockets: 1 });
      const asked = (own: Agent | undefined): Asked => ({
        port: ports.plain,
        path: `/${name}`,
        headers: { host: 'a.example.com' },
        ...(own && { agent: own }),
      });
      // One client twice, another one, the first again.
      const kept = await inTurn([asked(agent), asked(agent), asked(another), asked(agent)]);
      agent.destroy();
      another.destroy();
      const silent = { ...asked(undefined), port: ports.silent };
      return { kept, silent: await inTurn([silent, silent]) };
    };
    expect(await all(at.ours)).toEqual(await all(at.envoy));
  });

  it('are made by what filters set alike', async () => {
    const all = ({ state: port }: Ports): readonly Asked[] => [
      { port, path: '/names', headers: { host: 'a.example.com', 'x-sni': 'set.example.com' } },
      { port, path: '/names', headers: { host: 'a.example.com' } },
      { port, path: '/verified', headers: { host: 'a.example.com', 'x-sni': 'set.example.com', 'x-san': 'other.example' } },
      { port, path: '/verified', headers: { host: 'other.example', 'x-sni': 'else.example', 'x-san': 'none.example,b.example.com' } },
      { port, path: '/nothing', headers: { 'x-sni': 'logged.example' } },
    ];
    const [ours, envoys] = [await inTurn(all(at.ours)), await inTurn(all(at.envoy))];
    expect(ours).toEqual(envoys);
    const lines = (text: string): string[] => text.split('\n').filter((line) => line.startsWith('state='));
    const isLogged = (text: string): true | undefined => (lines(text).length === 5 ? true : undefined);
    await until('our log', async () => isLogged(ourLog));
    await until("Envoy's log", async () => isLogged(await envoy.output()));
    expect(lines(ourLog)).toEqual(lines(await envoy.output()));
  });

  it('go to the cluster that a network filter names alike', async () => {
    const asked = ({ tcp: port }: Ports): Asked => ({ port, path: '/', headers: { host: 'a.example.com' } });
    const masked = (answer: unknown): string => JSON.stringify(answer).replace(/"\d+: /, '"');
    expect(masked(await ask(asked(at.ours)))).toBe(masked(await ask(asked(at.envoy))));
  });
});
