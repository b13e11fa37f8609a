import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock, Watchable } from '@mizzen/core';
import { defaultMeshConfig } from '@mizzen/mesh-api';
import type { EndpointMembership, Service, Workload } from '@mizzen/model';
import { ScriptedDeltaClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import type { Cluster } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { NameTable } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { type ControlPlane, createControlPlane } from './control-plane.ts';
import { acknowledged, subscribe } from './fixtures/running-control-plane.ts';

const { cluster, endpoint, listener, route, nameTable } = TYPE_URL;
const DOMAIN = 'default.svc.cluster.local';
const REVIEWS = `outbound|9080||reviews.${DOMAIN}`;

const client = {
  id: `sidecar~10.244.0.9~client-1.default~${DOMAIN}`,
  cluster: 'client.default',
  metadata: {
    NAMESPACE: 'default',
    SERVICE_ACCOUNT: 'client',
    LABELS: { app: 'reviews', version: 'v1' },
    INSTANCE_IPS: '10.244.0.9',
    INTERCEPTION_MODE: 'REDIRECT',
    DNS_CAPTURE: 'true',
    POD_PORTS: '[{"name":"web","containerPort":8080}]',
    CLUSTER_ID: 'Kubernetes',
  },
};

function serviceOf(name: string, about: { clusterIp?: string; port: number; protocol: 'http' | 'tcp' }): Service {
  return {
    host: `${name}.${DOMAIN}`,
    namespace: 'default',
    name,
    ports: [{ number: about.port, name: about.protocol, protocol: about.protocol, targetPort: about.port, targetPortName: 'web' }],
    addresses: about.clusterIp === undefined ? [] : [about.clusterIp],
    isExternal: false,
    resolution: about.clusterIp === undefined ? 'passthrough' : 'static',
    visibility: 'everywhere',
    endpointSource: 'registry',
    workloadSelector: { app: name },
    ownWorkloads: [],
    subjectAltNames: [],
    createdAt: '2024-01-01T00:00:00Z',
    source: { kind: 'Service', namespace: 'default', name },
  };
}

function pod(app: string, address: string, membership: Partial<EndpointMembership> = {}): Workload {
  return {
    name: `${app}-${address}`,
    namespace: 'default',
    address,
    ports: {},
    labels: { app, version: 'v1' },
    serviceAccount: app,
    locality: '',
    network: '',
    weight: 0,
    tlsMode: 'istio',
    group: '',
    endpointOf: [{ host: `${app}.${DOMAIN}`, ports: { http: 8080, tcp: 6000 }, isReady: true, ...membership }],
  };
}

describe('a captured proxy of a registry', () => {
  const services = [
    serviceOf('reviews', { clusterIp: '10.96.0.1', port: 9080, protocol: 'http' }),
    serviceOf('store', { port: 6000, protocol: 'tcp' }),
  ];
  const [reviews, store] = [pod('reviews', '10.244.0.1'), pod('store', '10.244.0.2')];
  let workloads: Watchable<readonly Workload[]>;
  let controlPlane: ControlPlane;
  let proxy: ScriptedDeltaClient;

  beforeEach(async () => {
    workloads = new Watchable<readonly Workload[]>([reviews, store]);
    controlPlane = createControlPlane({
      sources: {
        config: new Watchable({ resources: [], diagnostics: [] }),
        mesh: new Watchable({ mesh: defaultMeshConfig(), diagnostics: [] }),
        credentials: new Watchable({ credentials: new Map(), diagnostics: [] }),
        registries: [{ services: new Watchable<readonly Service[]>(services), workloads }],
      },
      clock: systemClock,
      logger: silentLogger,
      version: 'test',
      hasIdentity: false,
      debounceQuietMs: 5,
      debounceMaxMs: 1000,
      disconnectGraceMs: 0,
      registrationSettleMs: 0,
      staleAfterMs: 60_000,
    });
    controlPlane.start();
    const port = await controlPlane.listenXds({ host: '127.0.0.1', port: 0 });
    proxy = new ScriptedDeltaClient({ address: `127.0.0.1:${port}`, node: client });
  });

  afterEach(async () => {
    proxy.drop();
    await controlPlane.close();
  });

  async function subscribeAll(): Promise<void> {
    await subscribe(proxy, cluster);
    await subscribe(proxy, endpoint, [REVIEWS]);
    await subscribe(proxy, listener);
    await subscribe(proxy, route, ['9080']);
    await subscribe(proxy, nameTable);
  }

  const tableOf = (response: { resources: ReadonlyMap<string, unknown> }) => [...response.resources.values()][0] as NameTable;

  it('is given listeners, clusters, routes, endpoints and names', async () => {
    const clusters = await subscribe(proxy, cluster);
    expect([...clusters.names].sort()).toEqual([
      'BlackHoleCluster',
      'InboundPassthroughCluster',
      'PassthroughCluster',
      'inbound|8080||',
      `outbound|6000||store.${DOMAIN}`,
      REVIEWS,
    ]);
    const inbound = clusters.resources.get('inbound|8080||') as Cluster;
    expect(inbound.upstreamBindConfig?.sourceAddress?.address).toBe('127.0.0.6');
    const endpoints = await subscribe(proxy, endpoint, [REVIEWS]);
    expect(JSON.stringify(endpoints.resources.get(REVIEWS), bigintAsText)).toContain('"address":"10.244.0.1"');
    const listeners = await subscribe(proxy, listener);
    expect([...listeners.names].sort()).toEqual(['0.0.0.0_9080', '10.244.0.2_6000', 'virtualInbound', 'virtualOutbound']);
    const routes = await subscribe(proxy, route, ['9080']);
    expect(JSON.stringify(routes.resources.get('9080'), bigintAsText)).toContain('"10.96.0.1"');
    const { table } = tableOf(await subscribe(proxy, nameTable));
    expect(Object.entries(table).map(([host, { ips, shortname, namespace }]) => [host, ips, shortname, namespace])).toEqual([
      [`reviews.${DOMAIN}`, ['10.96.0.1'], 'reviews', 'default'],
      [`store.${DOMAIN}`, ['10.244.0.2'], 'store', 'default'],
    ]);
  });

  it('is told of a pod that came by its endpoints alone', async () => {
    await subscribeAll();
    workloads.set([reviews, pod('reviews', '10.244.0.3'), store]);
    expect((await acknowledged(proxy, endpoint)).names).toEqual([REVIEWS]);
    // Whatever else there was to say would have come before the answer.
    await proxy.expectNone(async () => {
      workloads.set([reviews, store]);
      await acknowledged(proxy, endpoint);
    });
  });

  it('is not told of a pod that is not ready, and of one that becomes so', async () => {
    await subscribeAll();
    workloads.set([reviews, pod('reviews', '10.244.0.3', { isReady: false }), store]);
    await proxy.expectNone(async () => {
      workloads.set([reviews, pod('reviews', '10.244.0.3'), store]);
      const endpoints = await acknowledged(proxy, endpoint);
      expect(JSON.stringify(endpoints.resources.get(REVIEWS), bigintAsText)).toContain('"address":"10.244.0.3"');
    });
  });

  it('is given a listener and a name for a new endpoint of a headless service', async () => {
    await subscribeAll();
    workloads.set([reviews, store, pod('store', '10.244.0.4')]);
    expect((await acknowledged(proxy, listener)).names).toEqual(['10.244.0.4_6000']);
    expect(tableOf(await acknowledged(proxy, nameTable)).table[`store.${DOMAIN}`]?.ips).toEqual(['10.244.0.2', '10.244.0.4']);
  });

  it('speaks no mutual TLS to a headless service once one of its endpoints has none', async () => {
    await subscribeAll();
    workloads.set([reviews, store, { ...pod('store', '10.244.0.4'), tlsMode: 'disabled' }]);
    const changed = await acknowledged(proxy, cluster);
    expect(changed.names).toEqual([`outbound|6000||store.${DOMAIN}`]);
    expect((changed.resources.get(`outbound|6000||store.${DOMAIN}`) as Cluster).transportSocket).toBeUndefined();
  });
});

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
