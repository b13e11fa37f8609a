import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { fillMeshConfig, type Resource } from '@mizzen/mesh-api';
import { buildMeshSnapshot, buildProxyView, type MeshSnapshot, type Workload, withWorkloads } from '@mizzen/model';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { translateClusters, translateOutboundClusters } from './cluster/translate-clusters.ts';
import { translateEndpoints } from './endpoint/translate-endpoints.ts';
import type { TranslatedResource } from './result.ts';
import { translateRoutes } from './route/translate-routes.ts';
import { readCase, viewOf } from './testing/translation-case.ts';

const YAML = `nodes:
  client: { metadata: { HTTP_PROXY_PORT: "1" } }
  replica: { labels: { app: client, version: v2 }, metadata: { HTTP_PROXY_PORT: "2" } }
---
${['a', 'b']
  .map(
    (name) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec:
  hosts: [${name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  workloadSelector: { labels: { app: ${name} } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec: { hosts: [${name}], http: [{ route: [{ destination: { host: ${name}, subset: v1 } }] }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name} }
spec: { host: ${name}, subsets: [{ name: v1, labels: { version: v1 } }] }
`,
  )
  .join('---\n')}`;

const mesh = fillMeshConfig({});
const base = readCase(YAML, 'caching.yaml');
const node = viewOf(base, 'client').node;

function clustersOf(snapshot: MeshSnapshot): readonly TranslatedResource[] {
  return translateClusters(buildProxyView(snapshot, node)).resources;
}

function changed(kind: string, name: string, spec: unknown): Resource[] {
  return base.resources.map((resource) =>
    resource.kind === kind && resource.metadata.name === name ? ({ ...resource, spec } as Resource) : resource,
  );
}

describe('what is translated once', () => {
  it('is shared by proxies of one scope', () => {
    const [client, replica] = [viewOf(base, 'client'), viewOf(base, 'replica')];
    expect(translateOutboundClusters(replica)).toBe(translateOutboundClusters(client));
    expect(translateRoutes(replica, ['http_proxy']).resources[0]).toBe(translateRoutes(client, ['http_proxy']).resources[0]);
  });

  it('is kept where another service changed', () => {
    const before = buildMeshSnapshot({ mesh, resources: base.resources });
    const old = clustersOf(before);
    const after = buildMeshSnapshot(
      {
        mesh,
        resources: changed('DestinationRule', 'a', {
          host: 'a',
          subsets: [{ name: 'v1' }],
          trafficPolicy: { loadBalancer: { simple: 'RANDOM' } },
        }),
      },
      before,
    );
    const same = clustersOf(after).map((cluster) => old.includes(cluster));
    expect(same).toEqual([false, false, true, true, true, true, true]);
  });

  it('has the same version where the content is the same', () => {
    const fresh = readCase(YAML, 'caching.yaml');
    expect(translateRoutes(viewOf(fresh, 'client'), ['http_proxy']).resources[0]?.version).toBe(
      translateRoutes(viewOf(base, 'client'), ['http_proxy']).resources[0]?.version,
    );
    expect(clustersOf(fresh.snapshot).map(({ version }) => version)).toEqual(clustersOf(base.snapshot).map(({ version }) => version));
  });
});

describe('the order of the resources', () => {
  it('changes nothing', () => {
    const all = (resources: readonly Resource[]) => {
      const view = buildProxyView(buildMeshSnapshot({ mesh, resources }), node);
      return [...translateClusters(view).resources, ...translateRoutes(view, ['http_proxy']).resources].map(
        ({ name, version }) => `${name} ${version}`,
      );
    };
    expect(all([...base.resources].reverse())).toEqual(all(base.resources));
  });
});

describe('what must not be kept', () => {
  const routes = (snapshot: MeshSnapshot) => translateRoutes(buildProxyView(snapshot, node), ['http_proxy']).resources[0]?.version;
  const before = buildMeshSnapshot({ mesh, resources: base.resources });

  it.each([
    ['its VirtualService', changed('VirtualService', 'a', { hosts: ['a'], http: [{ route: [{ destination: { host: 'b' } }] }] })],
    [
      'the hash of its destination',
      changed('DestinationRule', 'a', {
        host: 'a',
        subsets: [{ name: 'v1' }],
        trafficPolicy: { loadBalancer: { consistentHash: { useSourceIp: true } } },
      }),
    ],
    [
      'the ports of a destination',
      changed('ServiceEntry', 'a', {
        hosts: ['a.default.svc.cluster.local'],
        location: 'MESH_INTERNAL',
        ports: [{ number: 81, name: 'http', protocol: 'HTTP' }],
        resolution: 'STATIC',
      }),
    ],
  ])('is a route when %s changed', (_, resources) => {
    expect(routes(before)).toBeDefined();
    expect(routes(buildMeshSnapshot({ mesh, resources }, before))).not.toBe(routes(before));
  });

  it('is a cluster when a service account came, and never when only an endpoint did', () => {
    const workload = (name: string, serviceAccount: string): Workload => ({
      ...{ name, namespace: 'default', address: '10.0.0.1', ports: {}, labels: { app: 'a', version: 'v1' } },
      ...{ serviceAccount, locality: '', network: '', weight: 0, tlsMode: 'istio', group: '' },
    });
    const one = withWorkloads(before, [workload('one', 'a')]).snapshot;
    const two = withWorkloads(one, [workload('one', 'a'), workload('two', 'a')]).snapshot;
    const three = withWorkloads(two, [...two.workloads.registered, workload('three', 'b')]).snapshot;
    const [first, second, third] = [one, two, three].map((snapshot) => clustersOf(snapshot)[0]);
    expect(second).toBe(first);
    expect(third?.version).not.toBe(first?.version);
    const endpoints = [one, two].map(
      (snapshot) =>
        translateEndpoints(buildProxyView(snapshot, node), ['outbound|80|v1|a.default.svc.cluster.local']).resources[0]?.version,
    );
    expect(endpoints[0]).toBeDefined();
    expect(endpoints[1]).not.toBe(endpoints[0]);
  });
});

describe('a route that proxies would refuse', () => {
  const route = (value: string) => ({ route: [{ destination: { host: 'a' }, headers: { request: { set: { 'x-share': value } } } }] });
  const http = [{ ...route('%NONSENSE%'), match: [{ uri: { prefix: '/bad' } }] }, route('50%%')];
  const snapshot = buildMeshSnapshot({ mesh, resources: changed('VirtualService', 'a', { hosts: ['a'], http }) });

  it('is left out and named, and every other route is kept', () => {
    const { resources, diagnostics } = translateRoutes(buildProxyView(snapshot, node), ['http_proxy']);
    expect(diagnostics).toMatchObject([{ code: 'IST0106', severity: 'error', resource: { name: 'a' }, path: ['spec', 'http', 0] }]);
    const [proxyRoutes] = resources;
    const { virtualHosts } = fromBinary(RouteConfigurationSchema, proxyRoutes?.body.value ?? new Uint8Array());
    expect(virtualHosts.map(({ routes }) => routes.length)).toEqual([2, 2, 2]);
  });
});

describe('translateEndpoints', () => {
  it('gives nothing for names that are no clusters of the proxy, and an empty assignment for a cluster without endpoints', () => {
    const names = [
      'outbound|80|v9|a.default.svc.cluster.local',
      'outbound|80||gone.default.svc.cluster.local',
      'nonsense',
      'outbound|80||a.default.svc.cluster.local',
    ];
    expect(translateEndpoints(viewOf(base, 'client'), names).resources.map(({ name }) => name)).toEqual([
      'outbound|80||a.default.svc.cluster.local',
    ]);
  });
});
