import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, TLSSocket } from 'node:tls';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { ProxyProtocolUpstreamTransportSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol';
import { RawBufferSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { MetadataExchangeSchema } from '@mizzen/xds-api/envoy/tcp/metadataexchange/config/metadata_exchange';
import { PluginConfigSchema } from '@mizzen/xds-api/stats/config';
import { parseProxyHeader } from './listener/proxy-protocol.ts';
import {
  any,
  Cleanup,
  createAuthority,
  exchange,
  type RunningProxy,
  startEcho,
  startProxy,
  type TestAuthority,
} from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createAuthority();
});

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function cluster(port: number, more: JsonObject = {}): JsonValue {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }];
  return { name: 'up', type: 'STATIC', load_assignment: { cluster_name: 'up', endpoints }, ...more };
}

const TCP = { name: 'tcp', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster: 'up' }) };

/** Nobody listens there now. */
const ANY_HEADER = { allowsV1: true, allowsV2: true, allowsNone: false };

/** Takes the PROXY header off what comes, then lets `serve` have the connection; resolves with the source port in the header. */
async function startBehindHeader(serve: (socket: Socket) => void): Promise<{ port: number; source: Promise<number | undefined> }> {
  const seen = Promise.withResolvers<number | undefined>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.once('data', (chunk: Buffer) => {
      const parsed = parseProxyHeader(chunk, ANY_HEADER);
      if (parsed.kind !== 'found') {
        seen.reject(new Error(`no header: ${JSON.stringify(parsed)}`));
        return;
      }
      const source = parsed.header.addresses?.source;
      seen.resolve(source?.kind === 'ip' ? source.port : undefined);
      socket.pause();
      if (chunk.length > parsed.bytes) socket.unshift(chunk.subarray(parsed.bytes));
      serve(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => server.close());
  return { port: (server.address() as AddressInfo).port, source: seen.promise };
}

async function startThrough(transport: JsonObject, port: number): Promise<RunningProxy> {
  const running = await startProxy(cleanup, '');
  expect(
    running.apply('cluster', {
      up: cluster(port, { transport_socket: { name: 'pp', typed_config: any(ProxyProtocolUpstreamTransportSchema, transport) } }),
    }),
  ).toEqual([]);
  expect(running.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [TCP] }] } })).toEqual([]);
  return running;
}

describe('a PROXY header to an upstream', () => {
  it.each(['V1', 'V2'])('says where the connection is from, in version %s', async (version) => {
    const upstream = await startBehindHeader((socket) => socket.pipe(socket));
    const transport = { config: { version }, transport_socket: { name: 'raw', typed_config: any(RawBufferSchema) } };
    const running = await startThrough(transport, upstream.port);
    expect(await exchange(running.portOf('l'), 'hello')).toBe('hello');
    expect(await upstream.source).toBeGreaterThan(0);
  });

  it('goes before TLS, in the clear', async () => {
    const identity = await authority.issue('spiffe://a/ns/a/sa/a');
    const upstream = await startBehindHeader((socket) => {
      const secure = new TLSSocket(socket, { isServer: true, cert: identity.chain, key: identity.key });
      secure.on('error', () => {});
      secure.on('data', (chunk: Buffer) => secure.end(`secret ${chunk}`));
    });
    const tls = any(UpstreamTlsContextSchema, {
      common_tls_context: { validation_context: { trusted_ca: { inline_string: authority.root } } },
    });
    const running = await startThrough({ config: { version: 'V2' }, transport_socket: { name: 'tls', typed_config: tls } }, upstream.port);
    expect(await exchange(running.portOf('l'), 'hello')).toBe('secret hello');
    expect(await upstream.source).toBeGreaterThan(0);
  });
});

describe('metadata exchange of TCP', () => {
  const node = (name: string): string =>
    `node: {id: 'sidecar~10.0.0.1~${name}.default~x', cluster: ${name}, metadata: {WORKLOAD_NAME: ${name}-v1, NAMESPACE: default, CLUSTER_ID: c1, LABELS: {app: ${name}, version: v1}}}\n`;
  const PROTOCOL = 'istio-peer-exchange';
  const filter = { name: 'mx', typed_config: any(MetadataExchangeSchema, { protocol: PROTOCOL }) };
  const stats = { name: 'stats', typed_config: any(PluginConfigSchema) };

  async function startServer(alpn: readonly string[], upstreamPort: number): Promise<RunningProxy> {
    const identity = await authority.issue('spiffe://cluster.local/ns/default/sa/reviews');
    const tls = any(DownstreamTlsContextSchema, {
      require_client_certificate: true,
      common_tls_context: {
        alpn_protocols: [...alpn],
        tls_certificates: [{ certificate_chain: { inline_string: identity.chain }, private_key: { inline_string: identity.key } }],
        validation_context: { trusted_ca: { inline_string: authority.root } },
      },
    });
    const server = await startProxy(cleanup, node('reviews'));
    expect(server.apply('cluster', { up: cluster(upstreamPort) })).toEqual([]);
    const chain = { filters: [filter, stats, TCP], transport_socket: { name: 'tls', typed_config: tls } };
    expect(server.apply('listener', { l: { address: address(0), traffic_direction: 'INBOUND', filter_chains: [chain] } })).toEqual([]);
    return server;
  }

  /** As Istio's control plane, which has no such messages, sends them. */
  const typedStruct = (typeUrl: string, value: JsonObject): JsonObject => ({
    '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
    type_url: `type.googleapis.com/${typeUrl}`,
    value,
  });

  async function startClient(serverPort: number, filters: JsonValue = [stats, TCP]): Promise<RunningProxy> {
    const identity = await authority.issue('spiffe://cluster.local/ns/default/sa/productpage');
    const tls = any(UpstreamTlsContextSchema, {
      common_tls_context: {
        alpn_protocols: [PROTOCOL, 'istio'],
        tls_certificates: [{ certificate_chain: { inline_string: identity.chain }, private_key: { inline_string: identity.key } }],
        validation_context: { trusted_ca: { inline_string: authority.root } },
      },
    });
    const client = await startProxy(cleanup, node('productpage'));
    const exchanging = typedStruct('envoy.tcp.metadataexchange.config.MetadataExchange', { protocol: PROTOCOL, enable_discovery: true });
    const upstreamFilter = { name: 'mx', typed_config: exchanging };
    const more = { transport_socket: { name: 'tls', typed_config: tls }, filters: [upstreamFilter] };
    expect(client.apply('cluster', { up: cluster(serverPort, more) })).toEqual([]);
    const chain = { filters };
    expect(client.apply('listener', { l: { address: address(0), traffic_direction: 'OUTBOUND', filter_chains: [chain] } })).toEqual([]);
    return client;
  }

  async function opened(running: RunningProxy): Promise<string> {
    const { body } = await running.admin('/stats/prometheus');
    return body.split('\n').find((line) => line.startsWith('istio_tcp_connections_opened_total{')) ?? '';
  }

  it('tells each side who the other is, and passes the bytes on as they are', async () => {
    const server = await startServer([PROTOCOL], await startEcho(cleanup, 'greeting '));
    const client = await startClient(server.portOf('l'));
    expect(await exchange(client.portOf('l'), 'hello')).toBe('greeting hello');
    expect(await opened(server)).toContain('source_workload="productpage-v1"');
    expect(await opened(client)).toContain('destination_workload="reviews-v1"');
    const { body } = await server.admin('/stats');
    expect(body).toContain('metadata_exchange.alpn_protocol_found: 1');
    expect(body).toContain('metadata_exchange.metadata_added: 1');
  });

  it('takes its messages, and those of statistics, as TypedStructs', async () => {
    const server = await startServer([PROTOCOL], await startEcho(cleanup));
    const config = typedStruct('stats.PluginConfig', { tcp_reporting_duration: '5s', disable_host_header_fallback: true });
    const client = await startClient(server.portOf('l'), [{ name: 'istio.stats', typed_config: config }, TCP]);
    expect(await exchange(client.portOf('l'), 'hello')).toBe('hello');
    expect(await opened(client)).toContain('destination_workload="reviews-v1"');
  });

  const CONNECT_MANAGER = {
    name: 'hcm',
    typed_config: any(HttpConnectionManagerSchema, {
      stat_prefix: 'connect',
      upgrade_configs: [{ upgrade_type: 'CONNECT' }],
      http_filters: [{ name: 'router', typed_config: any(RouterSchema) }],
      route_config: {
        virtual_hosts: [
          {
            name: 'any',
            domains: ['*'],
            routes: [
              {
                match: { connect_matcher: {} },
                route: { cluster: 'up', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
              },
            ],
          },
        ],
      },
    }),
  };

  /** Asks for a tunnel, says `text` once there is one, and resolves with all that came back. */
  async function throughTunnel(port: number, text: string): Promise<string> {
    const socket = connect({ port, host: '127.0.0.1' });
    let received = '';
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      if (received === '') socket.end(text);
      received += chunk;
    });
    socket.write('CONNECT reviews:80 HTTP/1.1\r\nhost: reviews:80\r\n\r\n');
    await once(socket, 'close');
    return received;
  }

  it('is done before the first byte of a CONNECT tunnel, too', async () => {
    const server = await startServer([PROTOCOL], await startEcho(cleanup, 'greeting '));
    const client = await startClient(server.portOf('l'), [CONNECT_MANAGER]);
    const answer = await throughTunnel(client.portOf('l'), 'hello');
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer.split('\r\n\r\n')[1]).toBe('greeting hello');
    expect(await opened(server)).toContain('source_workload="productpage-v1"');
  });

  it('answers a CONNECT with 503 where the server tells what cannot be metadata', async () => {
    const identity = await authority.issue('spiffe://cluster.local/ns/default/sa/reviews');
    const server = createTlsServer({ cert: identity.chain, key: identity.key, ALPNProtocols: [PROTOCOL] }, (socket) => {
      socket.on('error', () => {});
      // Announces a mebibyte of metadata.
      socket.write(Buffer.from([0x3d, 0x23, 0x04, 0x67, 0x00, 0x10, 0x00, 0x00]));
    });
    // Nothing is read there, so that nothing tells that the proxy is gone.
    server.on('connection', (socket: Socket) => cleanup.add(() => socket.destroy()));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.add(() => server.close());
    const client = await startClient((server.address() as AddressInfo).port, [CONNECT_MANAGER]);
    expect(await throughTunnel(client.portOf('l'), '')).toMatch(/^HTTP\/1\.1 503 /);
  });

  it('is left out with a server that does not agree to it', async () => {
    const server = await startServer(['istio'], await startEcho(cleanup));
    const client = await startClient(server.portOf('l'));
    expect(await exchange(client.portOf('l'), 'hello')).toBe('hello');
    expect(await opened(server)).toContain('source_workload="unknown"');
    expect((await server.admin('/stats')).body).toContain('metadata_exchange.alpn_protocol_not_found: 1');
  });
});

describe('outlier detection of TCP upstreams', () => {
  it('ejects after so many failed connections in a row, and a connection that was made ends the row', async () => {
    const port = await freePort();
    const served = async (running: RunningProxy): Promise<string> => {
      const server = createServer((socket) => socket.end('hello'));
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
      const answer = await exchange(running.portOf('l'), '');
      server.close();
      await once(server, 'close');
      return answer;
    };
    const running = await startProxy(cleanup, '');
    const outliers = { consecutive_5xx: 2, interval: '3600s', base_ejection_time: '3600s', max_ejection_percent: 100 };
    expect(
      running.apply('cluster', { up: cluster(port, { outlier_detection: outliers, common_lb_config: { healthy_panic_threshold: {} } }) }),
    ).toEqual([]);
    expect(running.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [TCP] }] } })).toEqual([]);
    for (let round = 0; round < 3; round++) {
      expect(await exchange(running.portOf('l'), '')).toBe('');
      expect(await served(running)).toBe('hello');
    }
    for (let failure = 0; failure < 2; failure++) await exchange(running.portOf('l'), '');
    expect(await served(running)).toBe('');
    expect((await running.admin('/stats')).body).toContain('cluster.up.outlier_detection.ejections_active: 1');
  });
});

describe('tunneling_config', () => {
  /** A proxy that opens tunnels: a stock one of ours, CONNECT terminated by its router. */
  async function startTunnelEnd(): Promise<RunningProxy> {
    const end = await startProxy(cleanup, '');
    expect(end.apply('cluster', { up: cluster(await startEcho(cleanup, 'greeting ')) })).toEqual([]);
    const manager = any(HttpConnectionManagerSchema, {
      stat_prefix: 'tunnels',
      upgrade_configs: [{ upgrade_type: 'CONNECT' }],
      route_config: {
        name: 'r',
        virtual_hosts: [
          {
            name: 'v',
            domains: ['db.example:3306'],
            routes: [
              {
                match: { connect_matcher: {}, headers: [{ name: 'x-from', string_match: { prefix: '127.0.0.1' } }] },
                route: { cluster: 'up', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
              },
            ],
          },
        ],
      },
      http_filters: [{ name: 'router', typed_config: any(RouterSchema) }],
    });
    expect(
      end.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }] } }),
    ).toEqual([]);
    return end;
  }

  async function startTunnelStart(port: number, hostname: string, more: JsonObject): Promise<RunningProxy> {
    const tunnel = { hostname, headers_to_add: [{ header: { key: 'X-From', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } }] };
    const tcp = { name: 'tcp', typed_config: any(TcpProxySchema, { stat_prefix: 'tcp', cluster: 'up', tunneling_config: tunnel }) };
    const running = await startProxy(cleanup, '');
    expect(running.apply('cluster', { up: cluster(port, more) })).toEqual([]);
    expect(running.apply('listener', { l: { address: address(0), filter_chains: [{ filters: [tcp] }] } })).toEqual([]);
    return running;
  }

  const HTTP2 = {
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any(HttpProtocolOptionsSchema, {
        explicit_http_config: { http2_protocol_options: {} },
      }),
    },
  };

  it.each([
    ['HTTP/1.1', {}],
    ['HTTP/2', HTTP2],
  ])('carries connections in CONNECT requests over %s, large ones too', async (_, more) => {
    const end = await startTunnelEnd();
    const start = await startTunnelStart(end.portOf('l'), 'db.example:3306', more as JsonObject);
    expect(await exchange(start.portOf('l'), 'hello')).toBe('greeting hello');
    const large = 'x'.repeat(3_000_000);
    expect((await exchange(start.portOf('l'), large)).length).toBe('greeting '.length + large.length);
    expect((await start.admin('/stats')).body).toMatch(/^cluster\.up\.upstream_rq_total: 2$/m);
  });

  it('closes the connection where the tunnel is refused', async () => {
    const end = await startTunnelEnd();
    const start = await startTunnelStart(end.portOf('l'), 'other.example:1', {});
    expect(await exchange(start.portOf('l'), 'hello')).toBe('');
  });
});
