import { once } from 'node:events';
import { request } from 'node:http';
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  constants,
  createServer as createHttp2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { SeededRandom } from './http2/testing.ts';
import { http1Client, http2Client, startHttpBackend, underLoad } from './testing/clients.ts';
import { Cleanup, type RunningProxy, startProxy } from './testing/harness.ts';
import { assignment, HTTP2_UPSTREAM, httpListener, routesTo, staticCluster, tcpListener } from './testing/resources.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Ending = (socket: Socket) => void;

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const BEGUN = 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun';

/** What a back end does once a request (or the first bytes of TCP) has come. */
const ENDINGS = {
  answer: (socket) => socket.write(OK),
  answerAndClose: (socket) => socket.end(OK),
  reset: (socket) => socket.resetAndDestroy(),
  close: (socket) => socket.end(),
  resetInHead: (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-', () => socket.resetAndDestroy()),
  resetInBody: (socket) => socket.write(BEGUN, () => setImmediate(() => socket.resetAndDestroy())),
  closeInBody: (socket) => socket.end(BEGUN),
  silence: () => {},
  silenceInHead: (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-'),
  silenceInBody: (socket) => socket.write(BEGUN),
  garbage: (socket) => socket.write('NONSENSE\r\n\r\n'),
  tooMuch: (socket) => socket.write(`${OK}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n`),
} satisfies Record<string, Ending>;

type EndingName = keyof typeof ENDINGS;

interface Backend {
  readonly port: number;
  close(): Promise<void>;
}

/** A server that looks at no more of what comes than that it came. */
async function startBackend(onData: Ending, onConnection: Ending = () => {}): Promise<Backend> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    onConnection(socket);
    socket.on('data', () => onData(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  cleanup.add(close);
  return { port: (server.address() as AddressInfo).port, close };
}

/** Only silence is given up early; whatever else happens has the time that a busy machine takes for it. */
const TIMEOUTS: Partial<Record<EndingName, string>> = { silence: '0.2s', silenceInHead: '0.2s', silenceInBody: '1s' };

const LIMITS = { max_connections: 500, max_pending_requests: 501, max_requests: 502, max_retries: 503 };
/** What is left of the limits stands in the statistics. */
const TRACKED: JsonObject = { circuit_breakers: { thresholds: [{ ...LIMITS, track_remaining: true }] } };

async function startOver(ports: readonly number[], route: JsonObject = {}, cluster: JsonObject = {}): Promise<RunningProxy> {
  const running = await startProxy(cleanup, '');
  expect(running.apply('cluster', { app: staticCluster('app', ports, { ...TRACKED, ...cluster }) })).toEqual([]);
  const http = httpListener({ route_config: routesTo('app', route) });
  expect(running.apply('listener', { http, tcp: tcpListener('app') })).toEqual([]);
  return running;
}

interface Stat {
  readonly name?: string;
  readonly value: number;
}

async function statsOf(running: RunningProxy): Promise<readonly Stat[]> {
  return (JSON.parse((await running.admin('/stats?format=json')).body) as { stats: readonly Stat[] }).stats;
}

/** What the circuit breakers of the cluster have left, in the order of the limits. */
async function remaining(running: RunningProxy): Promise<readonly (number | undefined)[]> {
  const stats = await statsOf(running);
  return ['cx', 'pending', 'rq', 'retries'].map(
    (what) => stats.find(({ name }) => name === `cluster.app.circuit_breakers.default.remaining_${what}`)?.value,
  );
}

/** Every statistic that counts what is going on now, and is not 0. */
async function active(running: RunningProxy): Promise<Record<string, number>> {
  const found = (await statsOf(running)).filter(
    ({ name, value }) => value !== 0 && name !== undefined && /_active$|streams_active|pending_send/.test(name),
  );
  return Object.fromEntries(
    found.filter(({ name }) => !/admin|active_clusters|listeners_active/.test(name ?? '')).map(({ name, value }) => [name, value]),
  );
}

/** Waits until nothing goes on; what does not end fails by the test's time limit, with its name in the assertion of the last look. */
async function untilQuiet(running: RunningProxy): Promise<void> {
  const deadline = performance.now() + 25_000;
  let left = await active(running);
  while (Object.keys(left).length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setImmediate(resolve));
    left = await active(running);
  }
  expect(left).toEqual({});
  expect(running.proxy.activeConnections()).toBe(0);
}

describe('what a client sees of a dying back end, over HTTP/1.1 and HTTP/2', () => {
  const cases: readonly (readonly [EndingName, status: string, flags: string])[] = [
    ['reset', '503', 'UC'],
    ['close', '503', 'UC'],
    ['resetInHead', '503', 'UC'],
    ['silence', '504', 'UT'],
    ['silenceInHead', '504', 'UT'],
    ['garbage', '502', 'UPE'],
    ['answerAndClose', '200', '-'],
  ];

  it.each(cases)('%s is %s with %s, and leaves nothing', async (ending, status, flags) => {
    const backend = await startBackend(ENDINGS[ending]);
    const running = await startOver([backend.port], { timeout: TIMEOUTS[ending] ?? '15s' });
    const clients = new Cleanup();
    const port = (): number => running.portOf('http');
    expect((await http1Client(clients, { port }).get('/')).status).toBe(status);
    expect((await http2Client(clients, { port }).get('/')).status).toBe(status);
    expect((await running.logged(2)).map((line) => line.trim())).toEqual([
      `HTTP/1.1 ${status} ${flags} app`,
      `HTTP/2 ${status} ${flags} app`,
    ]);
    await clients.run();
    await backend.close();
    await untilQuiet(running);
  });

  it.each(['resetInBody', 'closeInBody', 'silenceInBody'] as const)('%s breaks the answer off where it is', async (ending) => {
    const backend = await startBackend(ENDINGS[ending]);
    const running = await startOver([backend.port], { timeout: TIMEOUTS[ending] ?? '15s' });
    const clients = new Cleanup();
    const port = (): number => running.portOf('http');
    expect((await http1Client(clients, { port }).get('/')).status).toBe('ECONNRESET');
    expect((await http2Client(clients, { port }).get('/')).status).toBe('ERR_HTTP2_STREAM_ERROR');
    const flags = ending === 'silenceInBody' ? 'UT' : 'UC';
    expect((await running.logged(2)).map((line) => line.trim())).toEqual([`HTTP/1.1 200 ${flags} app`, `HTTP/2 200 ${flags} app`]);
    await clients.run();
    await backend.close();
    await untilQuiet(running);
  });

  it('a reset at accept and a port where nobody listens are 503', async () => {
    const backend = await startBackend(() => {}, ENDINGS.reset);
    const gone = await startBackend(() => {});
    await gone.close();
    for (const [port, flags] of [
      // Whether the connection is told as made before its reset is told is the kernel's choice.
      [backend.port, / 503 U[CF] /],
      [gone.port, / 503 UF /],
    ] as const) {
      const running = await startOver([port]);
      const clients = new Cleanup();
      expect((await http1Client(clients, { port: () => running.portOf('http') }).get('/')).status).toBe('503');
      expect((await running.logged()).join('')).toMatch(flags);
      await clients.run();
      await untilQuiet(running);
    }
  });
});

describe('endpoints that come and go', () => {
  it('are 503 UH while there are none, and 200 before and after, under load', async () => {
    const backend = await startHttpBackend(cleanup, 'ok');
    const running = await startProxy(cleanup, 'dynamic_resources: {lds_config: {ads: {}}, cds_config: {ads: {}}}');
    const cluster = { name: 'eds', type: 'EDS', connect_timeout: '10s', eds_cluster_config: { eds_config: { ads: {} } } };
    expect(running.apply('cluster', { eds: cluster })).toEqual([]);
    expect(running.apply('endpoint', { eds: assignment('eds', []) })).toEqual([]);
    expect(running.apply('listener', { l: httpListener({ route_config: routesTo('eds') }) })).toEqual([]);
    const clients = new Cleanup();
    const port = (): number => running.portOf('l');
    const all = [
      http1Client(clients, { port }),
      http2Client(clients, { port }),
      http1Client(clients, { port }),
      http2Client(clients, { port }),
    ];
    const seen: Set<string>[] = [];
    for (const ports of [[], [backend], [], [backend]]) {
      expect(running.apply('endpoint', { eds: assignment('eds', ports) })).toEqual([]);
      const answers = await underLoad(all, { count: 10, change: () => {} });
      seen.push(new Set(answers.map(({ status }) => status)));
    }
    expect(seen.map((statuses) => [...statuses])).toEqual([['503'], ['200'], ['503'], ['200']]);
    expect(new Set(running.log.map((line) => line.trim().split(' ').slice(1, 3).join(' ')))).toEqual(new Set(['503 UH', '200 -']));
    await clients.run();
    running.apply('endpoint', { eds: assignment('eds', []) });
    await untilQuiet(running);
  });

  it('of a name that has no address are 503 UH', async () => {
    const running = await startProxy(cleanup, '', { resolve: async () => [] });
    const endpoint = { endpoint: { address: { socket_address: { address: 'nobody.example', port_value: 80 } } } };
    const load = { cluster_name: 'dns', endpoints: [{ lb_endpoints: [endpoint] }] };
    expect(running.apply('cluster', { dns: { name: 'dns', type: 'STRICT_DNS', connect_timeout: '10s', load_assignment: load } })).toEqual(
      [],
    );
    expect(running.apply('listener', { l: httpListener({ route_config: routesTo('dns') }) })).toEqual([]);
    const clients = new Cleanup();
    expect((await http1Client(clients, { port: () => running.portOf('l') }).get('/')).status).toBe('503');
    expect((await running.logged()).join('')).toContain(' 503 UH ');
    await clients.run();
    await untilQuiet(running);
  });
});

/** One exchange of a client who may have no patience; resolves when it is over, however. */
type Visit = (running: RunningProxy, random: SeededRandom) => Promise<void>;

const over = (emitter: { once(event: 'close', listener: () => void): unknown }): Promise<void> =>
  new Promise((resolve) => emitter.once('close', () => resolve()));

const visitHttp1: Visit = async (running, random) => {
  const body = random.below(2) === 0 ? 0 : random.below(200_000);
  const asked = request({ host: '127.0.0.1', port: running.portOf('http'), method: body > 0 ? 'POST' : 'GET', agent: false });
  asked.on('error', () => {});
  const patience = random.below(4);
  asked.on('response', (response) => {
    response.on('error', () => {});
    if (patience === 0) asked.destroy();
    else response.resume();
  });
  if (patience === 1) setTimeout(() => asked.destroy(), random.below(20));
  if (body > 0) asked.write(Buffer.alloc(body));
  if (patience !== 1) asked.end();
  await over(asked);
};

const visitHttp2: Visit = async (running, random) => {
  const session: ClientHttp2Session = connectHttp2(`http://127.0.0.1:${running.portOf('http')}`);
  session.on('error', () => {});
  const streams = Array.from({ length: 1 + random.below(4) }, async () => {
    const body = random.below(2) === 0 ? 0 : random.below(200_000);
    const stream = session.request({ ':path': '/', ':method': body > 0 ? 'POST' : 'GET' });
    stream.on('error', () => {});
    const patience = random.below(4);
    if (patience === 0) stream.on('response', () => stream.close(8));
    if (patience === 1) setTimeout(() => stream.close(8), random.below(20));
    stream.resume();
    if (body > 0) stream.write(Buffer.alloc(body));
    if (patience !== 1) stream.end();
    await over(stream);
  });
  if (random.below(4) === 0) setTimeout(() => session.destroy(), random.below(20));
  await Promise.all(streams);
  session.destroy();
};

const visitTcp: Visit = async (running, random) => {
  const socket = connect(running.portOf('tcp'), '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  socket.write(Buffer.alloc(random.below(100_000) + 1));
  const patience = random.below(3);
  if (patience === 0) socket.end();
  else if (patience === 1) setTimeout(() => socket.resetAndDestroy(), random.below(20));
  else setTimeout(() => socket.destroy(), 20 + random.below(20));
  await over(socket);
};

type StreamEnding = (stream: ServerHttp2Stream) => void;

function begin(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200 });
  stream.write('begun');
}

const STREAM_ENDINGS: readonly StreamEnding[] = [
  (stream) => stream.respond({ ':status': 200 }, { endStream: true }),
  (stream) => {
    begin(stream);
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  },
  (stream) => {
    begin(stream);
    setImmediate(() => stream.session?.destroy());
  },
  (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
  (stream) => stream.close(constants.NGHTTP2_CANCEL),
  (stream) => stream.session?.destroy(),
  (stream) => {
    stream.session?.goaway(constants.NGHTTP2_NO_ERROR, stream.id ?? 0);
    stream.respond({ ':status': 200 }, { endStream: true });
  },
  () => {},
  begin,
];

/** The same of HTTP/2. */
async function startHttp2Backend(random: SeededRandom): Promise<Backend> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createHttp2Server();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.resume();
    random.pick(STREAM_ENDINGS)(stream);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    for (const session of sessions) session.destroy();
    if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  cleanup.add(close);
  return { port: (server.address() as AddressInfo).port, close };
}

describe('a storm of endings', () => {
  it.each([
    ['HTTP/1.1', 1],
    ['HTTP/1.1', 2],
    ['HTTP/2', 1],
    ['HTTP/2', 2],
  ] as const)('of %s back ends with seed %d leaves nothing active, neither connections nor requests', async (version, seed) => {
    const random = new SeededRandom(seed);
    const names = Object.keys(ENDINGS) as EndingName[];
    const backends = [
      version === 'HTTP/2'
        ? await startHttp2Backend(random)
        : await startBackend((socket) => {
            if (!socket.destroyed && !socket.writableEnded) ENDINGS[random.pick(names)](socket);
          }),
      await startBackend(() => {}, ENDINGS.reset),
    ];
    const gone = await startBackend(() => {});
    await gone.close();
    const retries = { timeout: '0.1s', retry_policy: { retry_on: 'connect-failure,reset,5xx', num_retries: 1 } };
    const ports = [...backends.map(({ port }) => port), gone.port];
    const running = await startOver(ports, retries, version === 'HTTP/2' ? HTTP2_UPSTREAM : {});
    const visits = [visitHttp1, visitHttp2, visitTcp];
    for (let round = 0; round < 10; round++) {
      const visiting = Promise.all(Array.from({ length: 30 }, (_, index) => (visits[index % 3] as Visit)(running, random)));
      // What is counted here is what must be 0 in the end.
      expect(await active(running)).not.toEqual({});
      await visiting;
    }
    expect(running.log.length).toBeGreaterThan(250);
    for (const backend of backends) await backend.close();
    await untilQuiet(running);
    expect(await remaining(running)).toEqual(Object.values(LIMITS));
  });
});
