import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Field } from '@mizzen/matching';
import { xdsRegistry } from '@mizzen/xds-api';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { compileHttpFilters } from '../http/http-filters.ts';
import { ROUTER, StaticCluster, TestProxy } from '../http/testing.ts';

type Json = { readonly [field: string]: JsonValue };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const HTTP = 'type.googleapis.com/envoy.extensions.filters.http';
const DISABLED: Json = { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true };
const ALWAYS: Json = { default_value: { numerator: 100 } };
const ONCE: Json = {
  '@type': `${HTTP}.local_ratelimit.v3.LocalRateLimit`,
  stat_prefix: 'once',
  token_bucket: { max_tokens: 1, fill_interval: '3600s' },
  filter_enabled: ALWAYS,
  filter_enforced: ALWAYS,
};

function filter(name: string, config: Json, more: Json = {}): Json {
  return { name, typed_config: config, ...more };
}

interface Received {
  readonly body: string;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: IncomingMessage['trailers'];
}

/** Answers `done` and notes what it received. */
class Backend {
  readonly received: Received[] = [];
  connections = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request: IncomingMessage, response: ServerResponse) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.received.push({ body: Buffer.concat(chunks).toString(), headers: request.headers, trailers: request.trailers });
        response.end('done');
      });
    });
    this.#server.on('connection', () => this.connections++);
  }

  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      this.#server.closeAllConnections();
      return new Promise((resolve) => this.#server.close(resolve));
    });
    return (this.#server.address() as AddressInfo).port;
  }
}

async function setUp(filters: readonly Json[], routes: readonly Json[] = []): Promise<{ proxy: TestProxy; backend: Backend }> {
  const backend = new Backend();
  const port = await backend.start();
  const everything = { match: { prefix: '/' }, route: { cluster: 'b' } };
  const proxy = new TestProxy({
    clusters: [new StaticCluster('b', [port])],
    hcm: {
      httpProtocolOptions: { enableTrailers: true },
      httpFilters: [...filters, ROUTER],
      routeConfig: { name: 'r', virtualHosts: [{ name: 'all', domains: ['here'], routes: [...routes, everything] }] },
    },
  });
  await proxy.listen();
  closers.push(() => proxy.close());
  return { proxy, backend };
}

/** A connection of its own; `next` is the status of the next answer. */
class Client {
  readonly socket: Socket;
  #text = '';
  readonly #waiting: (() => void)[] = [];
  #answers = 0;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    // The proxy may close it while something is on its way.
    this.socket.on('error', () => undefined);
    this.socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1');
      for (const tell of this.#waiting.splice(0)) tell();
    });
    closers.push(() => this.socket.destroy());
  }

  send(line: string, headers: readonly string[] = [], body = ''): void {
    this.socket.write(`${[`${line} HTTP/1.1`, 'host: here', ...headers].join('\r\n')}\r\n\r\n${body}`, 'latin1');
  }

  async next(): Promise<number> {
    for (;;) {
      const statuses = [...this.#text.matchAll(/HTTP\/1\.1 (\d{3})/g)];
      const status = statuses[this.#answers]?.[1];
      if (status !== undefined) {
        this.#answers++;
        return Number(status);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

async function ask(port: number, line = 'GET /', headers: readonly string[] = []): Promise<number> {
  const client = new Client(port);
  client.send(line, headers);
  const status = await client.next();
  client.socket.end();
  return status;
}

describe('HTTP filters', () => {
  it('are switched off by a route, and on where the configuration has them off', async () => {
    const { proxy } = await setUp(
      [filter('limit', ONCE), filter('off', { ...ONCE, stat_prefix: 'off' }, { disabled: true })],
      [
        { match: { path: '/free' }, route: { cluster: 'b' }, typed_per_filter_config: { limit: DISABLED } },
        {
          match: { path: '/on' },
          route: { cluster: 'b' },
          typed_per_filter_config: { limit: DISABLED, off: { ...ONCE, stat_prefix: 'on' } },
        },
      ],
    );
    expect([await ask(proxy.port), await ask(proxy.port)]).toEqual([200, 429]);
    expect([await ask(proxy.port, 'GET /free'), await ask(proxy.port, 'GET /free')]).toEqual([200, 200]);
    expect([await ask(proxy.port, 'GET /on'), await ask(proxy.port, 'GET /on')]).toEqual([200, 429]);
  });

  it('run before it is said that there is no route', async () => {
    const { proxy } = await setUp([filter('limit', ONCE)]);
    const client = new Client(proxy.port);
    client.socket.write('GET / HTTP/1.1\r\nhost: elsewhere\r\n\r\nGET / HTTP/1.1\r\nhost: elsewhere\r\n\r\n');
    expect([await client.next(), await client.next()]).toEqual([404, 429]);
    expect(proxy.ended.map(({ responseCodeDetails }) => responseCodeDetails)).toEqual(['route_not_found', 'local_rate_limited']);
  });

  it('count for each connection where asked to', async () => {
    const { proxy } = await setUp([filter('limit', { ...ONCE, local_rate_limit_per_downstream_connection: true })]);
    const [first, second] = [new Client(proxy.port), new Client(proxy.port)];
    first.send('GET /');
    expect(await first.next()).toBe(200);
    second.send('GET /');
    expect(await second.next()).toBe(200);
    first.send('GET /');
    expect(await first.next()).toBe(429);
  });

  it('hold a body with its trailers while they hold the request', async () => {
    const fault = { '@type': `${HTTP}.fault.v3.HTTPFault`, delay: { fixed_delay: '0.05s', percentage: { numerator: 100 } } };
    const { proxy, backend } = await setUp([
      filter('fault', fault),
      filter('buffer', { '@type': `${HTTP}.buffer.v3.Buffer`, max_request_bytes: 100 }),
    ]);
    const client = new Client(proxy.port);
    client.send('POST /', ['transfer-encoding: chunked', 'trailer: x-t'], '5\r\nhello\r\n6\r\n world\r\n0\r\nx-t: v\r\n\r\n');
    expect(await client.next()).toBe(200);
    expect(backend.received).toMatchObject([{ body: 'hello world' }]);
  });

  it('wait for a body as long as it takes, and let nothing out before', async () => {
    const { proxy, backend } = await setUp([filter('buffer', { '@type': `${HTTP}.buffer.v3.Buffer`, max_request_bytes: 100_000 })]);
    const client = new Client(proxy.port);
    client.send('POST /', ['content-length: 100000'], 'x'.repeat(99_999));
    // A second connection proves that the first one's bytes were read: it came later and is answered.
    expect(await ask(proxy.port)).toBe(200);
    expect(backend.received).toHaveLength(1);
    client.socket.write('y');
    expect(await client.next()).toBe(200);
    expect(backend.received[1]?.body).toBe(`${'x'.repeat(99_999)}y`);
  });

  it('answer a body that is too large while the client still sends, and take what it sends', async () => {
    const { proxy, backend } = await setUp([filter('buffer', { '@type': `${HTTP}.buffer.v3.Buffer`, max_request_bytes: 100 })]);
    const client = new Client(proxy.port);
    client.send('POST /', ['content-length: 8000000'], 'x'.repeat(200));
    expect(await client.next()).toBe(413);
    // Nobody holds the client back: eight megabytes are more than what sockets keep.
    await new Promise<void>((resolve) => client.socket.write('x'.repeat(7_999_800), () => resolve()));
    expect(backend.connections).toBe(0);
  });

  it('forget a request whose client goes while its body is waited for', async () => {
    const { proxy, backend } = await setUp([filter('buffer', { '@type': `${HTTP}.buffer.v3.Buffer`, max_request_bytes: 100 })]);
    const client = new Client(proxy.port);
    client.send('POST /', ['content-length: 10'], '12345');
    client.socket.end();
    await proxy.untilEnded(1);
    expect(proxy.ended[0]?.responseCodeDetails).toBe('downstream_remote_disconnect');
    expect(proxy.filter.stats.downstreamRqActive).toBe(0);
    expect(backend.connections).toBe(0);
  });

  it('change the body both ways', async () => {
    const library = { name: 'g', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip' } };
    const unpack = { name: 'd', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip' } };
    const { proxy, backend } = await setUp([
      filter('compress', {
        '@type': `${HTTP}.compressor.v3.Compressor`,
        compressor_library: library,
        request_direction_config: { common_config: { min_content_length: 1 } },
      }),
      filter('decompress', { '@type': `${HTTP}.decompressor.v3.Decompressor`, decompressor_library: unpack }),
    ]);
    const client = new Client(proxy.port);
    const body = Array.from({ length: 50_000 }, (_, index) => ((index * 2_654_435_761) % 1_000_003).toString(36)).join('');
    client.send('POST /', [`content-length: ${body.length}`, 'content-type: text/plain'], body);
    expect(await client.next()).toBe(200);
    expect(backend.received[0]?.body).toBe(body);
    expect(backend.received[0]?.headers['content-encoding']).toBeUndefined();
  });

  it('answer 400 to a body that does not decompress', async () => {
    const unpack = { name: 'd', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip' } };
    const { proxy } = await setUp([
      filter('decompress', { '@type': `${HTTP}.decompressor.v3.Decompressor`, decompressor_library: unpack }),
    ]);
    const client = new Client(proxy.port);
    client.send('POST /', ['content-length: 5', 'content-encoding: gzip'], 'plain');
    expect(await client.next()).toBe(400);
    expect(proxy.ended[0]?.responseCodeDetails).toBe('decompression_failure');
  });
});

describe('compileHttpFilters', () => {
  function rejectionsOf(...httpFilters: Json[]): string[] {
    const message = fromJson(
      HttpConnectionManagerSchema,
      { statPrefix: 's', httpFilters: [...httpFilters, ROUTER] },
      { registry: xdsRegistry },
    );
    const field = new Field('', []);
    const proxy = new TestProxy({ clusters: [], hcm: { routeConfig: { name: 'r' } } });
    compileHttpFilters(message, { context: proxy.context, listener: { name: 'l', direction: 'outbound' } }, field);
    return field.rejections.map(({ path, reason }) => `${path}: ${reason}`);
  }

  const struct = (type: string, value: Json = {}): Json => ({
    '@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
    type_url: `type.googleapis.com/${type}`,
    value,
  });

  it.each(['lua.v3.Lua', 'wasm.v3.Wasm', 'ext_proc.v3.ExternalProcessor', 'custom_response.v3.CustomResponse'])(
    'refuses %s by its name',
    (type) => {
      const config = struct(`envoy.extensions.filters.http.${type}`);
      expect(rejectionsOf(filter('it', config))).toEqual([
        `http_filters[0]: "it" (envoy.extensions.filters.http.${type}) is a filter that this proxy does not have; mark it is_optional or remove it`,
      ]);
      expect(rejectionsOf(filter('it', config, { is_optional: true }))).toEqual([]);
    },
  );

  it('reads a filter that comes as a TypedStruct', () => {
    const type = 'envoy.extensions.filters.http.buffer.v3.Buffer';
    expect(rejectionsOf(filter('it', struct(type, { max_request_bytes: 5 })))).toEqual([]);
    expect(rejectionsOf(filter('it', struct(type)))).toEqual(['http_filters[0].typed_config.max_request_bytes: must be above 0']);
  });

  it('refuses fields by their place', () => {
    const rejections = rejectionsOf(
      filter('limit', { ...ONCE, local_cluster_rate_limit: {}, token_bucket: { max_tokens: 1, fill_interval: '0.001s' } }),
      filter('health', { '@type': `${HTTP}.health_check.v3.HealthCheck`, cache_time: '1s' }),
      filter('csrf', { '@type': `${HTTP}.csrf.v3.CsrfPolicy` }),
    );
    expect(rejections.map((rejection) => rejection.slice(0, rejection.indexOf(':')))).toEqual([
      'http_filters[0].typed_config.local_cluster_rate_limit',
      'http_filters[0].typed_config.token_bucket.fill_interval',
      'http_filters[1].typed_config.cache_time',
      'http_filters[1].typed_config.pass_through_mode',
      'http_filters[2].typed_config.filter_enabled',
    ]);
  });
});
