import { once } from 'node:events';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { create, fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { ExtAuthzSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/ext_authz/v3/ext_authz';
import { CheckResponseSchema } from '@mizzen/xds-api/envoy/service/auth/v3/external_auth';
import { StatusSchema } from '@mizzen/xds-api/google/rpc/status';
import type { ProxyContext } from '../../contract.ts';
import { frameMessage } from '../../grpc/unary-client.ts';
import { StaticCluster } from '../../http/testing.ts';
import type { GateEntry } from '../../listener/network-gate.ts';
import { StatRegistry } from '../../observe/stat-registry.ts';
import { createNetworkAuthz } from './network-authz.ts';

type Json = { readonly [field: string]: JsonValue };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const MESSAGE: Json = { statPrefix: 'tcp', transportApiVersion: 'V3', grpcService: { envoyGrpc: { clusterName: 'authz' }, timeout: '5s' } };

async function authorizationServer(answer: (stream: ServerHttp2Stream) => void): Promise<StaticCluster> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    stream.resume().on('end', () => answer(stream));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const cluster = new StaticCluster('authz', [(server.address() as AddressInfo).port]);
  cluster.upstreamProtocol = 'http2';
  return cluster;
}

function decide(code: number): (stream: ServerHttp2Stream) => void {
  return (stream) => {
    const message = create(CheckResponseSchema, { status: create(StatusSchema, { code }), dynamicMetadata: { user: 'jane' } });
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(frameMessage(toBinary(CheckResponseSchema, message)));
  };
}

async function acceptedSocket(): Promise<{ readonly client: Socket; readonly accepted: Socket }> {
  const server = createTcpServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  closers.push(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  return { client, accepted };
}

async function enter(
  cluster: StaticCluster,
): Promise<{ entry: GateEntry; outcome: Promise<string>; accepted: Socket; registry: StatRegistry }> {
  const registry = new StatRegistry();
  const context = { clock: systemClock, random: Math.random, stats: registry, cluster: () => cluster } as unknown as ProxyContext;
  const { accepted } = await acceptedSocket();
  const outcome = Promise.withResolvers<string>();
  const entry: GateEntry = {
    connection: {
      id: 1,
      socket: accepted,
      initialData: undefined,
      localAddress: { kind: 'ip', host: '127.0.0.1', port: 1 },
      remoteAddress: { kind: 'ip', host: '127.0.0.1', port: 2 },
      originalDestination: undefined,
      tls: undefined,
      listener: { name: 'l', direction: 'inbound' },
      filterState: {},
    },
    pass: () => outcome.resolve('passed'),
    refuse: (_details, flag) => outcome.resolve(`refused ${flag}`),
  };
  const gate = createNetworkAuthz(fromJson(ExtAuthzSchema, MESSAGE), context);
  expect(gate.onConnection(entry)).toBe('wait');
  return { entry, outcome: outcome.promise, accepted, registry };
}

function counted(registry: StatRegistry, name: string): unknown {
  for (const { values } of registry.scopes()) if (name in values) return (values as Record<string, unknown>)[name];
  return undefined;
}

describe('network external authorization', () => {
  it('lets through what the server allows, with what it says', async () => {
    const { entry, outcome, registry } = await enter(await authorizationServer(decide(0)));
    expect(await outcome).toBe('passed');
    expect(entry.connection.filterState.dynamicMetadata).toEqual({ 'envoy.filters.network.ext_authz': { user: 'jane' } });
    expect([counted(registry, 'ok'), counted(registry, 'active')]).toEqual([1, 0]);
  });

  it('closes what the server denies', async () => {
    const { outcome, registry } = await enter(await authorizationServer(decide(7)));
    expect(await outcome).toBe('refused unauthorizedExternalService');
    expect([counted(registry, 'denied'), counted(registry, 'closed')]).toEqual([1, 1]);
  });

  it('gives up to ask when the connection is gone', async () => {
    const asked = Promise.withResolvers<void>();
    const givenUp = Promise.withResolvers<void>();
    const cluster = await authorizationServer((stream) => {
      stream.on('close', () => givenUp.resolve());
      asked.resolve();
    });
    const { accepted, registry } = await enter(cluster);
    await asked.promise;
    accepted.destroy();
    await givenUp.promise;
    expect([counted(registry, 'active'), counted(registry, 'total')]).toEqual([0, 1]);
  });

  it.each([
    { name: 'no service', message: { ...MESSAGE, grpcService: {} }, reason: 'grpc_service: needs envoy_grpc' },
    { name: 'another version', message: { ...MESSAGE, transportApiVersion: 'AUTO' }, reason: 'transport_api_version: must be V3' },
    { name: 'no stat prefix', message: { ...MESSAGE, statPrefix: '' }, reason: 'stat_prefix: is required' },
  ])('refuses $name', ({ message, reason }) => {
    expect(() =>
      createNetworkAuthz(fromJson(ExtAuthzSchema, message as Json), { stats: new StatRegistry() } as unknown as ProxyContext),
    ).toThrow(reason);
  });
});
