import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { KINDS_OF_KUBERNETES } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import type { MeshConfigSource } from '../mesh-config-source.ts';
import { createKubernetesMeshConfigSource } from './mesh-config-source.ts';
import { optionsOf } from './testing.ts';

let server: FakeApiServer;
let source: MeshConfigSource;
beforeEach(async () => {
  server = await createFakeApiServer();
  source = createKubernetesMeshConfigSource({ ...optionsOf(server), namespace: 'istio-system' });
});
afterEach(async () => {
  await source.close();
  await server.close();
});

const put = (mesh: string, meshNetworks = 'networks: {}'): unknown =>
  server.put(KINDS_OF_KUBERNETES.ConfigMap, { metadata: { name: 'istio', namespace: 'istio-system' }, data: { mesh, meshNetworks } });

describe('createKubernetesMeshConfigSource', () => {
  it('has the defaults until there is a ConfigMap, and follows it', async () => {
    await source.start();
    expect(source.snapshot.value.meshConfig.trustDomain).toBe('cluster.local');
    put('trustDomain: one.example');
    await source.snapshot.until(({ meshConfig }) => meshConfig.trustDomain === 'one.example');
    server.remove(KINDS_OF_KUBERNETES.ConfigMap, { name: 'istio', namespace: 'istio-system' });
    await source.snapshot.until(({ meshConfig }) => meshConfig.trustDomain === 'cluster.local');
  });

  it('keeps the last valid one, and says what is wrong and where', async () => {
    put('trustDomain: one.example');
    await source.start();
    put('trustDomain: [');
    const { meshConfig, diagnostics } = await source.snapshot.until((snapshot) => snapshot.diagnostics.length > 0);
    expect(meshConfig.trustDomain).toBe('one.example');
    expect(diagnostics[0]).toMatchObject({ code: 'yaml-syntax', position: { file: 'ConfigMap/istio-system/istio' } });
  });

  it('says that networks have no effect, where there are any', async () => {
    put('');
    await source.start();
    expect(source.snapshot.value.diagnostics).toEqual([]);
    put('', 'networks: { one: { endpoints: [] } }');
    const { diagnostics } = await source.snapshot.until((snapshot) => snapshot.diagnostics.length > 0);
    expect(diagnostics).toMatchObject([{ code: 'unsupported-field', message: expect.stringContaining('meshNetworks') }]);
  });
});
