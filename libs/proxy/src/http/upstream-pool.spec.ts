import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import type { Endpoint } from '../cluster/endpoint.ts';
import { clusterOf } from '../cluster/testing.ts';
import type { ConnectionNeeds } from '../contract.ts';
import { Cleanup } from '../testing/harness.ts';
import type { ResponseReceiver } from './stream.ts';
import { wheelOf } from './timer-wheel.ts';
import { type HttpPool, poolOf } from './upstream-pool.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** An endpoint whose server only accepts. */
async function endpointWithServer(): Promise<{ readonly endpoint: Endpoint; accepted(): Promise<Socket> }> {
  const server = createServer();
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket.on('error', () => socket.destroy())));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = { socket_address: { address: '127.0.0.1', port_value: (server.address() as AddressInfo).port } };
  const [endpoint] = clusterOf([{ lb_endpoints: [{ endpoint: { address } }] }], {}, systemClock).endpoints();
  const accepted = async (): Promise<Socket> => ((await once(server, 'connection')) as [Socket])[0];
  return { endpoint: endpoint as Endpoint, accepted };
}

const runtime = { context: { clock: systemClock }, wheel: wheelOf(systemClock) };

function pool(endpoint: Endpoint, key?: string): HttpPool {
  const needs: ConnectionNeeds | undefined = key === undefined ? undefined : { key };
  return poolOf(endpoint, runtime, { downstreamProtocol: 'HTTP/1.1', needs });
}

function ready(of: HttpPool): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const receiver = { onReady: resolve, onUpstreamReset: (reason: string) => reject(new Error(reason)) };
    of.request(receiver as unknown as ResponseReceiver);
  });
}

describe('the pools of an endpoint', () => {
  it('are one for requests of equal needs, and others for others', async () => {
    const { endpoint } = await endpointWithServer();
    expect(pool(endpoint)).toBe(pool(endpoint));
    expect(pool(endpoint, 'a')).toBe(pool(endpoint, 'a'));
    expect(pool(endpoint, 'a')).not.toBe(pool(endpoint, 'b'));
    expect(pool(endpoint, 'a')).not.toBe(pool(endpoint));
  });

  it('of some needs are forgotten when their last connection closes: clients come and go', async () => {
    const { endpoint, accepted } = await endpointWithServer();
    const before = pool(endpoint, 'a');
    const connection = accepted();
    await ready(before);
    expect(pool(endpoint, 'a')).toBe(before);
    const left = new Promise<void>((resolve) => {
      const timer = systemClock;
      const look = (): void => {
        if (endpoint.stats.connectionsActive === 0) resolve();
        else timer.after(1, look);
      };
      look();
    });
    (await connection).destroy();
    await left;
    await Promise.resolve();
    expect(pool(endpoint, 'a')).not.toBe(before);
  });

  it('of some needs are forgotten when their first request was refused: what clients ask for has no end', async () => {
    const { endpoint } = await endpointWithServer();
    const { active, limits } = endpoint.cluster;
    active.pendingRequests += limits.maxPendingRequests;
    const before = pool(endpoint, 'a');
    await expect(ready(before)).rejects.toThrow('overflow');
    expect(pool(endpoint, 'a')).not.toBe(before);
  });

  it('of another priority count their connections against its own limits, and end with the ordinary ones', async () => {
    const { endpoint, accepted } = await endpointWithServer();
    const { highPriority } = endpoint.cluster;
    const view = highPriority.chooseEndpoint({ hash: undefined, isExcluded: undefined, originalDestination: undefined, header: undefined });
    if (view === undefined) throw new Error('no endpoint');
    const connection = accepted();
    await ready(poolOf(view, runtime, { downstreamProtocol: 'HTTP/1.1', needs: undefined }));
    expect([highPriority.active.connections, endpoint.cluster.active.connections]).toEqual([1, 0]);
    expect(highPriority.chooseEndpoint({ hash: undefined, isExcluded: undefined, originalDestination: undefined, header: undefined })).toBe(
      view,
    );
    (await connection).destroy();
  });
});
