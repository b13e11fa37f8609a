import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createSecureServer, type SecureServerOptions } from 'node:http2';
import { createServer, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { ConfigSchema as PeerMetadataSchema } from '@mizzen/xds-api/io/istio/http/peer_metadata/config';
import { any, Cleanup, createAuthority, startProxy, type TestAuthority, type TestIdentity } from './testing/harness.ts';
import { createRevocationList } from './testing/revocation-list.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const SERVER = 'spiffe://cluster.local/ns/default/sa/server';
const PEER_HEADERS = ['x-envoy-peer-metadata', 'x-envoy-peer-metadata-id'];

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createAuthority();
});

/** An HTTPS server that answers with the names of the headers that it got. */
async function startHttps(names: { readonly uri?: string; readonly dns?: readonly string[] }): Promise<number> {
  return serveHttps(await authority.issue(names.uri ?? 'https://example.com/', names.dns));
}

async function serveHttps(identity: TestIdentity, options: ServerOptions = {}): Promise<number> {
  const server = createServer({ key: identity.key, cert: identity.chain, ...options }, (incoming, response) => {
    response.end(JSON.stringify(Object.keys(incoming.headers)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

/** A client's proxy that starts TLS to the port, with Istio's peer metadata filter. */
async function startClient(
  port: number,
  options: {
    readonly isExternal?: boolean;
    readonly alpn?: readonly string[];
    readonly sans?: readonly JsonValue[];
    readonly revocations?: string;
    /** upstream_http_protocol_options. */
    readonly http?: Readonly<Record<string, JsonValue>>;
  },
): Promise<(headers?: Record<string, string>) => Promise<{ status: number; body: string }>> {
  const running = await startProxy(cleanup, '');
  const validation = {
    trusted_ca: { inline_string: authority.root },
    match_typed_subject_alt_names: [...(options.sans ?? [])],
    ...(options.revocations !== undefined && { crl: { inline_string: options.revocations } }),
  };
  const tls = any(UpstreamTlsContextSchema, {
    sni: 'storage.googleapis.com',
    common_tls_context: { validation_context: validation, alpn_protocols: [...(options.alpn ?? [])] },
  });
  const cluster = {
    name: 'upstream',
    type: 'STATIC',
    load_assignment: { cluster_name: 'upstream', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    transport_socket: { name: 'tls', typed_config: tls },
    ...(options.http !== undefined && {
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any(HttpProtocolOptionsSchema, options.http),
      },
    }),
    metadata: { filter_metadata: { istio: { ...(options.isExternal && { external: true }) } } },
  };
  expect(running.apply('cluster', { upstream: cluster })).toEqual([]);
  const peers = any(PeerMetadataSchema, {
    upstream_discovery: [{ istio_headers: {} }],
    upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
  });
  const manager = any(HttpConnectionManagerSchema, {
    stat_prefix: 'http',
    route_config: {
      name: 'r',
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'upstream' } }] }],
    },
    http_filters: [
      { name: 'peers', typed_config: peers },
      { name: 'router', typed_config: any(RouterSchema) },
    ],
  });
  const listener = {
    address: address(0),
    traffic_direction: 'OUTBOUND',
    filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }],
  };
  expect(running.apply('listener', { http: listener })).toEqual([]);
  await running.proxy.ready.until((isReady) => isReady);
  return async (headers = {}) => {
    const response = await fetch(`http://127.0.0.1:${running.portOf('http')}/`, { headers });
    return { status: response.status, body: await response.text() };
  };
}

const HTTP2: Readonly<Record<string, JsonValue>> = { explicit_http_config: { http2_protocol_options: {} } };
const AUTO: Readonly<Record<string, JsonValue>> = { auto_config: { http_protocol_options: {}, http2_protocol_options: {} } };

describe('ALPN', () => {
  it.each([
    [
      'HTTP to a port of the mesh that may speak anything',
      ['istio-peer-exchange', 'istio'],
      undefined,
      ['istio-http/1.1', 'istio', 'http/1.1'],
    ],
    ['HTTP/2 to a port of the mesh', ['istio-h2', 'istio', 'h2'], HTTP2, ['istio-h2', 'istio', 'h2']],
    ['what the cluster says to servers outside of the mesh', ['http/1.1'], undefined, ['http/1.1']],
    ['what the cluster says, without what it does not speak', ['h2', 'http/1.1'], undefined, ['http/1.1']],
    ['HTTP/1.1 where the cluster says nothing', [], undefined, ['http/1.1']],
    ['HTTP/2 where that is what the cluster speaks', [], HTTP2, ['h2']],
    ['both where the server may choose', [], AUTO, ['h2', 'http/1.1']],
  ])('offers %s', async (_, alpn, http, offered) => {
    const seen: string[][] = [];
    const port = await serveBoth({
      ALPNCallback: ({ protocols }) => {
        seen.push(protocols);
        return protocols.includes('h2') ? 'h2' : protocols.at(-1);
      },
    });
    const ask = await startClient(port, { alpn, ...(http !== undefined && { http }) });
    expect(await ask()).toEqual({ status: 200, body: offered.includes('h2') ? '2.0' : '1.1' });
    expect(seen).toEqual([offered]);
  });

  it.each([
    ['2.0', 'h2'],
    ['1.1', 'http/1.1'],
  ])('lets the server choose HTTP/%s, one request after the other', async (version, chosen) => {
    const port = await serveBoth({ ALPNCallback: () => chosen });
    const ask = await startClient(port, { http: AUTO });
    for (let index = 0; index < 3; index++) expect(await ask()).toEqual({ status: 200, body: version });
  });
});

/** Tells the version of HTTP that it is spoken to. */
async function serveBoth(options: SecureServerOptions): Promise<number> {
  const identity = await authority.issue(SERVER);
  const server = createSecureServer({ key: identity.key, cert: identity.chain, allowHTTP1: true, ...options }, (request, response) => {
    response.end(request.httpVersion);
  });
  const sockets = new Set<Socket>();
  server.on('secureConnection', (socket: Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

describe('peer metadata', () => {
  it('is told to a server of the mesh', async () => {
    const ask = await startClient(await startHttps({ uri: SERVER }), {});
    expect(JSON.parse((await ask()).body)).toEqual(expect.arrayContaining(PEER_HEADERS));
  });

  it.each([
    ['in a cluster that is external, whatever name it proves', { uri: SERVER }, { isExternal: true }],
    ['that proves no identity of a mesh', { dns: ['storage.googleapis.com'] }, {}],
    ['that is external and proves none', { dns: ['storage.googleapis.com'] }, { isExternal: true }],
  ])('is never told to a server %s, not even where the application sends such headers', async (_, names, options) => {
    const ask = await startClient(await startHttps(names), options);
    const answer = await ask({ 'x-envoy-peer-metadata': 'forged', 'x-envoy-peer-metadata-id': 'forged' });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body).filter((name: string) => PEER_HEADERS.includes(name))).toEqual([]);
  });
});

describe('TLS to a server outside of the mesh', () => {
  const dns = (exact: string): JsonValue => ({ san_type: 'DNS', matcher: { exact } });

  it.each([
    ['the name itself', ['storage.googleapis.com'], 200],
    ['a wildcard', ['*.googleapis.com', 'googleapis.com'], 200],
    ['a wildcard one label too high', ['*.com'], 503],
    ['another name', ['storage.example.com'], 503],
  ])('is answered for a certificate with %s: %j, %d', async (_, names, status) => {
    const ask = await startClient(await startHttps({ dns: names }), { isExternal: true, sans: [dns('storage.googleapis.com')] });
    expect((await ask()).status).toBe(status);
  });

  it.each([
    ['lets in a certificate that its revocation list does not name', false, 200],
    ['refuses one that it names', true, 503],
  ])('%s', async (_, isRevoked, status) => {
    const now = Date.now();
    const identity = await authority.issue('https://example.com/', ['storage.googleapis.com']);
    const other = await authority.issue('https://example.com/', ['other.googleapis.com']);
    const revoked = [new X509Certificate(isRevoked ? identity.chain : other.chain)];
    const root = { certificatePem: authority.root, privateKeyPem: authority.rootKey };
    const ask = await startClient(await serveHttps(identity), {
      isExternal: true,
      revocations: createRevocationList(root, { now, revoked }),
    });
    expect((await ask()).status).toBe(status);
  });
});
