import { create } from '@bufbuild/protobuf';
import { credentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock, Watchable } from '@mizzen/core';
import { freePort } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import { NodeSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { createXdsServer, ResourceSet, type XdsServer } from '@mizzen/xds-server';
import { createXdsClient } from './xds-client.ts';

const ID = 'sidecar~10.0.0.1~vm-1.default~default.svc.cluster.local';

describe('the health of a workload', () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  it('reaches the server, with its reason, and again after the server was away', async () => {
    const reports = new Watchable<readonly string[]>([]);
    const startServer = async (port: number): Promise<{ server: XdsServer; port: number }> => {
      const server = createXdsServer({
        generator: { generate: () => new ResourceSet([]) },
        events: {
          onHealth: ({ node }, { isHealthy, reason }) => reports.set([...reports.value, `${node.id} ${isHealthy} ${reason}`]),
        },
        clock: systemClock,
        logger: silentLogger,
      });
      closers.push(() => server.close());
      return { server, port: await server.listen({ host: '127.0.0.1', port }) };
    };
    const first = await startServer(await freePort());
    const client = createXdsClient({
      address: `127.0.0.1:${first.port}`,
      node: create(NodeSchema, { id: ID }),
      consumer: { apply: () => [], subscriptions: () => ({ current: [{ typeUrl: TYPE_URL.cluster, names: '*' }], stop: () => undefined }) },
      credentials: () => credentials.createInsecure(),
      backoffBaseMs: 1,
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
    });
    closers.push(() => client.close());
    client.reportHealth(undefined);
    client.start();
    await reports.until((all) => all.length === 1);
    client.reportHealth('the program answers 500');
    await reports.until((all) => all.length === 2);
    await first.server.close();
    await startServer(first.port);
    await reports.until((all) => all.length === 3);
    expect(reports.value).toEqual([`${ID} true `, `${ID} false the program answers 500`, `${ID} false the program answers 500`]);
  });
});
