import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { freePort } from '@mizzen/testing';
import type { ConnectHandler } from '../contract.ts';
import { Cleanup } from '../testing/harness.ts';
import { mayConnect } from './circuit-breakers.ts';
import type { LiveCluster } from './cluster.ts';
import type { Endpoint } from './endpoint.ts';
import { clusterOf, fakeClock, localities } from './testing.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function startServer(host = '127.0.0.1'): Promise<{ port: number; sockets: Socket[]; received: () => Promise<string> }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket.on('error', () => socket.destroy())));
  server.listen(0, host);
  await once(server, 'listening');
  cleanup.add(() => server.close());
  cleanup.add(() => {
    for (const socket of sockets) socket.destroy();
  });
  const received = async (): Promise<string> => {
    const socket = sockets[0] ?? ((await once(server, 'connection')) as [Socket])[0];
    return String((await once(socket, 'data'))[0]);
  };
  return { port: (server.address() as AddressInfo).port, sockets, received };
}

function address(host: string, port: number): JsonValue {
  return { socket_address: { address: host, port_value: port } };
}

function endpointOf(cluster: LiveCluster): Endpoint {
  const [endpoint] = cluster.endpoints();
  if (endpoint === undefined) throw new Error('no endpoint');
  return endpoint;
}

function connected(endpoint: Endpoint, handler: Partial<ConnectHandler> = {}): Promise<Socket> {
  return new Promise((resolve, reject) => {
    endpoint.connect({
      onConnected(socket) {
        cleanup.add(() => socket.destroy());
        resolve(socket);
      },
      onFailed: ({ reason }) => reject(new Error(reason)),
      ...handler,
    });
  });
}

function withMoreAddresses(first: JsonValue, more: readonly JsonValue[]): LiveCluster {
  const endpoint = { address: first, additional_addresses: more.map((each) => ({ address: each })) };
  return clusterOf([{ lb_endpoints: [{ endpoint }] }], { connect_timeout: '10s' }, systemClock);
}

describe('a connection to an endpoint of several addresses', () => {
  it('goes to the next address where the first refuses', async () => {
    const { port } = await startServer();
    const cluster = withMoreAddresses(address('127.0.0.1', await freePort()), [address('127.0.0.1', port)]);
    const socket = await connected(endpointOf(cluster));
    expect(socket.remotePort).toBe(port);
    expect(cluster.stats).toMatchObject({ upstreamCxTotal: 2, upstreamCxConnectFail: 1 });
  });

  it('fails once where all refuse, with the reason of the last', async () => {
    const cluster = withMoreAddresses(address('127.0.0.1', await freePort()), [address('127.0.0.1', await freePort())]);
    await expect(connected(endpointOf(cluster))).rejects.toThrow('ECONNREFUSED');
    expect(cluster.stats.upstreamCxConnectFail).toBe(2);
  });

  it('does not wait longer than 300 ms for the first, and takes whichever is first', async () => {
    const { port } = await startServer();
    // 192.0.2.0/24 is TEST-NET-1: nobody answers, where the machine has a route at all.
    const cluster = withMoreAddresses(address('192.0.2.1', 9), [address('127.0.0.1', port)]);
    expect((await connected(endpointOf(cluster))).remotePort).toBe(port);
  });
});

describe('an endpoint behind the PROXY protocol', () => {
  const transport = (config: Record<string, JsonValue>): Record<string, JsonValue> => ({
    transport_socket: {
      name: 'envoy.transport_sockets.upstream_proxy_protocol',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
        config,
        transport_socket: { name: 'envoy.transport_sockets.raw_buffer' },
      },
    },
  });
  const source = { kind: 'ip', host: '10.1.1.1', port: 1111 } as const;
  const destination = { kind: 'ip', host: '10.2.2.2', port: 2222 } as const;
  const tlvs = [
    { type: 0xe1, value: Buffer.from('first') },
    { type: 0xe2, value: Buffer.from('second') },
  ];
  const needs = { key: 'one client', proxyHeader: { addresses: { source, destination }, tlvs } };

  async function behindProxy(config: Record<string, JsonValue>): Promise<{ endpoint: Endpoint; received: () => Promise<string> }> {
    const { port, received } = await startServer();
    const endpoints = [{ lb_endpoints: [{ endpoint: { address: address('127.0.0.1', port) } }] }];
    return { endpoint: endpointOf(clusterOf(endpoints, transport(config), systemClock)), received };
  }

  it('is told first who the client is', async () => {
    const { endpoint, received } = await behindProxy({ version: 'V1' });
    const socket = await connected(endpoint, { needs });
    socket.write('hello');
    expect(await received()).toMatch(/^PROXY TCP4 10\.1\.1\.1 10\.2\.2\.2 1111 2222\r\n/);
  });

  it('is told by the second version of the protocol where that is asked for', async () => {
    const { endpoint, received } = await behindProxy({ version: 'V2' });
    await connected(endpoint, { needs });
    expect((await received()).startsWith('\r\n\r\n\0\r\nQUIT\n')).toBe(true);
  });

  it('is given no TLV of the client but those that may pass', async () => {
    const none = await behindProxy({ version: 'V2' });
    await connected(none.endpoint, { needs });
    expect(await none.received()).not.toMatch(/first|second/);
    const some = await behindProxy({ version: 'V2', pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: [0xe2] } });
    await connected(some.endpoint, { needs });
    expect(await some.received()).toMatch(/second$/);
    const all = await behindProxy({ version: 'V2', pass_through_tlvs: { match_type: 'INCLUDE_ALL' } });
    await connected(all.endpoint, { needs });
    expect(await all.received()).toMatch(/first.*second$/s);
  });

  it('hears of the proxy itself where no client is behind a connection', async () => {
    const { endpoint, received } = await behindProxy({ version: 'V1' });
    await connected(endpoint, { alpn: ['http/1.1'] });
    expect(await received()).toMatch(/^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\n$/);
  });
});

describe('circuit breakers', () => {
  const thresholds = { thresholds: [{ max_connections: 3 }], per_host_thresholds: [{ max_connections: 2 }] };

  it('have room until the limit of the cluster, or of the endpoint, is reached', () => {
    const cluster = clusterOf(localities({ ports: [1, 2] }), { circuit_breakers: thresholds }, fakeClock());
    const [first, second] = cluster.endpoints() as [Endpoint, Endpoint];
    first.stats.connectionsActive = 2;
    cluster.active.connections = 2;
    expect([mayConnect(first), mayConnect(second)]).toEqual([false, true]);
    second.stats.connectionsActive = 1;
    cluster.active.connections = 3;
    expect([mayConnect(first), mayConnect(second)]).toEqual([false, false]);
  });

  it.each([
    [
      'a limit of requests of one host',
      { per_host_thresholds: [{ max_requests: 1 }] },
      'circuit_breakers.per_host_thresholds[0].max_requests',
    ],
    ['a limit of pools', { thresholds: [{ max_connection_pools: 1 }] }, 'circuit_breakers.thresholds[0].max_connection_pools'],
  ])('refuse %s, with its place', (_, given, path) => {
    expect(() => clusterOf(localities({ ports: [1] }), { circuit_breakers: given })).toThrow(path);
  });
});
