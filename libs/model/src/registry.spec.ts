import { describe, expect, it } from '@jest/globals';
import { fillMeshConfig } from '@mizzen/mesh-api';
import { buildMeshSnapshot, type MeshSnapshot, withWorkloads } from './mesh-snapshot.ts';
import { buildProxyView } from './proxy-view.ts';
import type { Service } from './service.ts';
import { kubernetesService, podOf, resourcesOf, sidecarNode } from './testing.ts';
import type { Workload } from './workload.ts';

const REVIEWS = 'reviews.default.svc.cluster.local';
const service = kubernetesService('reviews', {
  ports: [{ number: 80, name: 'http', protocol: 'http', targetPort: 9080, targetPortName: 'web' }],
});

function snapshotOf(about: { services?: Service[]; workloads?: Workload[]; yaml?: string; domain?: string }): MeshSnapshot {
  const { services = [service], workloads = [], yaml = '' } = about;
  return buildMeshSnapshot({ mesh: fillMeshConfig({}), resources: resourcesOf(yaml), services, workloads });
}

function endpointsOf(snapshot: MeshSnapshot, host = REVIEWS, port = 80): string[] {
  const [first] = snapshot.services.get(host) ?? [];
  const endpoints = first && snapshot.endpoints.get(first)?.byPort.get(port);
  return (endpoints ?? []).map(({ address, port: number, locality }) => `${address}:${number}${locality && ` ${locality}`}`);
}

function scopeOf(snapshot: MeshSnapshot, metadata: Record<string, unknown> = {}) {
  return buildProxyView(snapshot, sidecarNode({ app: 'client' }, { metadata: { INTERCEPTION_MODE: 'REDIRECT', ...metadata } }))
    .outboundScope;
}

describe('endpoints of a service of a registry', () => {
  it('are the workloads that it lists, at the ports that it says, where they are', () => {
    const workloads = [
      podOf('reviews', '10.0.0.1', { ports: { http: 8080 }, locality: 'r/z' }),
      podOf('reviews', '10.0.0.2', { ports: { http: 8081 } }),
      podOf('reviews', '10.0.0.3', { ports: { http: 8080 }, isReady: false }),
      podOf('reviews', '10.0.0.4', { ports: { other: 8080 } }),
    ];
    expect(endpointsOf(snapshotOf({ workloads }))).toEqual(['10.0.0.1:8080 r/z', '10.0.0.2:8081']);
  });

  it('are not other pods with its labels', () => {
    const unlisted = { ...podOf('reviews', '10.0.0.1', {}), endpointOf: [] };
    expect(endpointsOf(snapshotOf({ workloads: [unlisted] }))).toEqual([]);
  });

  it('are WorkloadEntries with its labels, by the name of the target port', () => {
    const yaml = `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: machine }
spec: { address: 10.0.0.9, labels: { app: reviews }, ports: { web: 7000 } }
`;
    expect(endpointsOf(snapshotOf({ yaml, workloads: [podOf('reviews', '10.0.0.1', { ports: { http: 8080 } })] }))).toEqual([
      '10.0.0.1:8080',
      '10.0.0.9:7000',
    ]);
  });

  it('keep their service accounts while they are not ready, so that clusters stay', () => {
    const before = snapshotOf({ workloads: [podOf('reviews', '10.0.0.1', { ports: { http: 8080 } })] });
    const { endpointHosts, clusterHosts } = withWorkloads(before, [
      podOf('reviews', '10.0.0.1', { ports: { http: 8080 }, isReady: false }),
    ]);
    expect([[...endpointHosts], [...clusterHosts]]).toEqual([[REVIEWS], []]);
  });
});

describe('the short cut for workloads of a registry', () => {
  const other = kubernetesService('ratings', {});
  const pods = [podOf('reviews', '10.0.0.1', { ports: { http: 8080 } }), podOf('ratings', '10.0.0.2', { ports: { http: 8080 } })];
  const before = snapshotOf({ services: [service, other], workloads: pods });

  it('names only the services that list a workload which changed', () => {
    const { snapshot, endpointHosts, headlessHosts } = withWorkloads(before, [
      ...pods,
      podOf('ratings', '10.0.0.3', { ports: { http: 8080 } }),
    ]);
    expect([[...endpointHosts], [...headlessHosts]]).toEqual([['ratings.default.svc.cluster.local'], []]);
    expect(snapshot.endpoints.get(service)).toBe(before.endpoints.get(service));
  });

  it('names headless services, and their clusters where mutual TLS came or went', () => {
    const headless = kubernetesService('store', { clusterIp: 'None' });
    const first = snapshotOf({ services: [headless], workloads: [podOf('store', '10.0.0.1', { ports: { http: 80 } })] });
    const add = (address: string, tlsMode: Workload['tlsMode']) =>
      withWorkloads(first, [...first.workloads.registered, { ...podOf('store', address, { ports: { http: 80 } }), tlsMode }]);
    const [same, plain] = [add('10.0.0.2', 'istio'), add('10.0.0.2', 'disabled')];
    expect([...same.headlessHosts, ...same.clusterHosts]).toEqual([headless.host]);
    expect([...plain.headlessHosts, ...plain.clusterHosts]).toEqual([headless.host, headless.host]);
    expect([scopeOf(same.snapshot).isMutual(headless, 80), scopeOf(plain.snapshot).isMutual(headless, 80)]).toEqual([true, false]);
  });
});

describe('a host that several declare', () => {
  const entry = (namespace: string, endpoint: string) => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews, namespace: ${namespace} }
spec:
  hosts: [${REVIEWS}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  endpoints: [{ address: ${endpoint} }]
`;

  it('is that of Kubernetes, for its own namespace and for all others', () => {
    const snapshot = snapshotOf({ yaml: entry('default', '10.0.0.8') + entry('other', '10.0.0.9') });
    const seen = ['default', 'other'].map((namespace) =>
      buildProxyView(snapshot, sidecarNode({ app: 'x' }, { namespace })).outboundScope.servicesByHost.get(REVIEWS),
    );
    expect(seen).toEqual([service, service]);
  });

  it('has the endpoints that a ServiceEntry of its namespace adds, and no other', () => {
    const yaml = entry('default', '10.0.0.8') + entry('other', '10.0.0.9');
    const workloads = [podOf('reviews', '10.0.0.1', { ports: { http: 9080 } })];
    expect(endpointsOf(snapshotOf({ yaml, workloads }))).toEqual(['10.0.0.1:9080', '10.0.0.8:8080']);
  });

  it('has the endpoints of all its ServiceEntries of a namespace where there is no other service', () => {
    const yaml = entry('default', '10.0.0.8') + entry('default', '10.0.0.7').replace('name: reviews', 'name: more');
    expect(endpointsOf(snapshotOf({ services: [], yaml }), REVIEWS, 8080)).toEqual(['10.0.0.7:8080', '10.0.0.8:8080']);
  });
});

describe('a ServiceEntry', () => {
  const yaml = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: entry }
spec:
  hosts: [entry.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: 8080 }]
  workloadSelector: { labels: { app: reviews } }
`;

  it('selects pods that are ready', () => {
    const workloads = [
      podOf('reviews', '10.0.0.1', {}),
      podOf('reviews', '10.0.0.2', { isReady: false }),
      podOf('ratings', '10.0.0.3', {}),
    ];
    const bare = { ...podOf('reviews', '10.0.0.4', {}), endpointOf: [] };
    expect(endpointsOf(snapshotOf({ yaml, workloads: [...workloads, bare] }), 'entry.example.com')).toEqual([
      '10.0.0.1:8080',
      '10.0.0.4:8080',
    ]);
  });

  it('is given an address where proxies answer names', () => {
    const snapshot = snapshotOf({ yaml });
    const addresses = (metadata: Record<string, unknown>) => {
      const scope = scopeOf(snapshot, metadata);
      const found = scope.servicesByHost.get('entry.example.com');
      return found && scope.addressesOf(found);
    };
    expect(addresses({})).toEqual([]);
    expect(addresses({ DNS_CAPTURE: 'true' })).toEqual([expect.stringMatching(/^240\.240\.\d+\.\d+$/)]);
    expect(addresses({ DNS_CAPTURE: true, INSTANCE_IPS: '10.0.0.1,fd00::1' })).toEqual([
      expect.stringMatching(/^240\.240\.\d+\.\d+$/),
      expect.stringMatching(/^2001:2::[0-9a-f]+$/),
    ]);
  });
});

describe('addresses of a service of Kubernetes', () => {
  it('are those of the families that the proxy has', () => {
    const dual: Service = { ...service, addresses: ['10.96.0.1', 'fd00::1'] };
    const snapshot = snapshotOf({ services: [dual] });
    expect(scopeOf(snapshot, { INSTANCE_IPS: '10.0.0.1' }).addressesOf(dual)).toEqual(['10.96.0.1']);
    expect(scopeOf(snapshot, { INSTANCE_IPS: '10.0.0.1,fd00::2' }).addressesOf(dual)).toEqual(['10.96.0.1', 'fd00::1']);
  });
});
