import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Watchable } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { fillMeshConfig, type MeshConfig } from '@mizzen/mesh-api';
import type { Workload } from '@mizzen/model';
import { keepSlice } from './endpoint-slice.ts';
import { createKubernetesRegistry, type KubernetesRegistry } from './registry.ts';
import { optionsOf, putPod, putService, putSlice } from './testing.ts';

let server: FakeApiServer;
let registry: KubernetesRegistry;
let mesh: Watchable<{ mesh: MeshConfig }>;
beforeEach(async () => {
  server = await createFakeApiServer();
  mesh = new Watchable({ mesh: fillMeshConfig({}) });
  registry = createKubernetesRegistry({ ...optionsOf(server), mesh });
});
afterEach(async () => {
  await registry.close();
  await server.close();
});

const workload = (name: string): Workload | undefined => registry.workloads.value.find((each) => each.name === name);
const HOST = 's.x.svc.cluster.local';

describe('createKubernetesRegistry', () => {
  it('makes workloads of pods, with identity, locality, and the services that they stand behind', async () => {
    server.put<KubeObject>(KINDS_OF_KUBERNETES.Node, {
      metadata: { name: 'node1', labels: { 'topology.kubernetes.io/region': 'r', 'topology.kubernetes.io/zone': 'z' } },
    });
    putService(server, 's');
    putPod(server, 's-1', { ip: '10.0.0.1', labels: { app: 's', 'security.istio.io/tlsMode': 'istio' }, serviceAccount: 'sa' });
    putPod(server, 'alone', { ip: '10.0.0.2', labels: { 'topology.istio.io/locality': 'a.b.c', 'topology.istio.io/network': 'n' } });
    putSlice(server, 's-abc', { service: 's', endpoints: [{ ip: '10.0.0.1', pod: 's-1', ready: true, hostname: 's-0' }] });
    await registry.start();
    expect(registry.services.value.map(({ host }) => host)).toEqual([HOST]);
    expect(workload('s-1')).toMatchObject({
      namespace: 'x',
      address: '10.0.0.1',
      serviceAccount: 'sa',
      locality: 'r/z/',
      tlsMode: 'istio',
      endpointOf: [{ host: HOST, ports: { http: 8080 }, isReady: true, hostname: 's-0' }],
    });
    expect(workload('alone')).toMatchObject({ tlsMode: 'disabled', locality: 'a/b/c', network: 'n', endpointOf: [] });
  });

  it('leaves out pods that ended, have no address yet, or are gone, and endpoints of pods that it does not know', async () => {
    putService(server, 's');
    putPod(server, 'ended', { ip: '10.0.0.1', phase: 'Succeeded' });
    putPod(server, 'pending', { phase: 'Pending' });
    putSlice(server, 'slice', {
      service: 's',
      endpoints: [
        { ip: '10.0.0.1', pod: 'ended' },
        { ip: '10.0.0.3', pod: 'unknown' },
      ],
    });
    await registry.start();
    expect(registry.workloads.value).toEqual([]);
    putPod(server, 'unknown', { ip: '10.0.0.3' });
    await registry.workloads.until(() => workload('unknown')?.endpointOf?.length === 1);
    server.remove(KINDS_OF_KUBERNETES.Pod, { namespace: 'x', name: 'unknown' });
    await registry.workloads.until((workloads) => workloads.length === 0);
  });

  it('knows what is not ready, and what stands behind a service without being a pod', async () => {
    putService(server, 's', { selector: undefined });
    putSlice(server, 'manual', { service: 's', endpoints: [{ ip: '192.0.2.1' }, { ip: '192.0.2.2', ready: false }] });
    await registry.start();
    expect(workload('192.0.2.1')).toMatchObject({ serviceAccount: '', tlsMode: 'disabled', endpointOf: [{ host: HOST, isReady: true }] });
    expect(workload('192.0.2.2')?.endpointOf).toMatchObject([{ isReady: false }]);
    expect(registry.services.value[0]?.workloadSelector).toBeUndefined();
  });

  it('takes a slice without endpoints as the API server writes it', async () => {
    putService(server, 's');
    putSlice(server, 'slice', { service: 's', endpoints: [{ ip: '192.0.2.1' }] });
    await registry.start();
    server.put<KubeObject>(KINDS_OF_KUBERNETES.EndpointSlice, {
      metadata: { name: 'slice', namespace: 'x', labels: { 'kubernetes.io/service-name': 's' } },
      addressType: 'IPv4',
      ports: null,
      endpoints: null,
    });
    await registry.workloads.until((workloads) => workloads.length === 0);
    expect(
      keepSlice({
        metadata: { name: 'slice', labels: { 'kubernetes.io/service-name': 's' } },
        addressType: 'IPv4',
        ports: null,
        endpoints: null,
      }),
    ).toEqual({
      namespace: 'default',
      service: 's',
      addressType: 'IPv4',
      ports: {},
      endpoints: [],
    });
  });

  it('knows of a pod itself that it is not ready', async () => {
    putPod(server, 'p', { ip: '10.0.0.1', ready: false });
    await registry.start();
    expect(workload('p')?.isReady).toBe(false);
    putPod(server, 'p', { ip: '10.0.0.1', ready: true });
    await registry.workloads.until(() => workload('p')?.isReady === undefined);
  });

  it('puts the ports of several slices together, and takes those of the service’s first family only', async () => {
    putService(server, 's', { clusterIPs: ['10.96.0.9', 'fd00::9'] });
    putPod(server, 'p', { ip: '10.0.0.1' });
    putSlice(server, 'one', { service: 's', endpoints: [{ ip: '10.0.0.1', pod: 'p' }] });
    putSlice(server, 'two', { service: 's', endpoints: [{ ip: '10.0.0.1', pod: 'p' }], ports: { admin: 9090 } });
    putSlice(server, 'six', { service: 's', endpoints: [{ ip: 'fd00::1', pod: 'p' }], addressType: 'IPv6' });
    await registry.start();
    expect(registry.workloads.value.map(({ address }) => address)).toEqual(['10.0.0.1']);
    expect(workload('p')?.endpointOf).toEqual([{ host: HOST, ports: { http: 8080, admin: 9090 }, isReady: true }]);
  });

  it('keeps the objects of what did not change, and tells nobody of heartbeats', async () => {
    putService(server, 's');
    putService(server, 't');
    for (let n = 1; n <= 3; n++) putPod(server, `p${n}`, { ip: `10.0.0.${n}` });
    const endpoints = [1, 2, 3].map((n) => ({ ip: `10.0.0.${n}`, pod: `p${n}` }));
    putSlice(server, 'slice', { service: 's', endpoints });
    await registry.start();
    const before = { p1: workload('p1'), p2: workload('p2'), services: registry.services.value };
    let serviceChanges = 0;
    registry.services.watch(() => serviceChanges++);
    server.put<KubeObject>(KINDS_OF_KUBERNETES.Service, {
      ...server.object(KINDS_OF_KUBERNETES.Service, { namespace: 'x', name: 's' }),
      metadata: { name: 's', namespace: 'x', annotations: { seen: 'now' } },
    });
    putSlice(server, 'slice', { service: 's', endpoints: endpoints.map((endpoint) => ({ ...endpoint, ready: endpoint.pod !== 'p2' })) });
    await registry.workloads.until(() => workload('p2') !== before.p2);
    expect(workload('p1')).toBe(before.p1);
    expect(serviceChanges).toBe(0);
    putService(server, 't', { clusterIPs: ['10.96.0.77'] });
    await registry.services.until((services) => services !== before.services);
    expect(registry.services.value[0]).toBe(before.services[0]);
  });

  it('follows where the mesh shows services by default', async () => {
    putService(server, 's');
    await registry.start();
    mesh.set({ mesh: fillMeshConfig({ defaultServiceExportTo: ['.'] }) });
    expect(registry.services.value[0]?.visibility).toEqual(new Set(['x']));
  });

  it('keeps everything while the API server is away', async () => {
    putService(server, 's');
    putPod(server, 'p', { ip: '10.0.0.1' });
    await registry.start();
    await server.stop();
    expect([registry.services.value.length, registry.workloads.value.length]).toEqual([1, 1]);
    await server.restart();
    putPod(server, 'q', { ip: '10.0.0.2' });
    await registry.workloads.until((workloads) => workloads.length === 2);
  });

  it('takes one pod of 10,000 in without making the others anew', async () => {
    putService(server, 's');
    for (let n = 0; n < 10_000; n++) putPod(server, `p${n}`, { ip: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}` });
    for (let slice = 0; slice < 100; slice++)
      putSlice(server, `slice${slice}`, {
        service: 's',
        endpoints: Array.from({ length: 100 }, (_, index) => slice * 100 + index).map((n) => ({
          ip: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`,
          pod: `p${n}`,
        })),
      });
    await registry.start();
    const before = new Set(registry.workloads.value);
    expect(before.size).toBe(10_000);
    const cpu = process.cpuUsage();
    putPod(server, 'one-more', { ip: '10.1.0.1' });
    await registry.workloads.until((workloads) => workloads.length === 10_001);
    expect(registry.workloads.value.filter((each) => !before.has(each))).toHaveLength(1);
    // A tenth of what it may take on a slow machine; making all anew took seconds.
    expect(process.cpuUsage(cpu).user / 1_000).toBeLessThan(1_000);
  });
});
