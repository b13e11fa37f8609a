import { describe, expect, it } from '@jest/globals';
import { fillMeshConfig } from '@mizzen/mesh-api';
import { buildMeshSnapshot, type MeshSnapshot, withWorkloads } from './mesh-snapshot.ts';
import { buildProxyView } from './proxy-view.ts';
import { resourcesOf, serviceEntry, sidecarNode, snapshotOf } from './testing.ts';
import { type Workload, workloadFromEntry } from './workload.ts';

function workload(name: string, app: string, more: Partial<Workload> = {}): Workload {
  const base = {
    name,
    namespace: 'default',
    address: `10.0.0.${name.length}`,
    ports: {},
    labels: { app },
    locality: '',
    network: '',
    weight: 0,
    group: '',
  };
  return { ...base, serviceAccount: app, tlsMode: 'istio', ...more };
}

function addresses(snapshot: MeshSnapshot, host: string): string[] {
  const [service] = snapshot.services.get(`${host}.default.svc.cluster.local`) ?? [];
  return (
    (service &&
      snapshot.endpoints
        .get(service)
        ?.byPort.get(80)
        ?.map(({ address, port }) => `${address}:${port}`)) ??
    []
  );
}

describe('the short cut for workloads', () => {
  const base = snapshotOf(serviceEntry('a') + serviceEntry('b'));

  it('names only the hosts whose endpoints changed, and shares everything else', () => {
    const one = workload('a1', 'a');
    const first = withWorkloads(base, [one, workload('b1', 'b')]);
    const second = withWorkloads(first.snapshot, [one, ...first.snapshot.workloads.registered.slice(1), workload('a22', 'a')]);
    expect([...second.endpointHosts]).toEqual(['a.default.svc.cluster.local']);
    expect(addresses(second.snapshot, 'a')).toEqual(['10.0.0.2:80', '10.0.0.3:80']);
    expect(second.snapshot.virtualServices).toBe(first.snapshot.virtualServices);
    expect(second.snapshot.services).toBe(first.snapshot.services);
  });

  it('keeps outbound scopes unless a service account came or went', () => {
    const first = withWorkloads(base, [workload('a1', 'a')]);
    expect([...first.clusterHosts]).toEqual(['a.default.svc.cluster.local']);
    const node = sidecarNode({ app: 'client' });
    const scope = buildProxyView(first.snapshot, node).outboundScope;
    const sameAccount = withWorkloads(first.snapshot, [...first.snapshot.workloads.registered, workload('a22', 'a')]);
    expect(sameAccount.clusterHosts.size).toBe(0);
    expect(buildProxyView(sameAccount.snapshot, node).outboundScope).toBe(scope);
    const otherAccount = withWorkloads(sameAccount.snapshot, [
      ...sameAccount.snapshot.workloads.registered,
      workload('a333', 'a', { serviceAccount: 'other' }),
    ]);
    expect([...otherAccount.clusterHosts]).toEqual(['a.default.svc.cluster.local']);
    expect(buildProxyView(otherAccount.snapshot, node).outboundScope).not.toBe(scope);
  });

  it('says that nothing changed where a workload came back as it was', () => {
    const first = withWorkloads(base, [workload('a1', 'a')]);
    const again = withWorkloads(first.snapshot, [workload('a1', 'a')]);
    expect(again.endpointHosts.size + again.clusterHosts.size).toBe(0);
  });

  it('changes the cluster where endpoints stand in it', () => {
    const dns = snapshotOf(serviceEntry('a').replace('resolution: STATIC', 'resolution: DNS'));
    const plain = { serviceAccount: '', tlsMode: 'disabled' as const };
    expect([...withWorkloads(dns, [workload('a1', 'a', plain)]).clusterHosts]).toEqual(['a.default.svc.cluster.local']);
  });
});

describe('endpoints', () => {
  it('take the port that the workload names, otherwise the target port', () => {
    const snapshot = snapshotOf(serviceEntry('a').replace('number: 80,', 'number: 80, targetPort: 8080,'));
    const { snapshot: filled } = withWorkloads(snapshot, [workload('a1', 'a'), workload('a22', 'a', { ports: { http: 40001 } })]);
    expect(addresses(filled, 'a')).toEqual(['10.0.0.2:8080', '10.0.0.3:40001']);
  });

  it('of registered workloads follow the policy for the port of their group', () => {
    const group = `---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: a-v1 }
spec: { template: { ports: { http: 9080 } } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: a }
spec:
  selector: { matchLabels: { app: a } }
  portLevelMtls: { "9080": { mode: DISABLE } }
`;
    const { snapshot } = withWorkloads(snapshotOf(serviceEntry('a') + group), [
      workload('a1', 'a', { group: 'a-v1', ports: { http: 40001 } }),
    ]);
    const [service] = snapshot.services.get('a.default.svc.cluster.local') ?? [];
    expect(service && snapshot.endpoints.get(service)?.byPort.get(80)).toMatchObject([{ port: 40001, tlsMode: 'disabled' }]);
  });

  it('trust the label before the service account', () => {
    const entries = resourcesOf(`
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: one }
spec: { address: 1.1.1.1, serviceAccount: x }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: two, labels: { security.istio.io/tlsMode: disabled } }
spec: { address: 1.1.1.1, serviceAccount: x }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: three }
spec: { address: 1.1.1.1 }
`);
    expect(entries.map((entry) => workloadFromEntry(entry as never).tlsMode)).toEqual(['istio', 'disabled', 'disabled']);
  });
});

describe('a new snapshot', () => {
  const yaml = serviceEntry('a') + serviceEntry('b') + virtualService('a') + virtualService('b') + destinationRule('a');

  it('takes over what did not change', () => {
    const resources = resourcesOf(yaml);
    const mesh = fillMeshConfig({});
    const before = buildMeshSnapshot({ mesh, resources });
    const changed = resources.map((resource) =>
      resource.kind === 'VirtualService' && resource.metadata.name === 'a' ? { ...resource } : resource,
    );
    const after = buildMeshSnapshot({ mesh, resources: changed }, before);
    expect(after.revision).toBe(before.revision + 1);
    expect(after.virtualServices.map((each, index) => each === before.virtualServices[index])).toEqual([false, true]);
    expect(after.services.get('a.default.svc.cluster.local')?.[0]).toBe(before.services.get('a.default.svc.cluster.local')?.[0]);
    expect([...after.endpoints.values()].every((each, index) => each === [...before.endpoints.values()][index])).toBe(true);
    const rule = (snapshot: MeshSnapshot) =>
      buildProxyView(snapshot, sidecarNode({ app: 'x' })).outboundScope.destinationRule('a.default.svc.cluster.local');
    expect(rule(after)).toBe(rule(before));
    expect(rule(after)).toBeDefined();
  });
});

function virtualService(name: string): string {
  return `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec: { hosts: [${name}], http: [{ route: [{ destination: { host: ${name} } }] }] }
`;
}

function destinationRule(name: string): string {
  return `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name} }
spec: { host: ${name}, subsets: [{ name: v1 }] }
`;
}
