import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { type Fields, frame, headersFrames, RawPeer, SeededRandom } from '@mizzen/proxy/http2-testing';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { type RecordingBackend, startRecordingBackend } from './peers/recording-backend.ts';

const END_STREAM = 1;
const DATA = 0;

/** What a client sends on stream 1, with a mark in the path that the back end finds again. */
interface Attempt {
  readonly name: string;
  readonly bytes: (mark: string) => Buffer;
}

const base = (mark: string, method = 'GET'): Fields => [
  [':method', method],
  [':scheme', 'http'],
  [':path', `/${mark}`],
  [':authority', 'a.example'],
];

const SECOND = (mark: string): string => `GET /second-${mark} HTTP/1.1\r\nhost: a.example\r\n\r\n`;

function get(name: string, more: Fields): Attempt {
  return { name, bytes: (mark) => headersFrames(1, [...base(mark), ...more]) };
}

function pseudo(name: string, field: string, value: (mark: string) => string): Attempt {
  return {
    name,
    bytes: (mark) =>
      headersFrames(
        1,
        base(mark).map((each) => (each[0] === field ? [field, value(mark)] : each)),
      ),
  };
}

function post(name: string, more: Fields, rest: (mark: string) => readonly Buffer[]): Attempt {
  return { name, bytes: (mark) => Buffer.concat([headersFrames(1, [...base(mark, 'POST'), ...more], 0), ...rest(mark)]) };
}

const ended = (text: string): Buffer => frame(DATA, END_STREAM, 1, text);

const ATTEMPTS: readonly Attempt[] = [
  get('plain', []),
  ...[
    'transfer-encoding',
    'connection',
    'keep-alive',
    'proxy-connection',
    'upgrade',
    'te',
    'Host',
    'host',
    'content-length',
    'expect',
  ].flatMap((header) =>
    ['chunked', '5', '0', 'close', 'b.example', 'trailers', '100-continue'].map((value) => get(`${header}: ${value}`, [[header, value]])),
  ),
  get('two lengths', [
    ['content-length', '0'],
    ['content-length', '5'],
  ]),
  get('two hosts', [
    ['host', 'b.example'],
    ['host', 'c.example'],
  ]),
  ...['\r\n', '\n', '\r', '\0', '\x0b', '\x7f', '\r\n\r\n'].flatMap((breaker) => [
    {
      name: `${JSON.stringify(breaker)} in a value`,
      bytes: (mark: string) => headersFrames(1, [...base(mark), ['x', `y${breaker}${SECOND(mark)}`]]),
    },
    { name: `${JSON.stringify(breaker)} in a name`, bytes: (mark: string) => headersFrames(1, [...base(mark), [`x${breaker}z`, 'y']]) },
    pseudo(
      `${JSON.stringify(breaker)} in the path`,
      ':path',
      (mark) => `/${mark} HTTP/1.1${breaker}host: a${breaker}${breaker}GET /second-${mark}`,
    ),
    pseudo(`${JSON.stringify(breaker)} in the authority`, ':authority', (mark) => `a.example${breaker}${SECOND(mark)}`),
    pseudo(
      `${JSON.stringify(breaker)} in the method`,
      ':method',
      (mark) => `GET /second-${mark} HTTP/1.1${breaker}host: a${breaker}${breaker}GET`,
    ),
    pseudo(`${JSON.stringify(breaker)} in the scheme`, ':scheme', (mark) => `http${breaker}${SECOND(mark)}`),
  ]),
  pseudo('a request line in the method', ':method', (mark) => `GET /second-${mark} HTTP/1.1`),
  pseudo('a request line in the path', ':path', (mark) => `/${mark} HTTP/1.1`),
  pseudo('a fragment in the path', ':path', (mark) => `/${mark}#x`),
  pseudo('a path in absolute form', ':path', (mark) => `http://b.example/${mark}`),
  pseudo('a path without a slash', ':path', (mark) => mark),
  pseudo('a scheme that is a URL', ':scheme', (mark) => `http://b.example/second-${mark}?`),
  pseudo('user information in the authority', ':authority', () => 'b.example@a.example'),
  pseudo('a path in the authority', ':authority', (mark) => `a.example/second-${mark}`),
  pseudo('a method in small letters', ':method', () => 'get'),
  post('a request as the body', [], (mark) => [ended(SECOND(mark))]),
  post('a request behind a body of length 0', [['content-length', '0']], (mark) => [ended(SECOND(mark))]),
  post('a request behind a short body', [['content-length', '3']], (mark) => [ended(`abc${SECOND(mark)}`)]),
  post('less body than was said', [['content-length', '50']], () => [ended('abc')]),
  post('a chunked body', [], (mark) => [ended(`0\r\n\r\n${SECOND(mark)}`)]),
  post('chunked, said and done', [['transfer-encoding', 'chunked']], (mark) => [ended(`0\r\n\r\n${SECOND(mark)}`)]),
  post('trailers with a length', [], () => [frame(DATA, 0, 1, 'abc'), headersFrames(1, [['content-length', '0']])]),
  post('trailers with a host', [], () => [frame(DATA, 0, 1, 'abc'), headersFrames(1, [['host', 'b.example']])]),
  post('trailers with transfer-encoding', [], () => [frame(DATA, 0, 1, 'abc'), headersFrames(1, [['transfer-encoding', 'chunked']])]),
  post('trailers with a pseudo header', [], (mark) => [frame(DATA, 0, 1, 'abc'), headersFrames(1, [[':path', `/second-${mark}`]])]),
  post('trailers with line ends', [], (mark) => [frame(DATA, 0, 1, 'abc'), headersFrames(1, [['x', `y\r\n\r\n${SECOND(mark)}`]])]),
  post('a second head', [], (mark) => [headersFrames(1, base(`second-${mark}`))]),
  post('a head on the stream that ended', [], (mark) => [ended('abc'), headersFrames(1, base(`second-${mark}`))]),
];

describeWithEnvoy('needs envoy: nothing is smuggled from HTTP/2 into HTTP/1.1', () => {
  let backend: RecordingBackend;
  let envoy: Envoy;
  let proxy: MeshProxy;
  let envoyPort: number;
  let ourPort: number;
  let marks = 0;

  beforeAll(async () => {
    backend = await startRecordingBackend();
    [envoyPort, ourPort] = [await freePort(), await freePort()];
    envoy = await startEnvoy(bootstrap(envoyPort, backend.port));
    proxy = await startOurProxy(bootstrap(ourPort, backend.port));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    await backend?.[Symbol.asyncDispose]();
  });

  async function attempt(port: number, { bytes }: Attempt): Promise<readonly string[]> {
    const mark = `m${marks++}m`;
    await using peer = new RawPeer(connect(port, '127.0.0.1'));
    peer.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0), bytes(mark));
    // Envoy answers a malformed request with nothing but the end of the connection, a second later.
    await peer
      .next(({ type, flags, streamId }) => type === 3 || type === 7 || (streamId === 1 && (flags & END_STREAM) !== 0))
      .catch(() => undefined);
    return backend.requestsOf(mark).map((request) => request.replaceAll(mark, 'ID'));
  }

  /** What the back end saw of the attempt through each. */
  async function compare(
    each: Attempt,
  ): Promise<{ readonly name: string; readonly envoy: readonly string[]; readonly ours: readonly string[] }> {
    const [envoys, ours] = await Promise.all([attempt(envoyPort, each), attempt(ourPort, each)]);
    return { name: each.name, envoy: envoys, ours };
  }

  it('shows the back end what Envoy shows it, or less', async () => {
    const outcomes = await Promise.all(ATTEMPTS.map(compare));
    expect(outcomes.filter(({ envoy: envoys, ours }) => ours.some((request, index) => request !== envoys[index]))).toEqual([]);
    expect(outcomes[0]).toEqual({ name: 'plain', envoy: ['GET /ID HTTP/1.1'], ours: ['GET /ID HTTP/1.1'] });
  }, 120_000);

  it('does so for heads that were changed by chance', async () => {
    const random = new SeededRandom(11);
    const mutations = Array.from({ length: 150 }, (_, index): Attempt => ({ name: `mutation ${index}`, bytes: mutated(random) }));
    for (let from = 0; from < mutations.length; from += 30) {
      const outcomes = await Promise.all(mutations.slice(from, from + 30).map(compare));
      expect(outcomes.filter(({ envoy: envoys, ours }) => ours.length > envoys.length)).toEqual([]);
    }
  }, 120_000);
});

/** One byte of one field is another one; the same for whoever is sent it. */
function mutated(random: SeededRandom): (mark: string) => Buffer {
  const which = random.below(6);
  const inName = random.below(3) === 0;
  const [at, byte] = [random.below(100), random.below(256)];
  return (mark) => {
    const fields = [...base(mark), ['x-one', 'value'], ['user-agent', 'probe']] as (readonly [string, string])[];
    const [name, value] = fields[which] as readonly [string, string];
    const change = (text: string): string => {
      const place = at % (text.length + 1);
      return text.slice(0, place) + String.fromCharCode(byte) + text.slice(place + 1);
    };
    // The mark stays whole, or nothing would be found.
    const keepsMark = name === ':path' ? `/${mark}${change('/tail')}` : change(value);
    fields[which] = inName ? [change(name), value] : [name, keepsMark];
    return headersFrames(1, fields);
  };
}

function bootstrap(port: number, backendPort: number): Record<string, unknown> {
  const address = (portValue: number): unknown => ({ socket_address: { address: '127.0.0.1', port_value: portValue } });
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'backend' } }] }] },
    http_filters: [{ name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } }],
  };
  const endpoint = { endpoint: { address: address(backendPort) } };
  return {
    static_resources: {
      listeners: [{ name: 'in', address: address(port), filter_chains: [{ filters: [{ name: 'hcm', typed_config: manager }] }] }],
      clusters: [
        {
          name: 'backend',
          type: 'STATIC',
          connect_timeout: '10s',
          load_assignment: { cluster_name: 'backend', endpoints: [{ lb_endpoints: [endpoint] }] },
        },
      ],
    },
  };
}
