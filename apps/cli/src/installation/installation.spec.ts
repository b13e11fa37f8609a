import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { renderCrds, renderInstallation, valuesOf } from '@mizzen/manifests';
import { KIND_NAMES } from '@mizzen/mesh-api';
import { applyObjects, pruneObjects } from './apply-installation.ts';
import { differences } from './differences.ts';
import { removeInstallation } from './remove-installation.ts';
import { untilNamespacesMayBeUsed, untilNoKindEnds } from './until-gone.ts';
import { type DeploymentObject, isReady, waitUntilReady } from './wait-until-ready.ts';

const { ConfigMap, CustomResourceDefinition, Deployment, Event, Lease, Namespace, Pod, Secret } = KINDS_OF_KUBERNETES;
const namespace = 'istio-system';

let server: FakeApiServer;
let lines: string[];
beforeEach(async () => {
  server = await createFakeApiServer();
  lines = [];
});
afterEach(() => server.close());

const message = (line: string): void => void lines.push(line);
const install = (profile: 'default' | 'demo' | 'minimal'): Promise<void> =>
  applyObjects(server.client, renderInstallation(valuesOf(profile)));

/** What the Deployment controller would write. */
function makeReady(name: string): void {
  const deployment = server.object<DeploymentObject>(Deployment, { name, namespace }) as DeploymentObject;
  const replicas = deployment.spec.replicas ?? 1;
  const status = { observedGeneration: 99, replicas, updatedReplicas: replicas, availableReplicas: replicas };
  server.put(Deployment, { ...deployment, status });
}

describe('waiting for an installation', () => {
  const objects = renderInstallation(valuesOf('minimal'));

  it('gives a line for each component and ends when all are ready', async () => {
    await applyObjects(server.client, objects);
    for (const name of ['mizzen-ca', 'mizzen-control-plane', 'mizzen-injector']) makeReady(name);
    await waitUntilReady(server.client, objects, { clock: systemClock, timeoutMs: 20_000, message });
    expect(lines.map((line) => line.replace(/\(\d+ s\)$/, '(some s)'))).toEqual([
      'mizzen-ca: 2 of 2 ready (some s)',
      'mizzen-control-plane: 2 of 2 ready (some s)',
      'mizzen-injector: 2 of 2 ready (some s)',
    ]);
  });

  it('says of each that is not ready why: its pods, what holds them up, the last warning', async () => {
    await applyObjects(server.client, objects);
    makeReady('mizzen-ca');
    makeReady('mizzen-injector');
    server.put(Pod, podThatCannotStart());
    server.put(Event, {
      metadata: { name: 'e1', namespace },
      type: 'Warning',
      reason: 'Failed',
      message: 'no such image',
      involvedObject: { name: 'mizzen-control-plane-1' },
    });
    const waiting = waitUntilReady(server.client, objects, { clock: systemClock, timeoutMs: 0, message });
    const { message: text } = (await waiting.catch((thrown: unknown) => thrown)) as Error;
    expect(text).toContain('mizzen-control-plane: 0 of 2 ready');
    expect(text).toContain('pod mizzen-control-plane-1: Pending');
    expect(text).toContain('container control-plane: ImagePullBackOff: cannot pull, restarted 2 times');
    expect(text).toContain('event: Failed: no such image');
    expect(text).not.toContain('mizzen-ca:');
  });

  it.each<readonly [what: string, status: NonNullable<DeploymentObject['status']>, ready: boolean]>([
    ['all pods are new and available', { observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2 }, true],
    ['the controller has not seen the change', { observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2 }, false],
    ['an old pod is left', { observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3 }, false],
    ['a new pod is not available', { observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1 }, false],
  ])('knows a Deployment where %s', (_, status, ready) => {
    const deployment: DeploymentObject = {
      metadata: { name: 'a', generation: 2 },
      spec: { replicas: 2, selector: { matchLabels: {} } },
      status,
    };
    expect(isReady(deployment)).toBe(ready);
  });
});

describe('an installation into a namespace that is being deleted', () => {
  const objects = renderInstallation(valuesOf('minimal'));
  const ending = { metadata: { name: namespace, deletionTimestamp: '2026-01-01T00:00:00Z' } };

  it('waits until it is gone, and says so once', async () => {
    server.put(Namespace, ending);
    const tell = (line: string): void => {
      message(line);
      server.remove(Namespace, { name: namespace });
    };
    await untilNamespacesMayBeUsed(server.client, objects, { clock: systemClock, timeoutMs: 20_000, message: tell });
    expect(lines).toEqual(['the namespace istio-system is being deleted; waiting until it is gone']);
  });

  it('gives up after its time, with what to look at', async () => {
    server.put(Namespace, ending);
    const waiting = untilNamespacesMayBeUsed(server.client, objects, { clock: systemClock, timeoutMs: 0, message });
    await expect(waiting).rejects.toThrow('`kubectl get namespace istio-system -o yaml` says why');
  });

  it('does not wait where the namespace lives or is not there yet', async () => {
    const options = { clock: systemClock, timeoutMs: 0, message };
    await untilNamespacesMayBeUsed(server.client, objects, options);
    server.put(Namespace, { metadata: { name: namespace } });
    await untilNamespacesMayBeUsed(server.client, objects, options);
    expect(lines).toEqual([]);
  });
});

describe('an installation of kinds that are being deleted', () => {
  const [crd] = renderCrds() as [KubeObject];
  const ending = { ...crd, metadata: { ...crd.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };

  it('waits until they are gone', async () => {
    server.put(CustomResourceDefinition, ending);
    let looks = 0;
    server.onRequest(() => {
      if (++looks === 2) server.remove(CustomResourceDefinition, ending.metadata);
    });
    await untilNoKindEnds(server.client, { clock: systemClock, timeoutMs: 20_000 });
    expect(looks).toBe(2);
  });

  it('gives up after its time, with what to look at', async () => {
    server.put(CustomResourceDefinition, ending);
    const waiting = untilNoKindEnds(server.client, { clock: systemClock, timeoutMs: 0 });
    await expect(waiting).rejects.toThrow(`the kind ${crd.metadata.name} does not end; `);
  });
});

describe('a second installation', () => {
  it('takes away what is no longer in it and leaves what others made', async () => {
    await install('demo');
    server.put(ConfigMap, { metadata: { name: 'mine', namespace } });
    const wanted = renderInstallation(valuesOf('minimal'));
    await applyObjects(server.client, wanted);
    const pruned = await pruneObjects(server.client, wanted, 'default');
    expect(pruned).toEqual(
      expect.arrayContaining(['Deployment istio-system/istio-egressgateway', 'Service istio-system/istio-ingressgateway']),
    );
    expect(pruned.some((name) => name.includes('control-plane'))).toBe(false);
    expect(server.object(Deployment, { name: 'istio-egressgateway', namespace })).toBeUndefined();
    expect(server.object(ConfigMap, { name: 'mine', namespace })).toBeDefined();
  });

  it('keeps what the injector made of the failure policy of validation', async () => {
    const kind = KINDS_OF_KUBERNETES.ValidatingWebhookConfiguration;
    const name = { name: 'istio-validator-istio-system' };
    await install('minimal');
    const before = server.object<KubeObject & { webhooks: object[] }>(kind, name);
    server.put(kind, {
      ...before,
      metadata: before?.metadata ?? name,
      webhooks: before?.webhooks.map((hook) => ({ ...hook, failurePolicy: 'Fail' })),
    });
    await install('minimal');
    const after = server.object<KubeObject & { webhooks: { failurePolicy: string }[] }>(kind, name);
    expect(after?.webhooks.map(({ failurePolicy }) => failurePolicy)).toEqual(['Fail', 'Fail']);
  });

  it('is compared with what is there', async () => {
    const objects = renderInstallation(valuesOf('minimal'));
    await applyObjects(server.client, objects);
    server.remove(ConfigMap, { name: 'istio', namespace });
    expect(await differences(server.client, objects)).toContain('ConfigMap istio-system/istio: is missing');
  });
});

describe('the end of an installation', () => {
  const options = { namespace, revision: undefined, purge: false, clock: systemClock, timeoutMs: 20_000, message };

  async function removeAll(changes: Partial<typeof options> = {}): Promise<void> {
    await removeInstallation(server.client, { ...options, ...changes });
  }

  it('takes away what was installed and what it wrote', async () => {
    await install('default');
    for (const name of ['default', namespace]) server.put(ConfigMap, { metadata: { name: 'istio-ca-root-cert', namespace: name } });
    server.put(Secret, { metadata: { name: 'istio-ca-secret', namespace } });
    server.put(Lease, { metadata: { name: 'mizzen-control-plane-leader', namespace } });
    await removeAll();
    const left = Object.values(KINDS_OF_KUBERNETES).flatMap((kind) =>
      server.objects(kind).map(({ metadata }) => `${kind.kind} ${metadata.name}`),
    );
    expect(left).toEqual([]);
    expect(lines[0]).toContain('MutatingWebhookConfiguration');
    expect(lines.at(-1)).toBe('Namespace: istio-system deleted');
  });

  it('leaves the namespace where others have objects in it, and says whose', async () => {
    await install('default');
    server.put(Secret, { metadata: { name: 'cacerts', namespace } });
    await removeAll();
    expect(server.object(Namespace, { name: namespace })).toBeDefined();
    expect(lines.at(-1)).toBe('Namespace: istio-system stays, because others have objects in it: Secret cacerts');
  });

  it('leaves the kinds unless they are purged', async () => {
    await applyObjects(server.client, renderCrds());
    await install('default');
    await removeAll();
    expect(server.objects(CustomResourceDefinition)).toHaveLength(KIND_NAMES.length);
    await removeAll({ purge: true });
    expect(server.objects(CustomResourceDefinition)).toHaveLength(0);
  });

  it('of one revision leaves the other', async () => {
    await install('default');
    await applyObjects(server.client, renderInstallation(valuesOf('revision', { revision: 'canary' })));
    await removeInstallation(server.client, { ...options, revision: 'canary' });
    const names = server.objects(Deployment).map(({ metadata }) => metadata.name);
    expect(names).toContain('mizzen-control-plane');
    expect(names.some((name) => name.includes('canary'))).toBe(false);
  });

  it('takes the tags of its revisions along, and leaves those of others', async () => {
    const kind = KINDS_OF_KUBERNETES.MutatingWebhookConfiguration;
    const tagged = (name: string, labels: Record<string, string>): void =>
      void server.put(kind, { metadata: { name, labels: { 'istio.io/tag': name, 'istio.io/rev': 'default', ...labels } } });
    tagged('ours', { 'app.kubernetes.io/part-of': 'mizzen' });
    tagged('theirs', {});
    await install('minimal');
    expect(server.object(kind, { name: 'ours' })).toBeDefined();
    await removeAll();
    expect(server.objects(kind).map(({ metadata }) => metadata.name)).toEqual(['theirs']);
  });

  it('is no error where there is none', async () => {
    await removeAll({ purge: true });
    expect(lines).toEqual([]);
  });
});

function podThatCannotStart(): KubeObject {
  const waiting = { reason: 'ImagePullBackOff', message: 'cannot pull' };
  return {
    metadata: { name: 'mizzen-control-plane-1', namespace, labels: { app: 'istiod' } },
    status: { phase: 'Pending', containerStatuses: [{ name: 'control-plane', ready: false, restartCount: 2, state: { waiting } }] },
  };
}
