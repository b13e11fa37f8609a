import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock, Watchable } from '@mizzen/core';
import { freePort } from '@mizzen/testing';
import { TYPE_URL, unpackAny, type XdsConsumer, type XdsRejection, type XdsSubscription, type XdsUpdate } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { NodeSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { createXdsServer, type EncodedResource, encodeResource, ResourceSet, type XdsGenerator, type XdsServer } from '@mizzen/xds-server';
import { createXdsClient, type XdsClient, type XdsClientOptions } from './xds-client.ts';

const { cluster, endpoint } = TYPE_URL;

function aCluster(name: string, mark = ''): EncodedResource {
  return encodeResource({ name, typeUrl: cluster, value: toBinary(ClusterSchema, create(ClusterSchema, { name, altStatName: mark })) });
}

function someEndpoints(name: string, factor = 140): EncodedResource {
  const message = create(ClusterLoadAssignmentSchema, { clusterName: name, policy: { overprovisioningFactor: factor } });
  return encodeResource({ name, typeUrl: endpoint, value: toBinary(ClusterLoadAssignmentSchema, message) });
}

/** Holds what it is given, asks for the endpoints of its clusters while it takes them, as the proxy does. */
class RecordingConsumer implements XdsConsumer {
  readonly held = new Map<string, Map<string, string>>();
  readonly updates = new Watchable<readonly XdsUpdate[]>([]);
  refuse: (name: string, mark: string) => string | undefined = () => undefined;
  #onChange: ((subscription: XdsSubscription) => void) | undefined;

  apply(update: XdsUpdate): readonly XdsRejection[] {
    const held = this.held.get(update.typeUrl) ?? new Map<string, string>();
    this.held.set(update.typeUrl, held);
    const rejections: XdsRejection[] = [];
    for (const { name, body, version } of update.upserts) {
      const reason = this.refuse(name, unpackAny(body, ClusterSchema)?.altStatName ?? '');
      if (reason === undefined) held.set(name, version);
      else rejections.push({ name, reason });
    }
    for (const name of update.removed) held.delete(name);
    if (update.typeUrl === cluster) this.#onChange?.({ typeUrl: endpoint, names: new Set(held.keys()) });
    this.updates.set([...this.updates.value, update]);
    return rejections;
  }

  subscriptions(onChange: (subscription: XdsSubscription) => void): { current: readonly XdsSubscription[]; stop(): void } {
    this.#onChange = onChange;
    return { current: [{ typeUrl: cluster, names: '*' }], stop: () => {} };
  }

  holds(typeUrl: string): string[] {
    return [...(this.held.get(typeUrl)?.keys() ?? [])].sort();
  }
}

describe('the xDS client', () => {
  let sets: Map<string, ResourceSet>;
  let server: XdsServer;
  let address: string;
  let consumer: RecordingConsumer;
  let client: XdsClient;
  let revision = 1;

  const generator: XdsGenerator = {
    generate({ typeUrl, names }) {
      const all = sets.get(typeUrl);
      return !all || names === '*' ? all : new ResourceSet(all.select(names));
    },
  };

  async function startServer(port: number): Promise<number> {
    server = createXdsServer({ generator, clock: systemClock, logger: silentLogger });
    return server.listen({ host: '127.0.0.1', port });
  }

  function startClient(options: Partial<XdsClientOptions> = {}): void {
    client = createXdsClient({
      address,
      node: create(NodeSchema, { id: 'sidecar~127.0.0.1~a.default~default.svc.cluster.local', userAgentName: 'mizzen' }),
      consumer,
      credentials: () => credentials.createInsecure(),
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
      backoffBaseMs: 10,
      backoffMaxMs: 50,
      ...options,
    });
    client.start();
  }

  function set(typeUrl: string, ...resources: EncodedResource[]): void {
    sets.set(typeUrl, new ResourceSet(resources));
    server?.push({ revision: ++revision, typeUrls: 'all' });
  }

  beforeEach(async () => {
    sets = new Map();
    consumer = new RecordingConsumer();
    address = `127.0.0.1:${await startServer(await freePort())}`;
  });

  afterEach(async () => {
    await client.close();
    await server.close();
  });

  const synced = (typeUrl: string) => server.activity.until(() => server.status()[0]?.types.get(typeUrl)?.state === 'SYNCED');

  it('follows subscriptions that change while a response is taken', async () => {
    set(cluster, aCluster('a'), aCluster('b'));
    set(endpoint, someEndpoints('a'), someEndpoints('b'), someEndpoints('c'));
    startClient();
    await consumer.updates.until(() => consumer.holds(endpoint).join() === 'a,b');
    await synced(endpoint);
    set(cluster, aCluster('b'), aCluster('c'));
    await consumer.updates.until(() => consumer.holds(endpoint).includes('c') && consumer.holds(cluster).join() === 'b,c');
    await synced(endpoint);
    expect(client.state.value.kind).toBe('connected');
  });

  it('rejects with every reason, keeps what is good and takes what comes next', async () => {
    consumer.refuse = (name, mark) => (mark === 'bad' ? `${name} is bad` : undefined);
    set(cluster, aCluster('a'), aCluster('b', 'bad'), aCluster('c', 'bad'));
    const refused: string[] = [];
    startClient({ onRejected: (_, rejections) => void refused.push(...rejections.map(({ name }) => name)) });
    await server.activity.until(() => server.status()[0]?.types.get(cluster)?.state === 'ERROR');
    expect(server.status()[0]?.types.get(cluster)?.reason).toBe('b: b is bad\nc: c is bad');
    expect(refused).toEqual(['b', 'c']);
    expect(consumer.holds(cluster)).toEqual(['a']);
    set(cluster, aCluster('a'), aCluster('b'), aCluster('c'));
    await synced(cluster);
    expect(consumer.holds(cluster)).toEqual(['a', 'b', 'c']);
  });

  it('keeps what it has while the server is away and then takes only the difference', async () => {
    set(cluster, aCluster('a'), aCluster('b'));
    set(endpoint, someEndpoints('a'), someEndpoints('b'));
    startClient();
    await consumer.updates.until(() => consumer.holds(endpoint).length === 2);
    await synced(endpoint);
    await server.close();
    await client.state.until(({ kind }) => kind === 'waiting');
    expect(consumer.holds(cluster)).toEqual(['a', 'b']);
    const before = consumer.updates.value.length;
    sets.set(cluster, new ResourceSet([aCluster('b', 'changed'), aCluster('c')]));
    await startServer(Number(address.split(':')[1]));
    await client.state.until(({ kind }) => kind === 'connected');
    await consumer.updates.until(() => consumer.holds(cluster).join() === 'b,c');
    const update = consumer.updates.value.slice(before).find(({ typeUrl }) => typeUrl === cluster);
    expect(update?.upserts.map(({ name }) => name)).toEqual(['b', 'c']);
    expect(update?.removed).toEqual(['a']);
  });

  it('gives an address up that takes its connection and says nothing', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => void sockets.push(socket)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    startClient({ address: `127.0.0.1:${(silent.address() as AddressInfo).port}`, connectTimeoutMs: 50 });
    await client.state.until((state) => state.kind === 'waiting' && state.attempt >= 2 && state.reason === 'no connection within 50 ms');
    expect(sockets.length).toBeGreaterThanOrEqual(3);
    for (const socket of sockets) socket.destroy();
    silent.close();
  });

  it('does not claim to hold what it rejected when it connects again', async () => {
    consumer.refuse = (_, mark) => (mark === 'bad' ? 'bad' : undefined);
    set(cluster, aCluster('a', 'bad'));
    startClient();
    await server.activity.until(() => server.status()[0]?.types.get(cluster)?.state === 'ERROR');
    consumer.refuse = () => undefined;
    server.disconnect('sidecar~127.0.0.1~a.default~default.svc.cluster.local');
    await consumer.updates.until(() => consumer.holds(cluster).includes('a'));
  });

  it('asks for credentials for every connection and survives that there are none yet', async () => {
    set(cluster, aCluster('a'));
    let calls = 0;
    startClient({
      credentials: () => {
        calls++;
        if (calls < 3) throw new Error('no SVID yet');
        return credentials.createInsecure();
      },
    });
    await client.state.until((state) => state.kind === 'waiting' && state.reason === 'no SVID yet');
    await consumer.updates.until(() => consumer.holds(cluster).includes('a'));
    expect(calls).toBe(3);
  });

  it('takes a response of more than 4 MB', async () => {
    set(cluster, aCluster('big', 'x'.repeat(10_000_000)));
    startClient();
    await consumer.updates.until(() => consumer.holds(cluster).includes('big'));
  });

  it('closes at once, even while it waits for credentials', async () => {
    startClient({ credentials: () => new Promise(() => {}) });
    await client.close();
    expect(client.state.value.kind).toBe('closed');
  });
});
