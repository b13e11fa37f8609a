import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { KIND_NAMES, kubeKindOf } from '@mizzen/mesh-api';
import type { ConfigSource } from '../source.ts';
import { createKubernetesConfigSource } from './config-source.ts';
import { optionsOf } from './testing.ts';

let server: FakeApiServer;
let source: ConfigSource;
beforeEach(async () => {
  server = await createFakeApiServer();
  source = createKubernetesConfigSource(optionsOf(server));
});
afterEach(async () => {
  await source.close();
  await server.close();
});

const DestinationRule = kubeKindOf('DestinationRule');
const rule = (name: string, host: unknown, more: Partial<KubeObject['metadata']> = {}): KubeObject => ({
  metadata: { name, namespace: 'x', ...more },
  spec: { host },
});
const names = (): string[] => source.snapshot.value.resources.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`);
const untilRevision = (revision: number): Promise<unknown> => source.snapshot.until((snapshot) => snapshot.revision >= revision);

describe('createKubernetesConfigSource', () => {
  it('gives all kinds of all namespaces in order, once everything was read', async () => {
    server.put(DestinationRule, rule('b', 'b'));
    server.put(DestinationRule, rule('a', 'a', { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}', mine: '1' } }));
    server.put(kubeKindOf('PeerAuthentication'), { metadata: { name: 'default', namespace: 'y' }, spec: { mtls: { mode: 'STRICT' } } });
    const sizes: number[] = [];
    source.snapshot.watch(({ resources }) => sizes.push(resources.length));
    await source.start();
    expect(names()).toEqual(['DestinationRule x/a', 'DestinationRule x/b', 'PeerAuthentication y/default']);
    expect(sizes).toEqual([3]);
    expect(source.snapshot.value.resources[0]?.metadata.annotations).toEqual({ mine: '1' });
    const listed = server.requests.filter(({ query }) => query['watch'] === undefined);
    expect(listed).toHaveLength(KIND_NAMES.length);
  });

  it('follows changes, keeps objects that did not change, and does not mind their status', async () => {
    server.put(DestinationRule, rule('a', 'a'));
    server.put(DestinationRule, rule('b', 'b'));
    await source.start();
    const [a] = source.snapshot.value.resources;
    server.put(DestinationRule, { ...rule('a', 'a'), status: { observedGeneration: 1 } });
    server.put(DestinationRule, rule('b', 'other'));
    await untilRevision(2);
    expect(source.snapshot.value.resources[0]).toBe(a);
    expect(source.snapshot.value.changes).toMatchObject([{ type: 'upsert', resource: { metadata: { name: 'b', generation: 2 } } }]);
    server.remove(DestinationRule, { namespace: 'x', name: 'a' });
    await untilRevision(3);
    expect(source.snapshot.value.changes).toEqual([{ type: 'delete', ref: { kind: 'DestinationRule', namespace: 'x', name: 'a' } }]);
  });

  it('keeps the last valid version of what becomes invalid, and says so of the object', async () => {
    server.put(DestinationRule, rule('a', 'good'));
    server.put(DestinationRule, rule('never-good', 7));
    await source.start();
    expect(names()).toEqual(['DestinationRule x/a']);
    server.put(DestinationRule, rule('a', 7));
    await untilRevision(2);
    const { resources, diagnostics } = source.snapshot.value;
    expect(resources[0]?.spec).toEqual({ host: 'good' });
    expect(diagnostics.map(({ resource, position }) => [resource?.name, position])).toEqual([
      ['a', undefined],
      ['never-good', undefined],
    ]);
    server.put(DestinationRule, rule('a', 'better'));
    await untilRevision(3);
    expect(source.snapshot.value.resources[0]?.spec).toEqual({ host: 'better' });
  });

  it('starts where no CRD is installed', async () => {
    for (const kind of KIND_NAMES) server.setInstalled(kubeKindOf(kind), false);
    await source.start();
    expect(source.snapshot.value).toMatchObject({ resources: [], revision: 1 });
  });

  it('keeps everything while the API server is away', async () => {
    server.put(DestinationRule, rule('a', 'a'));
    await source.start();
    await server.stop();
    await server.restart();
    server.put(DestinationRule, rule('b', 'b'));
    await source.snapshot.until(({ resources }) => resources.length === 2);
    expect(source.snapshot.value.revision).toBe(2);
  });
});
