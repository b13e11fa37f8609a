import { describe, expect, it } from '@jest/globals';
import { fillMeshConfig, type MeshConfigInput } from '@mizzen/mesh-api';
import { buildMeshSnapshot, buildProxyView, type MeshSnapshot, parseProxyNode, withWorkloads } from '@mizzen/model';
import { translateClusters, translateOutboundClusters } from './cluster/translate-clusters.ts';
import { translateListeners } from './listener/translate-listeners.ts';
import { translateNameTable } from './name-table/translate-name-table.ts';
import type { TranslatedResource } from './result.ts';
import { translateRoutes } from './route/translate-routes.ts';
import { type CasePod, type CaseService, registryOf } from './testing/kubernetes-case.ts';

const SERVICES: readonly CaseService[] = [
  { name: 'web', clusterIP: '10.96.0.1', ports: [{ number: 80, name: 'http' }] },
  { name: 'db', clusterIP: '10.96.0.2', ports: [{ number: 3306, name: 'tcp' }] },
  { name: 'any', clusterIP: '10.96.0.3', ports: [{ number: 7000 }] },
  { name: 'store', clusterIP: 'None', ports: [{ number: 6000, name: 'tcp' }] },
];
const PODS: readonly CasePod[] = [
  { name: 'web-1', ip: '10.244.0.1', labels: { app: 'web' } },
  { name: 'store-1', ip: '10.244.0.2', labels: { app: 'store' } },
];
const { services, workloads } = registryOf(SERVICES, PODS);

function snapshotOf(about: { previous?: MeshSnapshot; services?: typeof services; mesh?: MeshConfigInput } = {}): MeshSnapshot {
  const mesh = about.previous?.mesh ?? fillMeshConfig(about.mesh ?? {});
  return buildMeshSnapshot({ mesh, resources: [], services: about.services ?? services, workloads }, about.previous);
}

function viewOf(snapshot: MeshSnapshot, about: { name?: string; namespace?: string } = {}) {
  const { name = 'client-1', namespace = 'default' } = about;
  const metadata = {
    NAMESPACE: namespace,
    LABELS: { app: name },
    WORKLOAD_NAME: name,
    INTERCEPTION_MODE: 'REDIRECT',
    INSTANCE_IPS: '10.244.9.9',
  };
  const id = `sidecar~10.244.9.9~${name}.${namespace}~${namespace}.svc.cluster.local`;
  return buildProxyView(snapshot, parseProxyNode({ id, userAgentName: 'mizzen', metadata }));
}

/** The listeners that are handed connections: what differs between proxies is only the two that take what the network leads to them. */
function outbound(view: ReturnType<typeof viewOf>): readonly TranslatedResource[] {
  return translateListeners(view).resources.filter(({ name }) => !name.startsWith('virtual'));
}

describe('what captured proxies share', () => {
  const snapshot = snapshotOf();

  it('is everything outbound in one namespace, and the listeners of services everywhere', () => {
    const [one, two, other] = [viewOf(snapshot), viewOf(snapshot, { name: 'client-2' }), viewOf(snapshot, { namespace: 'other' })];
    expect(outbound(two)).toEqual(outbound(one));
    expect(outbound(two).every((listener, index) => listener === outbound(one)[index])).toBe(true);
    expect(translateOutboundClusters(two)).toBe(translateOutboundClusters(one));
    expect(translateNameTable(two).resources).toBe(translateNameTable(one).resources);
    expect(outbound(other).every((listener, index) => listener === outbound(one)[index])).toBe(true);
    expect(translateNameTable(other).resources[0]?.version).toBe(translateNameTable(one).resources[0]?.version);
  });

  it('is less where requests are traced under the name of their workload', () => {
    const mesh: MeshConfigInput = {
      extensionProviders: [{ name: 'otel', opentelemetry: { service: 'otel', port: 4317 } }],
      defaultProviders: { tracing: ['otel'] },
    };
    const traced = snapshotOf({ mesh });
    const [one, two] = [outbound(viewOf(traced)), outbound(viewOf(traced, { name: 'other' }))];
    const same = one.map((listener, index) => [listener.name, listener === two[index]]);
    expect(same).toEqual([
      ['0.0.0.0_80', false],
      ['10.244.0.2_6000', true],
      ['10.96.0.2_3306', true],
      ['10.96.0.3_7000', false],
    ]);
  });
});

describe('what a change leaves as it was', () => {
  const before = snapshotOf();
  const kept = (after: MeshSnapshot, of: (view: ReturnType<typeof viewOf>) => readonly TranslatedResource[]) => {
    const old = new Map(of(viewOf(before)).map((resource) => [resource.name, resource]));
    return of(viewOf(after))
      .filter((resource) => old.get(resource.name) !== resource)
      .map(({ name }) => name);
  };

  it('is everything but endpoints when a pod came', () => {
    const more = registryOf(SERVICES, [...PODS, { name: 'web-2', ip: '10.244.0.3', labels: { app: 'web' } }]).workloads;
    const { snapshot } = withWorkloads(before, [...workloads, ...more.slice(2)]);
    expect(viewOf(snapshot).outboundScope).toBe(viewOf(before).outboundScope);
    expect(kept(snapshot, outbound)).toEqual([]);
    expect(translateNameTable(viewOf(snapshot)).resources).toBe(translateNameTable(viewOf(before)).resources);
  });

  it('is every other listener when an endpoint of a headless service came', () => {
    const more = registryOf(SERVICES, [...PODS, { name: 'store-2', ip: '10.244.0.4', labels: { app: 'store' } }]).workloads;
    const { snapshot } = withWorkloads(before, [...workloads, ...more.slice(2)]);
    expect(kept(snapshot, outbound)).toEqual(['10.244.0.4_6000']);
  });

  it('is what other services have when one changed', () => {
    const changed = services.map((service) => (service.name === 'db' ? { ...service, addresses: ['10.96.0.9'] } : service));
    const after = snapshotOf({ previous: before, services: changed });
    expect(kept(after, outbound)).toEqual(['10.96.0.9_3306']);
    expect(kept(after, (view) => translateClusters(view).resources)).toEqual(['outbound|3306||db.default.svc.cluster.local']);
    const routes = (snapshot: MeshSnapshot) => translateRoutes(viewOf(snapshot), ['80']).resources[0]?.version;
    expect(routes(after)).toBe(routes(before));
  });
});
