import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { type ScriptedResponse, ScriptedSotwClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import { aCluster, aListener, aNameTable, aRoute, MemoryGenerator, someEndpoints } from './fixtures/memory-generator.ts';
import { createXdsServer, type XdsServer } from './server.ts';

const { cluster, endpoint, listener, route, nameTable } = TYPE_URL;

describe('state-of-the-world xDS', () => {
  let generator: MemoryGenerator;
  let server: XdsServer;
  let port: number;
  let revision = 1;
  const clients: ScriptedSotwClient[] = [];

  beforeEach(async () => {
    generator = new MemoryGenerator();
    generator.set(nameTable, [aNameTable()]);
    server = createXdsServer({ generator, clock: systemClock, logger: silentLogger });
    port = await server.listen({ host: '127.0.0.1', port: 0 });
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.drop();
    await server.close();
  });

  function connect(): ScriptedSotwClient {
    const client = new ScriptedSotwClient({
      address: `127.0.0.1:${port}`,
      node: { id: 'sidecar~10.0.0.1~a.default~default.svc.cluster.local', userAgentName: 'envoy' },
    });
    clients.push(client);
    return client;
  }

  function push(): void {
    server.push({ revision: ++revision, typeUrls: 'all' });
  }

  async function expectNone(client: ScriptedSotwClient): Promise<void> {
    await client.expectNone(async () => {
      client.request(nameTable);
      client.ack(await client.expectResponse(nameTable));
    });
  }

  async function subscribed(client: ScriptedSotwClient, typeUrl: string, names: readonly string[] = []): Promise<ScriptedResponse> {
    client.request(typeUrl, names);
    const response = await client.expectResponse(typeUrl);
    client.ack(response, names);
    return response;
  }

  it('answers with everything, under a version that is that of the content', async () => {
    generator.set(cluster, [aCluster('a'), aCluster('b')]);
    const first = await subscribed(connect(), cluster);
    const second = await subscribed(connect(), cluster);
    expect(first.names).toEqual(['a', 'b']);
    expect(second.version).toBe(first.version);
    expect(first.resources.get('b')).toMatchObject({ $typeName: 'envoy.config.cluster.v3.Cluster', name: 'b' });
  });

  it('takes an acknowledgement for no request', async () => {
    generator.set(cluster, [aCluster('a')]);
    const client = connect();
    await subscribed(client, cluster);
    await expectNone(client);
    push();
    await expectNone(client);
  });

  it('answers named types with those names only, and more names with more', async () => {
    generator.set(endpoint, [someEndpoints('a'), someEndpoints('b'), someEndpoints('c')]);
    const client = connect();
    const first = await subscribed(client, endpoint, ['a']);
    expect(first.names).toEqual(['a']);
    client.ack(first, ['a', 'b']);
    const second = await client.expectResponse(endpoint);
    expect(second.names).toContain('b');
    client.ack(second, ['b']);
    await expectNone(client);
    generator.set(endpoint, [someEndpoints('a', 150), someEndpoints('b', 150), someEndpoints('c', 150)]);
    push();
    expect((await client.expectResponse(endpoint)).names).toEqual(['b']);
  });

  it('ignores a request with an old nonce', async () => {
    generator.set(endpoint, [someEndpoints('a'), someEndpoints('b')]);
    const client = connect();
    const first = await subscribed(client, endpoint, ['a']);
    generator.set(endpoint, [someEndpoints('a', 150), someEndpoints('b')]);
    push();
    const second = await client.expectResponse(endpoint);
    client.ack(first, ['a', 'b']);
    await expectNone(client);
    client.ack(second, ['a', 'b']);
    expect((await client.expectResponse(endpoint)).names).toContain('b');
  });

  it('records a rejection and does not repeat what was rejected', async () => {
    generator.set(listener, [aListener('in')]);
    const client = connect();
    client.request(listener);
    client.nack(await client.expectResponse(listener), 'port taken');
    await server.activity.until(() => server.status()[0]?.types.get(listener)?.state === 'ERROR');
    expect(server.status()[0]?.types.get(listener)?.reason).toBe('port taken');
    push();
    await expectNone(client);
    generator.set(listener, [aListener('in', 'other')]);
    push();
    client.ack(await client.expectResponse(listener));
    await server.activity.until(() => server.status()[0]?.types.get(listener)?.state === 'SYNCED');
  });

  it('keeps a cluster that goes until the routes that used it were replaced', async () => {
    generator.set(cluster, [aCluster('v1')]);
    generator.set(route, [aRoute('r', 'to v1')]);
    const client = connect();
    await subscribed(client, cluster);
    await subscribed(client, route, ['r']);
    generator.set(cluster, [aCluster('v2')]);
    generator.set(route, [aRoute('r', 'to v2')]);
    push();
    const both = await client.expectResponse(cluster);
    expect([...both.names].sort()).toEqual(['v1', 'v2']);
    client.ack(both);
    client.ack(await client.expectResponse(route), ['r']);
    expect((await client.expectResponse(cluster)).names).toEqual(['v2']);
  });

  it('sends endpoints again with their cluster, because it warms', async () => {
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

  it('tells of the last cluster going', async () => {
    generator.set(cluster, [aCluster('a')]);
    const client = connect();
    await subscribed(client, cluster);
    generator.set(cluster, []);
    push();
    expect((await client.expectResponse(cluster)).names).toEqual([]);
  });
});
