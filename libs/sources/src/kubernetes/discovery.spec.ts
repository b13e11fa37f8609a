import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Watchable } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { fillMeshConfig, kubeKindOf, type MeshConfig } from '@mizzen/mesh-api';
import { createKubernetesConfigSource } from './config-source.ts';
import { createDiscovery, type Discovery, fitsSelector } from './discovery.ts';
import { createKubernetesRegistry } from './registry.ts';
import { optionsOf, putPod, putService } from './testing.ts';

describe('fitsSelector', () => {
  it.each<[unknown, boolean]>([
    [{}, true],
    [{ matchLabels: { team: 'a' } }, true],
    [{ matchLabels: { team: 'b' } }, false],
    [{ matchExpressions: [{ key: 'team', operator: 'In', values: ['a', 'c'] }] }, true],
    [{ matchExpressions: [{ key: 'other', operator: 'NotIn', values: ['x'] }] }, true],
    [{ matchExpressions: [{ key: 'team', operator: 'DoesNotExist' }] }, false],
    [{ matchExpressions: [{ key: 'team', operator: 'Exists' }], matchLabels: { env: 'test' } }, true],
    [{ matchExpressions: [{ key: 'team', operator: 'Like' }] }, false],
    ['text', false],
  ])('%j: %s', (selector, fits) => {
    expect(fitsSelector(selector, { team: 'a', env: 'test' })).toBe(fits);
  });
});

describe('createDiscovery', () => {
  let server: FakeApiServer;
  let discovery: Discovery;
  const mesh = new Watchable<{ mesh: MeshConfig }>({ mesh: fillMeshConfig({ rootNamespace: 'istio-system' }) });
  beforeEach(async () => {
    server = await createFakeApiServer();
    for (const name of ['istio-system', 'x', 'y']) putNamespace(name);
    discovery = createDiscovery({ ...optionsOf(server), mesh });
    await discovery.start();
  });
  afterEach(async () => {
    await discovery.close();
    await server.close();
  });
  const putNamespace = (name: string, labels: Record<string, string> = {}): KubeObject =>
    server.put<KubeObject>(KINDS_OF_KUBERNETES.Namespace, { metadata: { name, labels } });
  const discovered = (): string[] => ['istio-system', 'x', 'y', 'new'].filter((name) => discovery.isDiscovered.value(name));

  it('takes everything without selectors, and with them what they select and the root namespace, live', async () => {
    expect(discovered()).toEqual(['istio-system', 'x', 'y', 'new']);
    mesh.set({ mesh: fillMeshConfig({ rootNamespace: 'istio-system', discoverySelectors: [{ matchLabels: { mesh: 'on' } }] }) });
    expect(discovered()).toEqual(['istio-system']);
    putNamespace('y', { mesh: 'on' });
    await (discovery.isDiscovered as Watchable<unknown>).until(() => discovered().includes('y'));

    const registry = createKubernetesRegistry({ ...optionsOf(server), mesh, isDiscovered: discovery.isDiscovered });
    const config = createKubernetesConfigSource({ ...optionsOf(server), isDiscovered: discovery.isDiscovered });
    try {
      putService(server, 's');
      putPod(server, 'p', { ip: '10.0.0.1' });
      for (const namespace of ['x', 'y'])
        server.put<KubeObject>(kubeKindOf('DestinationRule'), { metadata: { name: 'd', namespace }, spec: { host: 'h' } });
      await Promise.all([registry.start(), config.start()]);
      const seen = () => [registry.services.value.length, registry.workloads.value.length, config.snapshot.value.resources.length];
      expect(seen()).toEqual([0, 0, 1]);
      putNamespace('x', { mesh: 'on' });
      await registry.workloads.until(({ length }) => length === 1);
      expect(seen()).toEqual([1, 1, 2]);
    } finally {
      await registry.close();
      await config.close();
    }
  });
});
