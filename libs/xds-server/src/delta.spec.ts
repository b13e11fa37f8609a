import { once } from 'node:events';
import http2 from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { ScriptedDeltaClient, type ScriptedResponse } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import type { Cluster } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { DeltaDiscoveryRequestSchema } from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import type { XdsServerEvents } from './events.ts';
import { aCluster, aListener, aNameTable, aRoute, MemoryGenerator, someEndpoints } from './fixtures/memory-generator.ts';
import { createXdsServer, type XdsServer } from './server.ts';

const { cluster, endpoint, listener, route, nameTable } = TYPE_URL;
const node = { id: 'sidecar~127.0.0.1~productpage.default~default.svc.cluster.local' };

describe('delta xDS', () => {
  let generator: MemoryGenerator;
  let server: XdsServer;
  let port: number;
  let revision: number;
  const events: XdsServerEvents & { ended: boolean[]; applied: number[] } = {
    ended: [],
    applied: [],
    onDisconnect: (_, { isGraceful }) => void events.ended.push(isGraceful),
    onApplied: (_, applied) => void events.applied.push(applied.revision),
  };
  const clients: ScriptedDeltaClient[] = [];

  beforeEach(async () => {
    events.ended = [];
    events.applied = [];
    revision = 1;
    generator = new MemoryGenerator();
    generator.set(nameTable, [aNameTable()]);
    server = createXdsServer({ generator, events, clock: systemClock, logger: silentLogger, staleAfterMs: -1 });
    port = await server.listen({ host: '127.0.0.1', port: 0 });
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.drop();
    await server.close();
  });

  function connect(): ScriptedDeltaClient {
    const client = new ScriptedDeltaClient({ address: `127.0.0.1:${port}`, node });
    clients.push(client);
    return client;
  }

  function push(typeUrls: ReadonlySet<string> | 'all' = 'all'): void {
    server.push({ revision: ++revision, typeUrls });
  }

  /** The name table is answered after everything that is due before it. */
  async function expectNone(client: ScriptedDeltaClient): Promise<void> {
    await client.expectNone(async () => {
      client.request(nameTable, { subscribe: ['names'] });
      client.ack(await client.expectResponse(nameTable));
    });
  }

  async function subscribed(client: ScriptedDeltaClient, typeUrl: string, subscribe?: readonly string[]): Promise<ScriptedResponse> {
    client.request(typeUrl, subscribe ? { subscribe } : {});
    const response = await client.expectResponse(typeUrl);
    client.ack(response);
    return response;
  }

  it('answers a wildcard with everything, decodable and with versions', async () => {
    generator.set(cluster, [aCluster('a', 'first'), aCluster('b')]);
    const client = connect();
    const response = await subscribed(client, cluster);
    expect(response.names).toEqual(['a', 'b']);
    expect((response.resources.get('a') as Cluster).altStatName).toBe('first');
    expect(response.versions['a']).toMatch(/^[\w-]{16}$/);
    expect(response.versions['a']).not.toBe(response.versions['b']);
  });

  it('sends what changed and what is gone, and nothing when nothing changed', async () => {
    generator.set(cluster, [aCluster('a'), aCluster('b'), aCluster('c')]);
    const client = connect();
    await subscribed(client, cluster);
    push();
    await expectNone(client);
    generator.set(cluster, [aCluster('a'), aCluster('b', 'changed')]);
    push();
    const changed = await client.expectResponse(cluster);
    expect(changed.names).toEqual(['b']);
    expect(changed.removed).toEqual([]);
    client.ack(changed);
    const removed = await client.expectResponse(cluster);
    expect(removed.names).toEqual([]);
    expect(removed.removed).toEqual(['c']);
  });

  it('sends on a new stream only what differs from the versions that the client holds', async () => {
    generator.set(cluster, [aCluster('a'), aCluster('b'), aCluster('gone')]);
    const first = await subscribed(connect(), cluster);
    generator.set(cluster, [aCluster('a'), aCluster('b', 'changed')]);
    const client = connect();
    client.request(cluster, { subscribe: ['*'], holds: { ...first.versions } });
    const response = await client.expectResponse(cluster);
    expect(response.names).toEqual(['b']);
    expect(response.removed).toEqual(['gone']);
  });

  it('answers a new stream that holds everything with an empty response, so that it counts as synced', async () => {
    generator.set(endpoint, [someEndpoints('a')]);
    const first = await subscribed(connect(), endpoint, ['a']);
    const client = connect();
    client.request(endpoint, { subscribe: ['a'], holds: { ...first.versions } });
    const response = await client.expectResponse(endpoint);
    expect(response.names).toEqual([]);
    expect(response.removed).toEqual([]);
  });

  it('follows names that are added and dropped, and says which do not exist', async () => {
    generator.set(endpoint, [someEndpoints('a'), someEndpoints('b'), someEndpoints('c')]);
    const client = connect();
    expect((await subscribed(client, endpoint, ['a', 'nowhere'])).removed).toEqual(['nowhere']);
    expect((await subscribed(client, endpoint, ['b'])).names).toEqual(['b']);
    client.request(endpoint, { unsubscribe: ['a'] });
    generator.set(endpoint, [someEndpoints('a', 150), someEndpoints('b', 150), someEndpoints('c', 150), someEndpoints('nowhere')]);
    push(new Set([endpoint]));
    const response = await client.expectResponse(endpoint);
    expect([...response.names].sort()).toEqual(['b', 'nowhere']);
    expect(response.removed).toEqual([]);
  });

  it('sends again what is subscribed to again', async () => {
    generator.set(endpoint, [someEndpoints('a')]);
    const client = connect();
    await subscribed(client, endpoint, ['a']);
    expect((await subscribed(client, endpoint, ['a'])).names).toEqual(['a']);
  });

  it('records a rejection with its reason, does not repeat it, and sends the next version', async () => {
    generator.set(cluster, [aCluster('a')]);
    const client = connect();
    const good = await subscribed(client, cluster);
    generator.set(cluster, [aCluster('a', 'bad')]);
    push();
    client.nack(await client.expectResponse(cluster), 'a: no such thing');
    await server.activity.until(() => server.status()[0]?.types.get(cluster)?.state === 'ERROR');
    const status = server.status()[0]?.types.get(cluster);
    expect(status).toMatchObject({ reason: 'a: no such thing', ackedVersion: good.version });
    expect(events.applied).not.toContain(2);
    push();
    await expectNone(client);
    generator.set(cluster, [aCluster('a', 'better')]);
    push();
    client.ack(await client.expectResponse(cluster));
    await server.activity.until(() => events.applied.includes(revision));
    expect(server.status()[0]?.types.get(cluster)?.state).toBe('SYNCED');
  });

  it('ignores the answer to an old nonce', async () => {
    generator.set(cluster, [aCluster('a')]);
    const client = connect();
    const first = await subscribed(client, cluster);
    generator.set(cluster, [aCluster('a', '2')]);
    push();
    const second = await client.expectResponse(cluster);
    client.nack(first, 'late');
    await expectNone(client);
    expect(server.status()[0]?.types.get(cluster)?.state).toBe('STALE');
    client.ack(second);
    await server.activity.until(() => server.status()[0]?.types.get(cluster)?.state === 'SYNCED');
  });

  it('merges what changes while a response is unanswered', async () => {
    generator.set(cluster, [aCluster('a', '1')]);
    const client = connect();
    client.request(cluster);
    const first = await client.expectResponse(cluster);
    for (const mark of ['2', '3', '4']) {
      generator.set(cluster, [aCluster('a', mark)]);
      push();
    }
    await expectNone(client);
    client.ack(first);
    const next = await client.expectResponse(cluster);
    expect((next.resources.get('a') as Cluster).altStatName).toBe('4');
    client.ack(next);
    await expectNone(client);
  });

  it('makes before it breaks: additions, endpoints, listeners, routes, and only then removals', async () => {
    generator.set(cluster, [aCluster('v1')]);
    generator.set(endpoint, [someEndpoints('v1')]);
    generator.set(listener, [aListener('in')]);
    generator.set(route, [aRoute('r', 'to v1')]);
    const client = connect();
    await subscribed(client, cluster);
    await subscribed(client, endpoint, ['v1']);
    await subscribed(client, listener);
    await subscribed(client, route, ['r']);

    generator.set(cluster, [aCluster('v2')]);
    generator.set(endpoint, [someEndpoints('v2')]);
    generator.set(route, [aRoute('r', 'to v2')]);
    push();
    const added = await client.expectResponse(cluster);
    expect([added.names, added.removed]).toEqual([['v2'], []]);
    await expectNone(client);
    client.ack(added);
    // The route waits until the endpoints of the new cluster were asked for and taken.
    await expectNone(client);
    client.request(endpoint, { subscribe: ['v2'] });
    const endpoints = await client.expectResponse(endpoint);
    expect([endpoints.names, endpoints.removed]).toEqual([['v2'], []]);
    await expectNone(client);
    client.ack(endpoints);
    const routes = await client.expectResponse(route);
    expect(events.applied).not.toContain(revision);
    client.ack(routes);
    const clustersGone = await client.expectResponse(cluster);
    expect(clustersGone.removed).toEqual(['v1']);
    client.ack(clustersGone);
    const endpointsGone = await client.expectResponse(endpoint);
    expect(endpointsGone.removed).toEqual(['v1']);
    client.ack(endpointsGone);
    await server.activity.until(() => events.applied.includes(revision));
  });

  it('answers the endpoints of a new cluster before the cluster is acknowledged, as Envoy needs it, and routes after both', async () => {
    generator.set(cluster, [aCluster('v1')]);
    generator.set(endpoint, [someEndpoints('v1'), someEndpoints('v2')]);
    generator.set(route, [aRoute('r', 'to v1')]);
    const client = connect();
    await subscribed(client, cluster);
    await subscribed(client, endpoint, ['v1']);
    await subscribed(client, route, ['r']);
    generator.set(cluster, [aCluster('v1'), aCluster('v2')]);
    generator.set(route, [aRoute('r', 'to v2')]);
    push();
    const clusters = await client.expectResponse(cluster);
    client.request(endpoint, { subscribe: ['v2'] });
    client.ack(await client.expectResponse(endpoint));
    await expectNone(client);
    client.ack(clusters);
    expect((await client.expectResponse(route)).names).toEqual(['r']);
  });

  it('sends the endpoints of a cluster that changed again, because it warms', async () => {
    generator.set(cluster, [aCluster('a'), aCluster('b')]);
    generator.set(endpoint, [someEndpoints('a'), someEndpoints('b')]);
    const client = connect();
    await subscribed(client, cluster);
    await subscribed(client, endpoint, ['a', 'b']);
    generator.set(cluster, [aCluster('a', 'changed'), aCluster('b')]);
    push();
    client.ack(await client.expectResponse(cluster));
    expect((await client.expectResponse(endpoint)).names).toEqual(['a']);
  });

  it('holds a type back until it is released', async () => {
    generator.set(endpoint, [someEndpoints('a')]);
    const release = server.hold([endpoint]);
    const client = connect();
    client.request(endpoint, { subscribe: ['a'] });
    await expectNone(client);
    release();
    expect((await client.expectResponse(endpoint)).names).toEqual(['a']);
  });

  it('tells a leave from a lost stream', async () => {
    generator.set(cluster, []);
    const leaving = connect();
    await subscribed(leaving, cluster);
    await leaving.end();
    await server.activity.until(() => events.ended.length === 1);
    const lost = connect();
    await subscribed(lost, cluster);
    lost.drop();
    await server.activity.until(() => events.ended.length === 2);
    expect(events.ended).toEqual([true, false]);
    expect(server.status()).toEqual([]);
  });

  it('tells a leave from a lost connection', async () => {
    generator.set(cluster, []);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    const stream = session.request({
      ':method': 'POST',
      ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => {});
    const request = toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, { node, typeUrl: cluster }));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(request.length, 1);
    stream.write(Buffer.concat([prefix, request]));
    await once(stream, 'data');
    session.socket.destroy();
    await server.activity.until(() => events.ended.length === 1);
    expect(events.ended).toEqual([false]);
  });

  it('refuses a stream without a node and leaves the others alone', async () => {
    generator.set(cluster, [aCluster('a')]);
    const nameless = new ScriptedDeltaClient({ address: `127.0.0.1:${port}`, node: { id: '' } });
    clients.push(nameless);
    nameless.request(cluster);
    expect(await nameless.expectEnd()).toEqual({ code: 3, details: 'the first request of a stream must carry the node with its id' });
    expect((await subscribed(connect(), cluster)).names).toEqual(['a']);
  });

  it('answers nothing for a type that is not served', async () => {
    const client = connect();
    client.request('type.googleapis.com/envoy.unknown.v3.Thing');
    await expectNone(client);
  });
});
