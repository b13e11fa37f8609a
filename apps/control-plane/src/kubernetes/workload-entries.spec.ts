import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Running, silentLogger, systemClock } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, eventually, type FakeApiServer } from '@mizzen/kube/testing';
import type { Resource } from '@mizzen/mesh-api';
import type { RegisteredWorkloads } from '../auto-registration.ts';
import { runWorkloadEntryCleanup } from './workload-entry-cleanup.ts';
import { WORKLOAD_ENTRY, WORKLOAD_GROUP } from './workload-entry-object.ts';
import { createWorkloadEntryStore } from './workload-entry-store.ts';

const ROOT = 'istio-system';
const NAME = { name: 'ratings-vm-1', namespace: 'default' };
const CONTROLLER = 'istio.io/workloadController';
const CONNECTED = 'istio.io/connectedAt';
const DISCONNECTED = 'istio.io/disconnectedAt';

function anEntry(about: { address?: string; connectedAt?: number } = {}): Resource<'WorkloadEntry'> {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: {
      ...NAME,
      labels: { app: 'ratings' },
      annotations: {
        'istio.io/autoRegistrationGroup': 'ratings-vm',
        [CONTROLLER]: 'istiod',
        [CONNECTED]: new Date(about.connectedAt ?? Date.now()).toISOString(),
      },
      creationTimestamp: '2026-01-01T00:00:00Z',
      generation: 1,
    },
    spec: { address: about.address ?? '10.0.0.7', ports: { http: 9080 }, serviceAccount: 'ratings' },
  };
}

describe('the WorkloadEntries of agents in a cluster', () => {
  let api: FakeApiServer;
  const stores: RegisteredWorkloads[] = [];
  const running: Running[] = [];
  beforeEach(async () => {
    api = await createFakeApiServer();
    api.put(WORKLOAD_GROUP, { metadata: { name: 'ratings-vm', namespace: 'default' }, spec: {} });
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) store.close();
    await Promise.all(running.splice(0).map((one) => one.close()));
    await api.close();
  });

  function storeOf(podName: string): RegisteredWorkloads {
    const store = createWorkloadEntryStore({ client: api.client, podName, clock: systemClock, random: () => 0, logger: silentLogger });
    stores.push(store);
    return store;
  }

  const entry = (): KubeObject | undefined => api.object(WORKLOAD_ENTRY, NAME);
  const annotation = (name: string): string | undefined => entry()?.metadata.annotations?.[name];
  const isOf = (podName: string): Promise<true> => eventually(() => (annotation(CONTROLLER) === podName ? true : undefined));

  it('are written, owned by the group and marked with the control plane that has the connection', async () => {
    storeOf('one').add(anEntry());
    await isOf('one');
    expect(entry()).toMatchObject({
      metadata: { labels: { app: 'ratings' }, ownerReferences: [{ kind: 'WorkloadGroup', name: 'ratings-vm' }] },
      spec: { address: '10.0.0.7', ports: { http: 9080 }, serviceAccount: 'ratings' },
    });
  });

  it('say that the program is well, where the group has a probe', async () => {
    const others = { type: 'Reconciled', status: 'True' };
    api.put(WORKLOAD_GROUP, { metadata: { name: 'ratings-vm', namespace: 'default' }, spec: { probe: { tcpSocket: { port: 1 } } } });
    api.put(WORKLOAD_ENTRY, { metadata: NAME, spec: {}, status: { conditions: [others] } });
    storeOf('one').add(anEntry());
    const conditions = await eventually(() => {
      const { conditions: found = [] } = (entry()?.['status'] ?? {}) as { conditions?: readonly unknown[] };
      return found.length > 1 ? found : undefined;
    });
    expect(conditions).toEqual([others, { type: 'Healthy', status: 'True', lastTransitionTime: expect.any(String) }]);
  });

  it('follow the agent to where it is now, and are written anew only for a reason', async () => {
    const store = storeOf('one');
    const connectedAt = Date.now();
    store.add(anEntry({ connectedAt }));
    await isOf('one');
    const writes = (): number => api.requests.filter(({ method }) => method === 'PUT').length;
    store.add(anEntry({ connectedAt }));
    store.add(anEntry({ connectedAt, address: '10.0.0.8' }));
    await eventually(() => ((entry()?.['spec'] as Record<string, unknown> | undefined)?.['address'] === '10.0.0.8' ? true : undefined));
    expect(writes()).toBe(1);
  });

  it('are written once the API server is back', async () => {
    api.failNext(2, { status: 503, path: /workloadentries/ });
    storeOf('one').add(anEntry());
    await isOf('one');
  });

  it('go at once when the agent says good-bye', async () => {
    const store = storeOf('one');
    store.add(anEntry());
    await isOf('one');
    store.remove(NAME);
    await eventually(() => (entry() ? undefined : true));
  });

  it('stay for the grace, marked, when the agent is lost, and go then', async () => {
    const store = storeOf('one');
    store.add(anEntry());
    await isOf('one');
    const lostAt = Date.now();
    store.remove(NAME, { afterMs: 300 });
    await eventually(() => annotation(DISCONNECTED));
    expect(annotation(CONNECTED)).toBeUndefined();
    await eventually(() => (entry() ? undefined : true));
    expect(Date.now() - lostAt).toBeGreaterThanOrEqual(299);
  });

  it('are kept when the agent comes back within the grace', async () => {
    const store = storeOf('one');
    store.add(anEntry());
    await isOf('one');
    store.remove(NAME, { afterMs: 60_000 });
    await eventually(() => annotation(DISCONNECTED));
    store.add(anEntry());
    await eventually(() => annotation(CONNECTED));
    expect(annotation(DISCONNECTED)).toBeUndefined();
  });

  it('are left alone by a control plane that the agent left for another', async () => {
    const [one, two] = [storeOf('one'), storeOf('two')];
    one.add(anEntry({ connectedAt: Date.now() - 1000 }));
    await isOf('one');
    two.add(anEntry());
    await isOf('two');
    const asked = (): number => api.requests.filter(({ method, path }) => method === 'GET' && path.endsWith(NAME.name)).length;
    const before = asked();
    one.remove(NAME);
    await eventually(() => (asked() > before ? true : undefined));
    expect(annotation(CONTROLLER)).toBe('two');
    // The late news of an older connection changes nothing either.
    one.add(anEntry({ connectedAt: Date.now() - 60_000 }));
    await eventually(() => (asked() > before + 1 ? true : undefined));
    expect(annotation(CONTROLLER)).toBe('two');
  });

  describe('whose control plane is gone', () => {
    function clean(graceMs: number): void {
      const context = { client: api.client, namespace: ROOT, clock: systemClock, random: () => 0, logger: silentLogger };
      running.push(runWorkloadEntryCleanup({ ...context, graceMs }));
    }
    const put = (annotations: Record<string, string>, name = NAME.name): void =>
      void api.put(WORKLOAD_ENTRY, {
        metadata: { name, namespace: 'default', annotations: { 'istio.io/autoRegistrationGroup': 'ratings-vm', ...annotations } },
        spec: {},
      });

    it('are marked as disconnected', async () => {
      put({ [CONTROLLER]: 'gone', [CONNECTED]: new Date().toISOString() });
      clean(10_000);
      await eventually(() => annotation(DISCONNECTED));
      expect(annotation(CONNECTED)).toBeUndefined();
    });

    it('are removed after the grace, and those of others are not touched', async () => {
      api.put(KINDS_OF_KUBERNETES.Pod, { metadata: { name: 'alive', namespace: ROOT } });
      put({ [CONTROLLER]: 'alive', [CONNECTED]: new Date().toISOString() }, 'of-one-that-lives');
      put({ [DISCONNECTED]: new Date(Date.now() - 5000).toISOString() }, 'within-the-grace');
      api.put(WORKLOAD_ENTRY, { metadata: { name: 'written-by-hand', namespace: 'default' }, spec: {} });
      put({ [DISCONNECTED]: new Date(Date.now() - 7_200_000).toISOString() });
      clean(3_600_000);
      await eventually(() => (entry() ? undefined : true));
      expect(
        api
          .objects<KubeObject>(WORKLOAD_ENTRY)
          .map(({ metadata }) => metadata.name)
          .sort(),
      ).toEqual(['of-one-that-lives', 'within-the-grace', 'written-by-hand']);
      expect(
        api.object<KubeObject>(WORKLOAD_ENTRY, { name: 'of-one-that-lives', namespace: 'default' })?.metadata.annotations,
      ).toMatchObject({
        [CONNECTED]: expect.any(String),
      });
    });
  });
});
