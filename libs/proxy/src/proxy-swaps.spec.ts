import { once } from 'node:events';
import { request, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { DownstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { type Answered, http1Client, http2Client, startHttpBackend, underLoad } from './testing/clients.ts';
import { any, Cleanup, createAuthority, keyPairSecret, type RunningProxy, startProxy } from './testing/harness.ts';
import { address, assignment, httpChain, httpListener, routesTo, staticCluster } from './testing/resources.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const DYNAMIC = 'dynamic_resources: {lds_config: {ads: {}}, cds_config: {ads: {}}}';
const rds = (name: string): JsonObject => ({ rds: { route_config_name: name, config_source: { ads: {} } } });
const edsCluster = (more: JsonObject): JsonValue => ({
  name: 'eds',
  type: 'EDS',
  connect_timeout: '10s',
  eds_cluster_config: { eds_config: { ads: {} } },
  ...more,
});

interface Mesh extends RunningProxy {
  readonly one: number;
  readonly two: number;
}

/** A listener `l` by RDS `routes` to the cluster `eds`, and static clusters `one` and `two`. */
async function startMesh(listener: JsonObject = {}): Promise<Mesh> {
  const [one, two] = [await startHttpBackend(cleanup, 'one'), await startHttpBackend(cleanup, 'two')];
  const running = await startProxy(cleanup, DYNAMIC);
  const clusters = { eds: edsCluster({}), one: staticCluster('one', [one]), two: staticCluster('two', [two]) };
  expect(running.apply('cluster', clusters)).toEqual([]);
  expect(running.apply('endpoint', { eds: assignment('eds', [one]) })).toEqual([]);
  expect(running.apply('listener', { l: httpListener(rds('routes'), listener) })).toEqual([]);
  expect(running.apply('route', { routes: routesTo('eds') })).toEqual([]);
  return { ...running, one, two };
}

const kindsOf = (answers: readonly Answered[]): ReadonlySet<string> => new Set(answers.map(({ status, body }) => `${status} ${body}`));

// Connections that are there go on with the old listener, and so need the old cluster: until their next answer, which ends them.
const LAG = 5;

const CHANGES: readonly (readonly [what: string, change: (mesh: Mesh, turn: number) => readonly unknown[], kinds: readonly string[]])[] = [
  [
    'a filter chain of the listener',
    (mesh, turn) => mesh.apply('listener', { l: httpListener({ ...rds('routes'), stat_prefix: `http${turn}` }) }),
    ['200 one'],
  ],
  ['routes', (mesh, turn) => mesh.apply('route', { routes: routesTo(turn % 2 === 0 ? 'two' : 'one') }), ['200 one', '200 two']],
  ['a cluster', (mesh, turn) => mesh.apply('cluster', { eds: edsCluster({ connect_timeout: `${turn + 2}s` }) }), ['200 one']],
  [
    'endpoints',
    (mesh, turn) => mesh.apply('endpoint', { eds: assignment('eds', [turn % 2 === 0 ? mesh.two : mesh.one]) }),
    ['200 one', '200 two'],
  ],
  [
    'a cluster and the listener that uses it',
    (mesh, turn) => [
      ...mesh.apply('cluster', { [`c${turn}`]: staticCluster(`c${turn}`, [mesh.two]) }),
      ...mesh.apply('listener', { l: httpListener({ stat_prefix: 'http', route_config: routesTo(`c${turn}`) }) }),
      ...mesh.apply('cluster', {}, { removed: turn < LAG ? [] : [`c${turn - LAG}`] }),
    ],
    ['200 one', '200 two'],
  ],
];

describe('no request is lost while there are changed', () => {
  it.each(CHANGES)('%s', async (_, change, kinds) => {
    const mesh = await startMesh();
    const port = (): number => mesh.portOf('l');
    const clients = [1, 2, 3].flatMap(() => [http1Client(cleanup, { port }), http2Client(cleanup, { port })]);
    const answers = await underLoad(clients, { count: 20, change: (turn) => expect(change(mesh, turn)).toEqual([]) });
    expect(answers.length).toBeGreaterThan(200);
    expect([...kindsOf(answers)].sort()).toEqual(kinds);
  });

  it('certificates, and connections keep theirs', async () => {
    const authority = await createAuthority();
    const identity = async (): Promise<ReturnType<typeof keyPairSecret>> =>
      keyPairSecret('default', await authority.issue('spiffe://cluster.local/ns/default/sa/edge', ['edge.example']));
    const mesh = await startMesh();
    const common = {
      tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: { ads: {} } }],
      alpn_protocols: ['h2', 'http/1.1'],
    };
    const transport = { name: 'tls', typed_config: any(DownstreamTlsContextSchema, { common_tls_context: common }) };
    const chain = { ...httpChain(rds('routes')), transport_socket: transport };
    expect(mesh.apply('listener', { tls: { address: address(0), filter_chains: [chain] } })).toEqual([]);
    mesh.proxy.setSecret('default', await identity());
    const serial = async (): Promise<string> => {
      const socket = tlsConnect({ port: mesh.portOf('tls'), host: '127.0.0.1', rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const client = { port: () => mesh.portOf('tls'), isTls: true };
    const clients = [
      http1Client(cleanup, client),
      http2Client(cleanup, client),
      http1Client(cleanup, client),
      http2Client(cleanup, client),
    ];
    const serials = new Set<string>();
    const rotate = async (): Promise<void> => {
      mesh.proxy.setSecret('default', await identity());
      serials.add(await serial());
    };
    const answers = await underLoad(clients, { count: 10, change: rotate });
    expect([...kindsOf(answers)]).toEqual(['200 one']);
    expect(serials.size).toBe(10);
    expect(clients.map(({ connections }) => connections)).toEqual([1, 1, 1, 1]);
  });
});

/** A cluster `held` whose back end answers when the test does. */
async function holdRequests(mesh: Mesh): Promise<{ next(): Promise<ServerResponse> }> {
  const held: ServerResponse[] = [];
  const waiting: ((response: ServerResponse) => void)[] = [];
  const port = await startHttpBackend(cleanup, 'held', (_, response) => {
    const taker = waiting.shift();
    if (taker === undefined) held.push(response);
    else taker(response);
  });
  mesh.apply('cluster', { held: staticCluster('held', [port]) });
  mesh.apply('route', { routes: routesTo('held') });
  return { next: () => new Promise((resolve) => (held.length > 0 ? resolve(held.shift() as ServerResponse) : waiting.push(resolve))) };
}

const refusal = (port: number): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });

describe('requests under way', () => {
  it.each([
    [
      'the listener moves to another address',
      (mesh: Mesh) => mesh.apply('listener', { l: httpListener({ ...rds('routes'), stat_prefix: 'moved' }) }),
    ],
    ['the listener is removed', (mesh: Mesh) => mesh.apply('listener', {}, { removed: ['l'] })],
    ['its cluster is removed', (mesh: Mesh) => mesh.apply('cluster', {}, { removed: ['held'] })],
  ])('end well when %s', async (what, change) => {
    const mesh = await startMesh(what.includes('moves') ? { address: address(0) } : {});
    const backend = await holdRequests(mesh);
    const before = mesh.portOf('l');
    const port = (): number => before;
    const clients = [http1Client(cleanup, { port }), http2Client(cleanup, { port })];
    const answers = clients.map((client) => client.get('/'));
    const responses = [await backend.next(), await backend.next()];
    // Half of the answer is on its way.
    for (const response of responses) response.write('begun ');
    expect(change(mesh)).toEqual([]);
    for (const response of responses) response.end('ended');
    expect(await Promise.all(answers)).toEqual(Array(2).fill({ status: '200', body: 'begun ended' }));
    if (what.includes('is removed') && what.includes('listener')) expect(await refusal(before)).toBe('ECONNREFUSED');
  });

  it('say to a client of HTTP/1 that its connection ends, where the answer had not begun', async () => {
    const mesh = await startMesh();
    const backend = await holdRequests(mesh);
    const asked = request({ host: '127.0.0.1', port: mesh.portOf('l'), headers: { connection: 'keep-alive' } });
    asked.end();
    const response = await backend.next();
    mesh.apply('listener', {}, { removed: ['l'] });
    response.end('late');
    const [answer] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
    expect(answer.headers.connection).toBe('close');
    await once(answer.resume(), 'close');
  });
});

describe('a listener', () => {
  it('that moves leaves no old connection behind, and serves at the new address at once', async () => {
    const mesh = await startMesh();
    const old = mesh.portOf('l');
    const port = (): number => mesh.portOf('l');
    const clients = [http1Client(cleanup, { port }), http2Client(cleanup, { port })];
    await Promise.all(clients.map((client) => client.get('/')));
    const free = await freePort();
    expect(mesh.apply('listener', { l: httpListener(rds('routes'), { address: address(free) }) })).toEqual([]);
    expect(mesh.portOf('l')).toBe(free);
    expect(await refusal(old)).toBe('ECONNREFUSED');
    for (const client of clients) expect(await client.get('/')).toEqual({ status: '200', body: 'one' });
    expect(await refusal(free)).toBeUndefined();
  });

  it('can be removed and come back at its address', async () => {
    const mesh = await startMesh();
    const fixed = mesh.portOf('l');
    const client = http1Client(cleanup, { port: () => fixed });
    await client.get('/');
    for (let turn = 0; turn < 5; turn++) {
      mesh.apply('listener', {}, { removed: ['l'] });
      expect(await refusal(fixed)).toBe('ECONNREFUSED');
      expect(mesh.apply('listener', { l: httpListener(rds('routes'), { address: address(fixed) }) })).toEqual([]);
      expect(await http2Client(cleanup, { port: () => fixed }).get('/')).toEqual({ status: '200', body: 'one' });
    }
    expect(await client.get('/')).toEqual({ status: '200', body: 'one' });
  });

  it('serves as before until the routes of its new definition have come', async () => {
    const mesh = await startMesh();
    const port = (): number => mesh.portOf('l');
    const clients = [http1Client(cleanup, { port }), http2Client(cleanup, { port })];
    expect(mesh.apply('listener', { l: httpListener(rds('later')) })).toEqual([]);
    await mesh.proxy.warmingCount.until((count) => count === 1);
    const before = await underLoad(clients, { count: 5, change: () => {} });
    expect([...kindsOf(before)]).toEqual(['200 one']);
    expect(clients.map(({ connections }) => connections)).toEqual([1, 1]);
    expect(mesh.apply('route', { later: routesTo('two', {}, 'later') })).toEqual([]);
    await mesh.proxy.warmingCount.until((count) => count === 0);
    // Connections end on the old definition, new ones begin on the new one.
    const after = await underLoad(clients, { count: 5, change: () => {} });
    expect([...kindsOf(after)].sort()).toEqual(['200 one', '200 two']);
    for (const client of clients) expect(await client.get('/')).toEqual({ status: '200', body: 'two' });
    expect(clients.map(({ connections }) => connections)).toEqual([2, 2]);
  });
});
