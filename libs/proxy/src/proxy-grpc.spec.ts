import type { JsonValue } from '@bufbuild/protobuf';
import {
  type Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { RouterSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import {
  any,
  Cleanup,
  createAuthority,
  keyPairSecret,
  type RunningProxy,
  rootSecret,
  startProxy,
  type TestAuthority,
} from './testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const CLIENT = 'spiffe://cluster.local/ns/default/sa/client';
const SERVER = 'spiffe://cluster.local/ns/default/sa/server';

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createAuthority();
});

// --- two sidecars as Istio configures them

const SDS = {
  tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: { ads: {} } }],
  combined_validation_context: {
    default_validation_context: { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://cluster.local/' } }] },
    validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: { ads: {} } },
  },
};

function address(port: number): JsonValue {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

/** So that little is on its way when somebody takes nothing. */
const SMALL_WINDOWS = { initial_stream_window_size: 65_536, initial_connection_window_size: 65_536 };

/** Everything but `/lost.` goes to `name`, by HTTP/2. */
function manager(name: string): JsonValue {
  const log = any(FileAccessLogSchema, {
    path: '/dev/stdout',
    log_format: { text_format_source: { inline_string: '%PROTOCOL% %RESPONSE_CODE% %GRPC_STATUS% %GRPC_STATUS_NUMBER% %RESPONSE_FLAGS%' } },
  });
  const typed = any(HttpConnectionManagerSchema, {
    stat_prefix: 'http',
    http2_protocol_options: SMALL_WINDOWS,
    access_log: [{ name: 'log', typed_config: log }],
    stream_idle_timeout: '0s',
    route_config: {
      name: 'r',
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/test.' }, route: { cluster: name, timeout: '0s', max_grpc_timeout: '0s' } }],
        },
      ],
    },
    http_filters: [{ name: 'router', typed_config: any(RouterSchema) }],
  });
  return { name: 'hcm', typed_config: typed };
}

function cluster(name: string, port: number, more: Record<string, JsonValue> = {}): JsonValue {
  const options = any(HttpProtocolOptionsSchema, {
    explicit_http_config: { http2_protocol_options: { max_concurrent_streams: 1073741824, ...SMALL_WINDOWS } },
  });
  return {
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options },
    ...more,
  };
}

async function ready(running: RunningProxy, identity: string): Promise<void> {
  running.proxy.setSecret('default', keyPairSecret('default', await authority.issue(identity)));
  running.proxy.setSecret('ROOTCA', rootSecret('ROOTCA', authority.root));
  await running.proxy.ready.until((isReady) => isReady);
}

async function startInbound(port: number): Promise<RunningProxy> {
  const running = await startProxy(cleanup, '');
  const tls = any(DownstreamTlsContextSchema, {
    require_client_certificate: true,
    common_tls_context: { ...SDS, alpn_protocols: ['h2', 'http/1.1'] },
  });
  expect(running.apply('cluster', { app: cluster('app', port) })).toEqual([]);
  const listener = {
    address: address(0),
    traffic_direction: 'INBOUND',
    listener_filters: [{ name: 'tls', typed_config: any(TlsInspectorSchema) }],
    filter_chains: [
      {
        filter_chain_match: { transport_protocol: 'tls', application_protocols: ['istio-http/1.0', 'istio-http/1.1', 'istio-h2'] },
        filters: [manager('app')],
        transport_socket: { name: 'tls', typed_config: tls },
      },
    ],
  };
  expect(running.apply('listener', { inbound: listener })).toEqual([]);
  await ready(running, SERVER);
  return running;
}

async function startOutbound(port: number): Promise<RunningProxy> {
  const running = await startProxy(cleanup, '');
  const tls = any(UpstreamTlsContextSchema, { common_tls_context: { ...SDS, alpn_protocols: ['istio-h2', 'istio', 'h2'] } });
  expect(running.apply('cluster', { server: cluster('server', port, { transport_socket: { name: 'tls', typed_config: tls } }) })).toEqual(
    [],
  );
  expect(running.apply('listener', { outbound: { address: address(0), filter_chains: [{ filters: [manager('server')] }] } })).toEqual([]);
  await ready(running, CLIENT);
  return running;
}

// --- the application

const bytes = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };

function same(message: Buffer): Buffer {
  return message;
}

const SERVICE = {
  say: { path: '/test.Echo/Say', requestStream: false, responseStream: false, ...bytes },
  count: { path: '/test.Echo/Count', requestStream: false, responseStream: true, ...bytes },
  collect: { path: '/test.Echo/Collect', requestStream: true, responseStream: false, ...bytes },
  chat: { path: '/test.Echo/Chat', requestStream: true, responseStream: true, ...bytes },
  lost: { path: '/lost.Echo/Say', requestStream: false, responseStream: false, ...bytes },
} as const;

type Unary = handleUnaryCall<Buffer, Buffer>;

const say: Unary = (call, done) => {
  const text = call.request.toString();
  if (text === 'fail') {
    done({ code: status.NOT_FOUND, details: 'no such thing: 100 % gone', metadata: new Metadata() });
    return;
  }
  const trailer = new Metadata();
  trailer.set('x-trailer', 'behind');
  trailer.set('x-seen', String(call.metadata.get('x-custom')[0]));
  done(null, Buffer.from(`you said ${text}`), trailer);
};

/** Sends as many messages of 64 KiB as it is asked for, as fast as they are taken; tells how many went out so far. */
const sent = { messages: 0 };
const count: handleServerStreamingCall<Buffer, Buffer> = (call) => {
  const wanted = Number(call.request.toString());
  const message = Buffer.alloc(64 * 1024, 0x61);
  sent.messages = 0;
  const more = (): void => {
    while (sent.messages < wanted) {
      sent.messages++;
      if (!call.write(message)) {
        call.once('drain', more);
        return;
      }
    }
    call.end();
  };
  more();
};

const collect: handleClientStreamingCall<Buffer, Buffer> = (call, done) => {
  let total = 0;
  call.on('data', (message: Buffer) => {
    total += message.length;
  });
  call.on('end', () => done(null, Buffer.from(String(total))));
};

let cancelled: () => void = () => {};
const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on('data', (message: Buffer) => call.write(Buffer.from(`re: ${message.toString()}`)));
  call.on('end', () => call.end());
  call.on('cancelled', () => cancelled());
};

async function startApplication(): Promise<number> {
  const server = new Server();
  server.addService(SERVICE, { say, count, collect, chat });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  cleanup.add(() => server.forceShutdown());
  return port;
}

function clientOf(port: number): Client {
  const Constructor = makeGenericClientConstructor(SERVICE, 'Echo');
  const client = new Constructor(`127.0.0.1:${port}`, credentials.createInsecure());
  cleanup.add(() => client.close());
  return client;
}

/** A client, its sidecar, the server's sidecar, and the server. */
async function setUp() {
  const inbound = await startInbound(await startApplication());
  const outbound = await startOutbound(inbound.portOf('inbound'));
  return { inbound, outbound, client: clientOf(outbound.portOf('outbound')) };
}

interface Outcome {
  readonly error: ServiceError | null;
  readonly message: string;
  readonly trailer: Metadata | undefined;
}

function unary(client: Client, text: string, method: keyof typeof SERVICE = 'say', metadata = new Metadata()): Promise<Outcome> {
  return new Promise((resolve) => {
    let trailer: Metadata | undefined;
    const call = client.makeUnaryRequest(SERVICE[method].path, same, same, Buffer.from(text), metadata, (error, answer) => {
      // The status comes right behind, with the trailers.
      queueMicrotask(() => resolve({ error, message: answer?.toString() ?? '', trailer }));
    });
    call.on('status', (ended) => {
      trailer = ended.metadata;
    });
  });
}

/** Both access logs have their line once both streams are over, which the client need not wait for. */
function logged(...proxies: readonly RunningProxy[]): Promise<string[]> {
  return Promise.all(proxies.map(async (proxy) => (await proxy.logged()).join('|')));
}

describe('gRPC between two sidecars with mTLS', () => {
  it('carries a call, its metadata and its trailers', async () => {
    const { client, inbound, outbound } = await setUp();
    const metadata = new Metadata();
    metadata.set('x-custom', 'from the client');
    const { error, message, trailer } = await unary(client, 'hello', 'say', metadata);
    expect(error).toBeNull();
    expect(message).toBe('you said hello');
    expect(trailer?.getMap()).toMatchObject({ 'x-trailer': 'behind', 'x-seen': 'from the client' });
    expect(await logged(outbound, inbound)).toEqual(['HTTP/2 200 OK 0 -', 'HTTP/2 200 OK 0 -']);
  });

  it('carries an error that is trailers only, and logs its status', async () => {
    const { client, inbound, outbound } = await setUp();
    const { error } = await unary(client, 'fail');
    expect(error).toMatchObject({ code: status.NOT_FOUND, details: 'no such thing: 100 % gone' });
    expect(await logged(outbound, inbound)).toEqual(['HTTP/2 200 NotFound 5 -', 'HTTP/2 200 NotFound 5 -']);
  });

  it('carries a stream of answers no faster than they are taken', async () => {
    const { client } = await setUp();
    const wanted = 200;
    const call = client.makeServerStreamRequest(SERVICE.count.path, same, same, Buffer.from(String(wanted)));
    let received = 0;
    await new Promise<void>((resolve) => {
      call.once('data', () => {
        received++;
        call.pause();
        resolve();
      });
    });
    // Whatever is on its way has arrived once the server has had many turns without sending any more.
    let before = -1;
    for (let quiet = 0; quiet < 200; quiet++) {
      if (sent.messages !== before) quiet = 0;
      before = sent.messages;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(sent.messages).toBeLessThan(wanted);
    call.on('data', () => received++);
    const ended = new Promise<number>((resolve) => call.on('status', ({ code }) => resolve(code)));
    call.resume();
    expect(await ended).toBe(status.OK);
    expect(received).toBe(wanted);
  });

  it('carries a stream of requests', async () => {
    const { client } = await setUp();
    const total = await new Promise<string>((resolve, reject) => {
      const call = client.makeClientStreamRequest(SERVICE.collect.path, same, same, (error, answer) =>
        error === null ? resolve(answer?.toString() ?? '') : reject(error),
      );
      for (let index = 0; index < 100; index++) call.write(Buffer.alloc(10_000));
      call.end();
    });
    expect(total).toBe('1000000');
  });

  it('carries both at once, each message as it comes', async () => {
    const { client } = await setUp();
    const call = client.makeBidiStreamRequest(SERVICE.chat.path, same, same);
    for (const text of ['one', 'two', 'three']) {
      const answer = new Promise<string>((resolve) => call.once('data', (message: Buffer) => resolve(message.toString())));
      call.write(Buffer.from(text));
      expect(await answer).toBe(`re: ${text}`);
    }
    const ended = new Promise<number>((resolve) => call.on('status', ({ code }) => resolve(code)));
    call.end();
    expect(await ended).toBe(status.OK);
  });

  it('tells the server that the client has gone', async () => {
    const { client } = await setUp();
    const gone = new Promise<void>((resolve) => {
      cancelled = resolve;
    });
    const call = client.makeBidiStreamRequest(SERVICE.chat.path, same, same);
    call.on('error', () => {});
    const answer = new Promise<void>((resolve) => call.once('data', () => resolve()));
    call.write(Buffer.from('hello'));
    await answer;
    call.cancel();
    await gone;
  });
});

describe('what the proxy answers itself to gRPC', () => {
  it('is UNIMPLEMENTED where there is no route', async () => {
    const outbound = await startOutbound(1);
    const { error } = await unary(clientOf(outbound.portOf('outbound')), 'hello', 'lost');
    expect(error).toMatchObject({ code: status.UNIMPLEMENTED });
    expect(await logged(outbound)).toEqual(['HTTP/2 200 Unimplemented 12 NR']);
  });

  it('is UNAVAILABLE, with the reason, where the server cannot be reached', async () => {
    const outbound = await startOutbound(1);
    const { error } = await unary(clientOf(outbound.portOf('outbound')), 'hello');
    expect(error?.code).toBe(status.UNAVAILABLE);
    expect(error?.details).toBe('upstream connect error or disconnect/reset before headers. reset reason: remote connection failure');
    expect(await logged(outbound)).toEqual(['HTTP/2 200 Unavailable 14 UF']);
  });
});
