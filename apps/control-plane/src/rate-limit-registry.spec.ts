import { describe, expect, it } from '@jest/globals';
import { Watchable } from '@mizzen/core';
import { fillMeshConfig } from '@mizzen/mesh-api';
import { buildMeshSnapshot } from '@mizzen/model';
import type { MeshInput } from './pipeline.ts';
import { rateLimitRegistry } from './rate-limit-registry.ts';

const meshOf = (rootNamespace: string): MeshInput => ({ mesh: fillMeshConfig({ rootNamespace }), diagnostics: [] });

describe('the registry of the rate limit service', () => {
  it('gives one service with one endpoint, by the name that proxies ask by', () => {
    const { services } = rateLimitRegistry('127.0.0.1:5000', { mesh: new Watchable(meshOf('istio-system')), domain: 'cluster.local' });
    const snapshot = buildMeshSnapshot({ mesh: fillMeshConfig({}), resources: [], services: services.value });
    const [service] = snapshot.services.get('mizzen-rate-limit.istio-system.svc.cluster.local') ?? [];
    if (service === undefined) throw new Error('the service is not in the mesh');
    expect(service).toMatchObject({ namespace: 'istio-system', resolution: 'static', ports: [{ number: 8081, protocol: 'grpc' }] });
    const [endpoints] = snapshot.endpoints.get(service)?.byPort.values() ?? [];
    expect(endpoints).toMatchObject([{ address: '127.0.0.1', port: 5000 }]);
  });

  it('follows the root namespace, looks names up, and refuses what is no address', () => {
    const mesh = new Watchable(meshOf('istio-system'));
    const { services } = rateLimitRegistry('counter:5000', { mesh, domain: 'mesh.local' });
    expect(services.value[0]?.resolution).toBe('dns');
    mesh.set(meshOf('roots'));
    expect(services.value.map(({ host }) => host)).toEqual(['mizzen-rate-limit.roots.svc.mesh.local']);
    for (const address of ['counter', ':1', 'counter:99999'])
      expect(() => rateLimitRegistry(address, { mesh, domain: 'mesh.local' })).toThrow(/is not of the form HOST:PORT/);
  });
});
