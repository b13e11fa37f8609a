import { describe, expect, it } from '@jest/globals';
import type { KubeObject } from '@mizzen/kube';
import { diagnoseServices, keepService, serviceFromKept } from './service.ts';

const context = { domain: 'cluster.local', defaultExportTo: undefined };
const service = (spec: Record<string, unknown>, annotations: Record<string, string> = {}) => {
  const object: KubeObject = { metadata: { name: 's', namespace: 'x', annotations, creationTimestamp: '2026-01-01T00:00:00Z' }, spec };
  return serviceFromKept(keepService(object), context);
};

describe('serviceFromKept', () => {
  it('is named by its cluster domain, has its addresses, and is listed by the registry', () => {
    expect(service({ clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1', 'fd00::1'], selector: { app: 's' } })).toMatchObject({
      host: 's.x.svc.cluster.local',
      name: 's',
      addresses: ['10.96.0.1', 'fd00::1'],
      resolution: 'static',
      isExternal: false,
      endpointSource: 'registry',
      workloadSelector: { app: 's' },
      createdAt: '2026-01-01T00:00:00.000Z',
      source: { kind: 'Service', namespace: 'x', name: 's' },
    });
  });

  it.each([
    ['the prefix of the name', { name: 'grpc-api', port: 90 }, 'grpc'],
    ['appProtocol before the name', { name: 'tcp-web', port: 90, appProtocol: 'http' }, 'http'],
    ["Kubernetes' own appProtocol", { name: 'web', port: 90, appProtocol: 'kubernetes.io/h2c' }, 'http2'],
    ['nothing', { name: 'web', port: 90 }, 'auto'],
    ['a port where the server speaks first', { name: 'db', port: 3306 }, 'tcp'],
  ])('finds the protocol by %s', (_, port, protocol) => {
    expect(service({ ports: [port] }).ports[0]?.protocol).toBe(protocol);
  });

  it('has target ports as numbers, as names, and as the port itself', () => {
    const ports = [
      { name: 'a', port: 80, targetPort: 8080 },
      { name: 'b', port: 81, targetPort: 'web' },
      { name: 'c', port: 82 },
    ];
    expect(service({ ports }).ports).toMatchObject([{ targetPort: 8080 }, { targetPort: 81, targetPortName: 'web' }, { targetPort: 82 }]);
  });

  it('leaves ports out that are not TCP', () => {
    const ports = [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP' },
    ];
    expect(service({ ports }).ports.map(({ name }) => name)).toEqual(['dns-tcp']);
  });

  it('is passed through where it is headless', () => {
    expect(service({ clusterIP: 'None', clusterIPs: ['None'], selector: { app: 's' } })).toMatchObject({
      resolution: 'passthrough',
      addresses: [],
      endpointSource: 'registry',
    });
  });

  it('is a name outside of the mesh where it is an ExternalName', () => {
    const external = service({ type: 'ExternalName', externalName: 'example.com', selector: { app: 's' }, ports: [{ port: 80 }] });
    expect(external).toMatchObject({
      resolution: 'dns',
      isExternal: true,
      workloadSelector: undefined,
      ownWorkloads: [{ address: 'example.com' }],
    });
  });

  it('is seen where its annotation says', () => {
    const visibility = (text: string) => service({}, { 'networking.istio.io/exportTo': text }).visibility;
    expect(visibility('*')).toBe('everywhere');
    expect(visibility('., y')).toEqual(new Set(['x', 'y']));
    expect(visibility('~')).toEqual(new Set());
  });
});

describe('diagnoseServices', () => {
  it('names what the mesh does not heed', () => {
    const spec = { internalTrafficPolicy: 'Local', trafficDistribution: 'PreferClose' };
    const kept = keepService({ metadata: { name: 's', namespace: 'x' }, spec });
    expect(diagnoseServices([kept]).map(({ message }) => message.split(' is valid')[0])).toEqual([
      'spec.internalTrafficPolicy: Local',
      'spec.trafficDistribution: PreferClose',
    ]);
    expect(diagnoseServices([keepService({ metadata: { name: 's' }, spec: { internalTrafficPolicy: 'Cluster' } })])).toEqual([]);
  });
});
