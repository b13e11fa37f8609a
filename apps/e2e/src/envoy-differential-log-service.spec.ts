import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http';
import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { createRegistry, fromBinary, type JsonValue, toJson } from '@bufbuild/protobuf';
import { StringValueSchema, UInt32ValueSchema } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { StreamAccessLogsMessageSchema } from '@mizzen/xds-api/envoy/service/accesslog/v3/als';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';

type Json = Record<string, unknown>;

function any(type: string, fields: Json): Json {
  return { '@type': `type.googleapis.com/envoy.extensions.${type}`, ...fields };
}

function address(port: number): Json {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

function cluster(name: string, port: number, more: Json = {}): Json {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }];
  return { name, type: 'STATIC', load_assignment: { cluster_name: name, endpoints }, ...more };
}

const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': any('upstreams.http.v3.HttpProtocolOptions', {
      explicit_http_config: { http2_protocol_options: {} },
    }),
  },
};

// Texts, an object of a class that has no message, one of another message, and one that nobody sets.
const KEYS = ['mine', 'envoy.network.upstream_server_name', 'envoy.upstream.dynamic_host', 'envoy.upstream.dynamic_port', 'none'];

function objects(): Json[] {
  const value = (key: string, text: string, more: Json = {}): Json => ({
    object_key: key,
    format_string: { text_format_source: { inline_string: text } },
    ...more,
  });
  return [
    value('mine', 'of %PROTOCOL%', { factory_key: 'envoy.string' }),
    value('envoy.network.upstream_server_name', 'up.example'),
    value('envoy.upstream.dynamic_host', 'host.example'),
    value('envoy.upstream.dynamic_port', '8080'),
  ];
}

function common(logName: string): Json {
  return {
    log_name: logName,
    transport_api_version: 'V3',
    buffer_flush_interval: '0.05s',
    buffer_size_bytes: 1,
    grpc_service: { envoy_grpc: { cluster_name: 'als' } },
    filter_state_objects_to_log: KEYS,
    custom_tags: [
      { tag: 'said', request_header: { name: 'x-said', default_value: 'nothing' } },
      { tag: 'fixed', literal: { value: 'yes' } },
    ],
  };
}

interface Ports {
  readonly http: number;
  readonly tcp: number;
  readonly admin: number;
  readonly backend: number;
  readonly collector: number;
}

function bootstrapOf(ports: Ports): Json {
  const httpLog = any('access_loggers.grpc.v3.HttpGrpcAccessLogConfig', {
    common_config: common('http'),
    additional_request_headers_to_log: ['X-Said', 'x-none'],
    additional_response_headers_to_log: ['X-Back'],
  });
  const manager = any('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'in',
    access_log: [{ name: 'als', typed_config: httpLog }],
    route_config: {
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ name: 'r', match: { prefix: '/' }, route: { cluster: 'up' } }] }],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.set_filter_state',
        typed_config: any('filters.http.set_filter_state.v3.Config', { on_request_headers: objects() }),
      },
      { name: 'envoy.filters.http.router', typed_config: any('filters.http.router.v3.Router', {}) },
    ],
  });
  const tcpProxy = any('filters.network.tcp_proxy.v3.TcpProxy', {
    stat_prefix: 'tcp',
    cluster: 'up',
    access_log: [{ name: 'als', typed_config: any('access_loggers.grpc.v3.TcpGrpcAccessLogConfig', { common_config: common('tcp') }) }],
  });
  const tcpState = any('filters.network.set_filter_state.v3.Config', { on_new_connection: objects() });
  const listener = (name: string, port: number, filters: readonly Json[]): Json => ({
    name,
    address: address(port),
    filter_chains: [{ filters }],
  });
  return {
    node: { id: 'logs', cluster: 'proxies' },
    admin: { address: address(ports.admin) },
    static_resources: {
      clusters: [cluster('up', ports.backend), cluster('als', ports.collector, HTTP2)],
      listeners: [
        listener('http', ports.http, [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }]),
        listener('tcp', ports.tcp, [
          { name: 'envoy.filters.network.set_filter_state', typed_config: tcpState },
          { name: 'envoy.filters.network.tcp_proxy', typed_config: tcpProxy },
        ]),
      ],
    },
  };
}

/** What objects of filter state are told as. */
const OBJECTS = createRegistry(StringValueSchema, UInt32ValueSchema);

type LogEntry = Readonly<Record<string, Readonly<Record<string, JsonValue>>>>;

/** A collector: entries come by the name of their log, in their order. */
class Collector {
  readonly #server: Http2Server = createHttp2Server();
  readonly #entries = new Map<string, LogEntry[]>();
  readonly #waiting = new Map<string, (entry: LogEntry) => void>();

  async start(): Promise<number> {
    this.#server.on('stream', (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.on('error', () => undefined);
      stream.on('end', () => stream.end());
      // Only the first message of a stream says which log it is.
      let logName = '';
      let rest = Buffer.alloc(0);
      stream.on('data', (chunk: Buffer) => {
        rest = Buffer.concat([rest, chunk]);
        while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
          const end = 5 + rest.readUInt32BE(1);
          const message = fromBinary(StreamAccessLogsMessageSchema, rest.subarray(5, end));
          rest = rest.subarray(end);
          logName = message.identifier?.logName ?? logName;
          const json = toJson(StreamAccessLogsMessageSchema, message, { registry: OBJECTS }) as Readonly<
            Record<string, { readonly logEntry?: readonly LogEntry[] }>
          >;
          for (const entry of (json['httpLogs'] ?? json['tcpLogs'])?.logEntry ?? []) this.#keep(logName, entry);
        }
      });
    });
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  #keep(logName: string, entry: LogEntry): void {
    const waiting = this.#waiting.get(logName);
    this.#waiting.delete(logName);
    if (waiting !== undefined) waiting(entry);
    else this.#entries.set(logName, [...(this.#entries.get(logName) ?? []), entry]);
  }

  next(logName: string): Promise<LogEntry> {
    const entry = this.#entries.get(logName)?.shift();
    return entry === undefined ? new Promise((resolve) => this.#waiting.set(logName, resolve)) : Promise.resolve(entry);
  }

  close(): void {
    this.#server.close();
  }
}

/** Without what time, chance and free ports decide. */
function comparable(entry: LogEntry): JsonValue {
  const json = JSON.stringify(entry, (key, value: unknown) => {
    if (/^(time|start|duration|streamId|requestId|portValue|authority)/i.test(key) || key.endsWith('Duration'))
      return value === undefined ? undefined : 'some';
    return value;
  });
  return JSON.parse(json) as JsonValue;
}

describeWithEnvoy('needs envoy: the gRPC access log service is told alike by our proxy and Envoy', () => {
  const agent = new Agent({ keepAlive: true });
  const collectors = { envoy: new Collector(), ours: new Collector() };
  let backend: Server;
  let envoy: Envoy;
  let proxy: MeshProxy;
  const at: Record<'envoy' | 'ours', { http: number; tcp: number }> = { envoy: { http: 0, tcp: 0 }, ours: { http: 0, tcp: 0 } };

  beforeAll(async () => {
    backend = createServer((_, response) => response.setHeader('x-back', 'yes').end('hello')).listen(0, '127.0.0.1');
    await once(backend, 'listening');
    const ports = async (kind: 'envoy' | 'ours'): Promise<Ports> => {
      at[kind] = { http: await freePort(), tcp: await freePort() };
      const admin = kind === 'ours' ? await freePort() : 0;
      return { ...at[kind], admin, backend: (backend.address() as AddressInfo).port, collector: await collectors[kind].start() };
    };
    envoy = await startEnvoy(bootstrapOf(await ports('envoy')));
    proxy = await startOurProxy(bootstrapOf(await ports('ours')));
  });
  afterAll(async () => {
    agent.destroy();
    await proxy?.close();
    await envoy?.close();
    collectors.envoy.close();
    collectors.ours.close();
    backend.closeAllConnections();
    backend.close();
  });

  async function entryOf(kind: 'envoy' | 'ours', logName: 'http' | 'tcp'): Promise<LogEntry> {
    const headers = { 'x-said': 'blue', 'user-agent': 'test', referer: 'there' };
    // A TCP connection is logged at its end.
    const sent = request({
      agent: logName === 'tcp' ? false : agent,
      host: '127.0.0.1',
      port: at[kind][logName],
      path: '/path?q=1',
      headers,
    }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    expect(await text(response)).toBe('hello');
    return collectors[kind].next(logName);
  }

  it.each(['http', 'tcp'] as const)('the objects of filter state and the tags: %s', async (logName) => {
    const [fromEnvoy, fromOurs] = [await entryOf('envoy', logName), await entryOf('ours', logName)];
    const picked = (entry: LogEntry): unknown => {
      const { filterStateObjects, customTags, upstreamCluster, routeName } = entry['commonProperties'] ?? {};
      return { filterStateObjects, customTags, upstreamCluster, routeName };
    };
    expect(picked(fromOurs)).toEqual(picked(fromEnvoy));
    expect(fromEnvoy['commonProperties']).toMatchObject({ filterStateObjects: { mine: { value: expect.stringContaining('of ') } } });
  });

  it('the request and its answer', async () => {
    const [fromEnvoy, fromOurs] = [await entryOf('envoy', 'http'), await entryOf('ours', 'http')];
    expect(comparable(fromOurs)).toEqual(comparable(fromEnvoy));
  });
});
