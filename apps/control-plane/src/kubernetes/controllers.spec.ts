import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Running, silentLogger, systemClock, Watchable } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, eventually, type FakeApiServer } from '@mizzen/kube/testing';
import { kubeKindOf } from '@mizzen/mesh-api';
import type { IngressStatus } from '@mizzen/sources';
import type { ConfiguredResource, ResourceStatus } from '../resource-status.ts';
import { startControllers } from './controllers.ts';
import { runIngressStatusWriter } from './ingress-status-writer.ts';

const { ConfigMap, Lease, Namespace } = KINDS_OF_KUBERNETES;
const ROOT = 'istio-system';
const BUNDLE = 'istio-ca-root-cert';
const VIRTUAL_SERVICE = kubeKindOf('VirtualService');

describe('the controllers', () => {
  let api: FakeApiServer;
  let running: Running[] = [];
  let resources: ConfiguredResource[] = [];
  const changes = new Watchable(0);
  /** Where other control planes would be asked. */
  let debugPort = 1;

  beforeEach(async () => {
    api = await createFakeApiServer();
    resources = [];
    for (const name of [ROOT, 'default', 'kube-system']) api.put(Namespace, { metadata: { name } });
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((one) => one.close()));
    await api.close();
  });

  function start(podName = 'one', others: readonly (() => Running)[] = []): Running {
    const status = { resources: () => resources, changes: [changes] };
    const context = { client: api.client, namespace: ROOT, clock: systemClock, random: () => 0, logger: silentLogger };
    const started = startControllers({ ...context, podName, debugPort, status, others });
    running.push(started);
    return started;
  }

  describe('for the trust bundle', () => {
    const publish = (pem: string): void =>
      void api.put(ConfigMap, { metadata: { name: BUNDLE, namespace: ROOT }, data: { 'root-cert.pem': pem } });
    const bundleIn = (namespace: string): string | undefined =>
      (api.object<KubeObject>(ConfigMap, { name: BUNDLE, namespace })?.['data'] as Record<string, string> | undefined)?.['root-cert.pem'];
    const hasBundle = (namespace: string, pem: string): Promise<true> => eventually(() => (bundleIn(namespace) === pem ? true : undefined));

    it('puts it into every namespace, new ones too, but not into those of Kubernetes or that are going', async () => {
      api.put(Namespace, { metadata: { name: 'going' }, status: { phase: 'Terminating' } });
      publish('ROOT');
      start();
      await hasBundle('default', 'ROOT');
      api.put(Namespace, { metadata: { name: 'new' } });
      await hasBundle('new', 'ROOT');
      expect([bundleIn('kube-system'), bundleIn('going')]).toEqual([undefined, undefined]);
      expect(api.object<KubeObject>(ConfigMap, { name: BUNDLE, namespace: 'new' })?.metadata.labels).toEqual({ 'istio.io/config': 'true' });
    });

    it('follows the CA, and restores what was changed or deleted', async () => {
      publish('ROOT');
      start();
      await hasBundle('default', 'ROOT');
      publish('ROOT2');
      await hasBundle('default', 'ROOT2');
      api.remove(ConfigMap, { name: BUNDLE, namespace: 'default' });
      await hasBundle('default', 'ROOT2');
      api.put(ConfigMap, { metadata: { name: BUNDLE, namespace: 'default' }, data: { 'root-cert.pem': 'other' } });
      await hasBundle('default', 'ROOT2');
    });

    it('tries again where a namespace refused, and the others have theirs', async () => {
      api.put(Namespace, { metadata: { name: 'other' } });
      publish('ROOT');
      api.failNext(1, { status: 500, path: /namespaces\/other\/configmaps/ });
      start();
      await hasBundle('default', 'ROOT');
      await hasBundle('other', 'ROOT');
    });
  });

  describe('for the status of resources', () => {
    const aVirtualService = (status: Partial<ResourceStatus> = {}, generation = 1): ConfiguredResource =>
      ({
        apiVersion: VIRTUAL_SERVICE.apiVersion,
        kind: 'VirtualService',
        metadata: { name: 'reviews', namespace: 'default', generation },
        spec: {},
        status: { accepted: true, diagnostics: [], appliedTo: 0, ofProxies: 0, ...status },
      }) as ConfiguredResource;
    const object = (): KubeObject | undefined => api.object(VIRTUAL_SERVICE, { name: 'reviews', namespace: 'default' });
    const statusOf = (): Record<string, unknown> | undefined => object()?.['status'] as Record<string, unknown> | undefined;
    const reconciled = (): Record<string, unknown> | undefined =>
      (statusOf()?.['conditions'] as Record<string, unknown>[] | undefined)?.find(({ type }) => type === 'Reconciled');
    const tell = (...next: ConfiguredResource[]): void => {
      resources = next;
      changes.set(changes.value + 1);
    };
    const writes = (): number => api.requests.filter(({ method, path }) => method === 'PATCH' && path.endsWith('/status')).length;

    beforeEach(() => {
      api.put(VIRTUAL_SERVICE, { metadata: { name: 'reviews', namespace: 'default' }, spec: {} });
    });

    it('says to how many proxies a resource is applied, and since when to all', async () => {
      tell(aVirtualService({ appliedTo: 1, ofProxies: 2 }));
      start();
      await eventually(() => (reconciled()?.['status'] === 'False' ? true : undefined));
      expect(statusOf()).toMatchObject({ observedGeneration: 1, validationMessages: [] });
      expect(reconciled()).toMatchObject({ reason: 'Waiting', message: 'applied to 1 of 2 proxies' });
      tell(aVirtualService({ appliedTo: 2, ofProxies: 2 }));
      await eventually(() => (reconciled()?.['status'] === 'True' ? true : undefined));
      expect(reconciled()).toMatchObject({
        message: 'applied to 2 of 2 proxies',
        lastTransitionTime: expect.stringMatching(/^\d{4}-.*Z$/),
      });
    });

    it('gives the diagnostics in the form of Istio', async () => {
      const resource = { kind: 'VirtualService', namespace: 'default', name: 'reviews' };
      const diagnostic = { code: 'IST0101', severity: 'error', message: 'no such host', path: ['spec', 'hosts', 0], resource } as const;
      tell(aVirtualService({ accepted: false, diagnostics: [diagnostic] }));
      start();
      await eventually(reconciled);
      expect(statusOf()?.['validationMessages']).toEqual([
        {
          type: { name: 'something that the resource refers to does not exist', code: 'IST0101' },
          level: 'ERROR',
          documentationUrl: 'https://istio.io/latest/docs/reference/config/analysis/ist0101/',
          message: 'spec.hosts[0]: no such host',
        },
      ]);
      expect(reconciled()).toMatchObject({ status: 'False', reason: 'Rejected', message: 'spec.hosts[0]: no such host' });
    });

    it('writes nothing when nothing is new, and keeps the conditions of others', async () => {
      const foreign = { type: 'Healthy', status: 'True' };
      api.put(VIRTUAL_SERVICE, { metadata: { name: 'reviews', namespace: 'default' }, spec: {}, status: { conditions: [foreign] } });
      tell(aVirtualService({ appliedTo: 1, ofProxies: 1 }));
      const first = start('one');
      await eventually(reconciled);
      expect(statusOf()?.['conditions']).toContainEqual(foreign);
      await first.close();
      running = [];
      // The next leader finds it as it should be; that it looked is seen by its read.
      const before = writes();
      const reads = (): number => api.requests.filter(({ method, path }) => method === 'GET' && path.endsWith('/reviews')).length;
      const readsBefore = reads();
      start('two');
      await eventually(() => (reads() > readsBefore ? true : undefined));
      tell(aVirtualService({ appliedTo: 1, ofProxies: 1 }, 2));
      await eventually(() => (statusOf()?.['observedGeneration'] === 2 ? true : undefined));
      expect(writes()).toBe(before + 1);
    });

    it('takes a resource that is gone, a conflict and a server error for what they are', async () => {
      const gone = { ...aVirtualService(), metadata: { name: 'gone', namespace: 'default' } };
      api.failNext(1, { status: 409, path: /reviews\/status/ });
      api.failNext(1, { status: 500, path: /virtualservices\/reviews/ });
      tell(gone, aVirtualService({ appliedTo: 1, ofProxies: 1 }));
      start();
      await eventually(() => (reconciled()?.['status'] === 'True' ? true : undefined));
    });
  });

  it('say in each Ingress where it is reached, once', async () => {
    const { Ingress } = KINDS_OF_KUBERNETES;
    api.put(Ingress, { metadata: { name: 'web', namespace: 'default' }, spec: {} });
    const statuses = new Watchable<readonly IngressStatus[]>([
      { namespace: 'default', name: 'web', loadBalancer: [{ ip: '203.0.113.1' }] },
      { namespace: 'default', name: 'gone', loadBalancer: [{ ip: '203.0.113.1' }] },
    ]);
    const context = { client: api.client, namespace: ROOT, clock: systemClock, random: () => 0, logger: silentLogger };
    running.push(runIngressStatusWriter(statuses, context));
    const addresses = (): string => JSON.stringify(api.object<KubeObject>(Ingress, { name: 'web', namespace: 'default' })?.['status']);
    await eventually(() => (addresses()?.includes('203.0.113.1') ? true : undefined));
    api.failNext(1, { status: 500, path: /ingresses\/web\/status/ });
    statuses.set([{ namespace: 'default', name: 'web', loadBalancer: [{ hostname: 'lb.example' }] }]);
    await eventually(() => (addresses() === '{"loadBalancer":{"ingress":[{"hostname":"lb.example"}]}}' ? true : undefined));
    const writes = (): number => api.requests.filter(({ method, path }) => method === 'PATCH' && path.includes('/ingresses/')).length;
    const before = writes();
    running.push(runIngressStatusWriter(statuses, context));
    const reads = (): number => api.requests.filter(({ method, path }) => method === 'GET' && path.endsWith('/ingresses/web')).length;
    const readsBefore = reads();
    await eventually(() => (reads() > readsBefore ? true : undefined));
    expect(writes()).toBe(before);
  });

  it('say it anew in an Ingress that was deleted and made again', async () => {
    const { Ingress } = KINDS_OF_KUBERNETES;
    const make = (name: string): void => void api.put(Ingress, { metadata: { name, namespace: 'default' }, spec: {} });
    const status = (name: string): IngressStatus => ({ namespace: 'default', name, loadBalancer: [{ ip: '203.0.113.1' }] });
    const isWritten = (name: string): true | undefined =>
      JSON.stringify(api.object<KubeObject>(Ingress, { name, namespace: 'default' })).includes('203.0.113.1') ? true : undefined;
    const statuses = new Watchable<readonly IngressStatus[]>([status('web')]);
    make('web');
    running.push(
      runIngressStatusWriter(statuses, { client: api.client, namespace: ROOT, clock: systemClock, random: () => 0, logger: silentLogger }),
    );
    await eventually(() => isWritten('web'));
    api.remove(Ingress, { name: 'web', namespace: 'default' });
    make('other');
    statuses.set([status('other')]);
    await eventually(() => isWritten('other'));
    make('web');
    statuses.set([status('other'), status('web')]);
    await eventually(() => isWritten('web'));
  });

  it('count the proxies of the other control planes, as long as they answer', async () => {
    let report = { proxies: 3, resources: { 'VirtualService/default/reviews': [1, 2] }, rejections: [] };
    const peer = createServer((_, response) => response.end(JSON.stringify(report))).listen(0, '127.0.0.1');
    await once(peer, 'listening');
    debugPort = (peer.address() as AddressInfo).port;
    const kind = VIRTUAL_SERVICE;
    api.put(kind, { metadata: { name: 'reviews', namespace: 'default' }, spec: {} });
    const labels = { app: 'istiod' };
    api.put(KINDS_OF_KUBERNETES.Pod, {
      metadata: { name: 'one', namespace: ROOT, labels },
      status: { phase: 'Running', podIP: '127.0.0.9' },
    });
    api.put(KINDS_OF_KUBERNETES.Pod, {
      metadata: { name: 'two', namespace: ROOT, labels },
      status: { phase: 'Running', podIP: '127.0.0.1' },
    });
    resources = [
      {
        apiVersion: kind.apiVersion,
        kind: 'VirtualService',
        metadata: { name: 'reviews', namespace: 'default', generation: 1 } as never,
        spec: {},
        status: { accepted: true, diagnostics: [], appliedTo: 4, ofProxies: 4 },
      },
    ];
    start('one');
    const says = (text: string): Promise<true> =>
      eventually(() => (JSON.stringify(api.object(kind, { name: 'reviews', namespace: 'default' })).includes(text) ? true : undefined));
    await says('applied to 6 of 7 proxies');
    report = { ...report, resources: { 'VirtualService/default/reviews': [1, 3] } };
    await says('applied to 7 of 7 proxies');
    peer.close();
    peer.closeAllConnections();
    api.remove(KINDS_OF_KUBERNETES.Pod, { name: 'two', namespace: ROOT });
    await says('applied to 4 of 4 proxies');
  });

  it('run in one process at a time, and go on in another one when it closes', async () => {
    const events: string[] = [];
    const log = (name: string) => (): Running => {
      events.push(`${name} starts`);
      return { close: async () => void events.push(`${name} ends`) };
    };
    const one = start('one', [log('one')]);
    await eventually(() => (events.length === 1 ? true : undefined));
    start('two', [log('two')]);
    await eventually(() => (api.requests.filter(({ path }) => path.includes('leases')).length > 3 ? true : undefined));
    expect(events).toEqual(['one starts']);
    running = running.slice(1);
    await one.close();
    await eventually(() => (events.length === 3 ? true : undefined));
    expect(events).toEqual(['one starts', 'one ends', 'two starts']);
    expect(api.objects<KubeObject>(Lease)).toMatchObject([{ spec: { holderIdentity: 'two' } }]);
  });
});
