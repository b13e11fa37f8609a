import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import {
  any,
  Cleanup,
  createAuthority,
  exchange,
  keyPairSecret,
  type RunningProxy,
  rootSecret,
  startEcho,
  startProxy,
  type TestAuthority,
} from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const CLIENT = 'spiffe://cluster.local/ns/default/sa/client';
const SERVER = 'spiffe://cluster.local/ns/default/sa/server';
const SDS = { tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: { ads: {} } }] };

function combined(sans: JsonValue): JsonValue {
  return {
    default_validation_context: { match_typed_subject_alt_names: sans },
    validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: { ads: {} } },
  };
}

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function tcpProxy(cluster: string): JsonValue {
  const log = any(FileAccessLogSchema, {
    path: '/dev/stdout',
    log_format: {
      text_format_source: {
        inline_string: '%DOWNSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_URI_SAN% %REQUESTED_SERVER_NAME% %UPSTREAM_TRANSPORT_FAILURE_REASON%',
      },
    },
  });
  return {
    name: 'tcp',
    typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster, access_log: [{ name: 'log', typed_config: log }] }),
  };
}

function cluster(name: string, port: number, more: Record<string, JsonValue> = {}): JsonValue {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }];
  return { name, type: 'STATIC', connect_timeout: '10s', load_assignment: { cluster_name: name, endpoints }, ...more };
}

let authority: TestAuthority;
let stranger: TestAuthority;
beforeAll(async () => {
  authority = await createAuthority();
  stranger = await createAuthority();
});

/** The inbound side of a sidecar: mTLS only (STRICT), or with plaintext beside it (PERMISSIVE). */
async function startServer(mode: 'STRICT' | 'PERMISSIVE', upstreamPort: number): Promise<RunningProxy> {
  const server = await startProxy(cleanup, '');
  const tls = any(DownstreamTlsContextSchema, {
    require_client_certificate: true,
    common_tls_context: {
      ...SDS,
      combined_validation_context: combined([{ san_type: 'URI', matcher: { prefix: 'spiffe://cluster.local/' } }]),
      alpn_protocols: ['h2', 'http/1.1'],
    },
  });
  const secured = {
    filter_chain_match: { transport_protocol: 'tls', application_protocols: ['istio'] },
    filters: [tcpProxy('app')],
    transport_socket: { name: 'tls', typed_config: tls },
  };
  const plain = { filter_chain_match: { transport_protocol: 'raw_buffer' }, filters: [tcpProxy('app')] };
  expect(server.apply('cluster', { app: cluster('app', upstreamPort) })).toEqual([]);
  const listener = {
    address: address(0),
    traffic_direction: 'INBOUND',
    listener_filters: [{ name: 'tls', typed_config: any(TlsInspectorSchema) }],
    filter_chains: mode === 'STRICT' ? [secured] : [secured, plain],
  };
  expect(server.apply('listener', { inbound: listener })).toEqual([]);
  server.proxy.setSecret('default', keyPairSecret('default', await authority.issue(SERVER)));
  server.proxy.setSecret('ROOTCA', rootSecret('ROOTCA', authority.root));
  await server.proxy.ready.until((isReady) => isReady);
  return server;
}

async function startClient(
  serverPort: number,
  options: { readonly expects: string; readonly identity?: TestAuthority },
): Promise<RunningProxy> {
  const client = await startProxy(cleanup, '');
  const tls = any(UpstreamTlsContextSchema, {
    sni: 'outbound_.9080_._.server.default.svc.cluster.local',
    common_tls_context: {
      ...SDS,
      combined_validation_context: combined([{ san_type: 'URI', matcher: { exact: options.expects } }]),
      alpn_protocols: ['istio'],
    },
  });
  expect(
    client.apply('cluster', { server: cluster('server', serverPort, { transport_socket: { name: 'tls', typed_config: tls } }) }),
  ).toEqual([]);
  expect(client.apply('listener', { outbound: { address: address(0), filter_chains: [{ filters: [tcpProxy('server')] }] } })).toEqual([]);
  client.proxy.setSecret('default', keyPairSecret('default', await (options.identity ?? authority).issue(CLIENT)));
  client.proxy.setSecret('ROOTCA', rootSecret('ROOTCA', authority.root));
  await client.proxy.ready.until((isReady) => isReady);
  return client;
}

describe('mTLS between two proxies', () => {
  it('carries bytes, and both access logs name the other by its SPIFFE id', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const client = await startClient(server.portOf('inbound'), { expects: SERVER });
    expect(await exchange(client.portOf('outbound'), 'hello')).toBe('hello');
    expect(await client.logged()).toEqual([`- ${SERVER} - -`]);
    expect(await server.logged()).toEqual([`${CLIENT} - outbound_.9080_._.server.default.svc.cluster.local -`]);
  });

  it('refuses a server whose certificate has another name', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const client = await startClient(server.portOf('inbound'), { expects: `${SERVER}-other` });
    expect(await exchange(client.portOf('outbound'), 'hello')).toBe('');
    expect(await client.logged()).toEqual(['- - - TLS_error:_ERR_TLS_SAN']);
  });

  it('refuses a client whose certificate another authority signed, and one without a certificate', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const client = await startClient(server.portOf('inbound'), { expects: SERVER, identity: stranger });
    expect(await exchange(client.portOf('outbound'), 'hello')).toBe('');
    const bare = tlsConnect({ port: server.portOf('inbound'), host: '127.0.0.1', ALPNProtocols: ['istio'], rejectUnauthorized: false });
    bare.on('error', () => {});
    await new Promise((resolve) => bare.once('close', resolve));
    const stats = (await server.admin('/stats?filter=ssl')).body;
    expect(stats).toContain('ssl.fail_verify_error: 1');
    expect(stats).toMatch(/ssl\.(fail_verify_no_cert|connection_error): 1/);
    expect(server.log).toEqual([]);
  });

  it('closes plaintext under STRICT without an answer, and serves it under PERMISSIVE', async () => {
    const echo = await startEcho(cleanup);
    const strict = await startServer('STRICT', echo);
    expect(await exchange(strict.portOf('inbound'), 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')).toBe('');
    const permissive = await startServer('PERMISSIVE', echo);
    expect(await exchange(permissive.portOf('inbound'), 'GET / HTTP/1.1\r\n\r\n')).toBe('GET / HTTP/1.1\r\n\r\n');
    const client = await startClient(permissive.portOf('inbound'), { expects: SERVER });
    expect(await exchange(client.portOf('outbound'), 'hello')).toBe('hello');
  });

  it('shows a rotated certificate to new connections and leaves those alone that live', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const client = await startClient(server.portOf('inbound'), { expects: SERVER });
    const living = connect({ port: client.portOf('outbound'), host: '127.0.0.1' });
    living.write('before');
    expect(String((await once(living, 'data'))[0])).toBe('before');
    const serials = [await serialOf(server)];
    server.proxy.setSecret('default', keyPairSecret('default', await authority.issue(SERVER)));
    serials.push(await serialOf(server));
    expect(serials[0]).not.toBe(serials[1]);
    living.write('after');
    expect(String((await once(living, 'data'))[0])).toBe('after');
    living.destroy();
    expect(await exchange(client.portOf('outbound'), 'hello')).toBe('hello');
  });

  it('takes a ClientHello that comes byte by byte', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const identity = await authority.issue(CLIENT);
    const raw = connect({ port: server.portOf('inbound'), host: '127.0.0.1', noDelay: true });
    await once(raw, 'connect');
    const socket = tlsConnect({
      socket: new SlowDuplex(raw),
      key: identity.key,
      cert: identity.chain,
      ca: authority.root,
      ALPNProtocols: ['istio'],
      checkServerIdentity: () => undefined,
    });
    await once(socket, 'secureConnect');
    socket.write('hello');
    expect(String((await once(socket, 'data'))[0])).toBe('hello');
    socket.destroy();
  });

  it('forgets clients at once that go during the handshake', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const hello = await clientHello();
    const clients = Array.from({ length: 20 }, () => connect({ port: server.portOf('inbound'), host: '127.0.0.1' }));
    for (const client of clients) {
      client.on('error', () => {});
      client.write(hello, () => client.destroy());
    }
    const left = performance.now();
    let stats = '';
    do stats = (await server.admin('/stats?filter=downstream_cx')).body;
    while (!stats.includes('downstream_cx_total: 20') || !stats.includes('downstream_cx_active: 0'));
    // Long before the handshake's timeout of 15 s.
    expect(performance.now() - left).toBeLessThan(12_000);
  });

  it('does not renegotiate', async () => {
    const server = await startServer('STRICT', await startEcho(cleanup));
    const identity = await authority.issue(CLIENT);
    const socket = tlsConnect({
      port: server.portOf('inbound'),
      host: '127.0.0.1',
      key: identity.key,
      cert: identity.chain,
      ca: authority.root,
      ALPNProtocols: ['istio'],
      maxVersion: 'TLSv1.2',
      checkServerIdentity: () => undefined,
    });
    await once(socket, 'secureConnect');
    const outcome = new Promise((resolve) => {
      socket.on('error', (error) => resolve((error as { code?: string }).code));
      socket.renegotiate({}, (error) => resolve(error === null ? 'renegotiated' : (error as { code?: string }).code));
    });
    expect(await outcome).toMatch(/NO_RENEGOTIATION/);
    socket.destroy();
  });
});

/** The first bytes of a client that offers `istio`. */
async function clientHello(): Promise<Buffer> {
  const listening = createServer();
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const client = tlsConnect({ port: (listening.address() as AddressInfo).port, host: '127.0.0.1', ALPNProtocols: ['istio'] });
  client.on('error', () => {});
  const [socket] = (await once(listening, 'connection')) as [Socket];
  const [hello] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  listening.close();
  return hello;
}

async function serialOf(server: RunningProxy): Promise<string> {
  const identity = await authority.issue(CLIENT);
  const socket: TLSSocket = tlsConnect({
    port: server.portOf('inbound'),
    host: '127.0.0.1',
    key: identity.key,
    cert: identity.chain,
    ca: authority.root,
    ALPNProtocols: ['istio'],
    checkServerIdentity: () => undefined,
  });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

describe('HTTPS', () => {
  it('agrees on HTTP/1.1 with a client that offers nothing else, and needs no client certificate', async () => {
    const server = await startProxy(cleanup, '');
    const identity = await authority.issue('spiffe://cluster.local/ns/istio-system/sa/gateway', ['bookinfo.example']);
    const certificate = { certificate_chain: { inline_string: identity.chain }, private_key: { inline_string: identity.key } };
    const tls = any(DownstreamTlsContextSchema, {
      common_tls_context: { tls_certificates: [certificate], alpn_protocols: ['h2', 'http/1.1'] },
    });
    const direct = { name: 'any', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] };
    const manager = any(HttpConnectionManagerSchema, {
      stat_prefix: 'https',
      route_config: { name: 'r', virtual_hosts: [direct] },
      http_filters: [{ name: 'router', typed_config: any(RouterSchema) }],
    });
    const chain = { filters: [{ name: 'hcm', typed_config: manager }], transport_socket: { name: 'tls', typed_config: tls } };
    expect(server.apply('listener', { https: { address: address(0), filter_chains: [chain] } })).toEqual([]);
    const socket = tlsConnect({
      port: server.portOf('https'),
      host: '127.0.0.1',
      servername: 'bookinfo.example',
      ca: authority.root,
      ALPNProtocols: ['http/1.1'],
    });
    await once(socket, 'secureConnect');
    expect(socket.alpnProtocol).toBe('http/1.1');
    socket.write('GET / HTTP/1.1\r\nhost: bookinfo.example\r\nconnection: close\r\n\r\n');
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    socket.destroy();
  });
});

/** Sends one byte at a time. */
class SlowDuplex extends Duplex {
  readonly #raw: Socket;

  constructor(raw: Socket) {
    super();
    this.#raw = raw;
    raw.on('data', (chunk) => this.push(chunk));
    raw.on('end', () => this.push(null));
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const next = (index: number): void => {
      if (index >= chunk.length) {
        done();
        return;
      }
      this.#raw.write(chunk.subarray(index, index + 1));
      setImmediate(() => next(index + 1));
    };
    next(0);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#raw.destroy();
    done(error);
  }
}
