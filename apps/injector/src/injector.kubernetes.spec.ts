import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { readSettings, silentLogger, systemClock } from '@mizzen/core';
import { type Container, injectionWebhooks, type Pod as PodManifest, validationWebhook } from '@mizzen/injection';
import {
  type ConnectedKubeClient,
  connectKubernetes,
  createReflector,
  KINDS_OF_KUBERNETES,
  type KubeKind,
  type KubeObject,
} from '@mizzen/kube';
import { describeOnKubernetes } from '@mizzen/kube/testing';
import { parse } from 'yaml';
import { injectorSettings, type RunningInjector, startInjector } from './index.ts';
import { GATEWAY } from './testing.ts';

const { EndpointSlice, MutatingWebhookConfiguration, Namespace, Node, Pod, Service, ValidatingWebhookConfiguration } = KINDS_OF_KUBERNETES;
const TESTDATA = fileURLToPath(new URL('../../../libs/injection/testdata/', import.meta.url));

const revision = `spec-${process.pid}`;
const meshNamespace = `mizzen-injector-${revision}`;
const appNamespace = `mizzen-injected-${revision}`;
const restrictedNamespace = `mizzen-restricted-${revision}`;
const service = 'injector';

type Injected = KubeObject & PodManifest;

const CRDS = fileURLToPath(new URL('../../../deploy/crds', import.meta.url));

// An injector of its own revision that runs here; the API server reaches it by a Service that leads to this machine.
describeOnKubernetes('the injector on a cluster (needs kubernetes)', () => {
  let client: ConnectedKubeClient;
  let injector: RunningInjector | undefined;

  beforeAll(async () => {
    // What is validated; an installation that was purged took the kinds away.
    const { status, stderr } = spawnSync('kubectl', ['apply', '--server-side', '-k', CRDS], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`the kinds cannot be applied: ${stderr}`);
    client = await connectKubernetes();
    const labels = { 'istio.io/rev': revision };
    await client.create(Namespace, { metadata: { name: meshNamespace } });
    await client.create(Namespace, { metadata: { name: appNamespace, labels } });
    await client.create(Namespace, {
      metadata: { name: restrictedNamespace, labels: { ...labels, 'pod-security.kubernetes.io/enforce': 'restricted' } },
    });
    const argv = ['--webhook-port=0', '--http-port=0', '--drain-delay=0s', `--revision=${revision}`, `--service-name=${service}`];
    const { values } = readSettings(injectorSettings, { argv, env: { POD_NAMESPACE: meshNamespace } });
    injector = await startInjector(values, { client, clock: systemClock, random: Math.random, logger: silentLogger });
    await leadServiceHere(client, injector.ports.webhook);
    const about = { revision, namespace: meshNamespace, service };
    await client.create(MutatingWebhookConfiguration, injectionWebhooks(about) as KubeObject);
    await client.create(ValidatingWebhookConfiguration, validationWebhook(about) as KubeObject);
    await untilWebhooksAreKept(client);
  }, 120_000);

  afterAll(async () => {
    await client.delete(MutatingWebhookConfiguration, { name: `istio-sidecar-injector-${revision}` });
    await client.delete(ValidatingWebhookConfiguration, { name: `istio-validator-${revision}-${meshNamespace}` });
    await injector?.close();
    for (const name of [meshNamespace, appNamespace, restrictedNamespace]) await client.delete(Namespace, { name });
    await client.close();
  }, 60_000);

  const create = (
    namespace: string,
    metadata: Partial<KubeObject['metadata']> = {},
    container: Partial<Container> = {},
  ): Promise<Injected> =>
    client.create<Injected>(
      Pod,
      {
        metadata: { name: 'app', namespace, ...metadata },
        spec: { containers: [{ name: 'app', image: 'app', ...container }] },
      },
      { dryRun: true },
    );

  it('gives pods of a labelled namespace a native sidecar that the API server accepts', async () => {
    const { spec, metadata } = await create(appNamespace);
    expect(spec?.initContainers?.map(({ name, restartPolicy }) => [name, restartPolicy])).toEqual([
      ['istio-init', undefined],
      ['istio-proxy', 'Always'],
    ]);
    expect(metadata.annotations?.['istio.io/rev']).toBe(revision);
  });

  it('takes a single pod in by its label, and leaves one out by its label', async () => {
    const inside = await create('default', { labels: { 'istio.io/rev': revision } });
    expect(inside.spec?.initContainers).toHaveLength(2);
    const outside = await create(appNamespace, { labels: { 'sidecar.istio.io/inject': 'false' } });
    expect(outside.spec?.initContainers).toBeUndefined();
  });

  it('refuses a pod whose annotation cannot be used', async () => {
    const annotations = { 'proxy.istio.io/config': 'concurrency: many' };
    await expect(create(appNamespace, { annotations })).rejects.toThrow(
      /rev\.namespace\.sidecar-injector\.istio\.io.*the sidecar cannot be injected: .*concurrency/,
    );
  });

  it('adds nothing that the Pod Security Standard "restricted" forbids, where nothing has to be captured', async () => {
    const securityContext = {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      runAsNonRoot: true,
      runAsUser: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    };
    const annotations = { 'sidecar.istio.io/interceptionMode': 'NONE' };
    const { spec } = await create(restrictedNamespace, { annotations }, { securityContext });
    expect(spec?.initContainers?.map(({ name }) => name)).toEqual(['istio-proxy']);
    await expect(create(restrictedNamespace, {}, { securityContext })).rejects.toThrow(/istio-init.*NET_ADMIN/);
  });

  const goldens = readdirSync(TESTDATA).filter((file) => file.endsWith('.out.yaml'));
  it.each(goldens)('injects as %s says, which the API server accepts', async (file) => {
    const { pod } = parse(readFileSync(join(TESTDATA, file), 'utf8')) as { pod: PodManifest };
    const { serviceAccountName: _, ...spec } = pod.spec ?? {};
    const { ownerReferences: __, ...metadata } = pod.metadata ?? {};
    const created = await client.request<Injected>({
      method: 'POST',
      path: '/api/v1/namespaces/default/pods',
      query: { dryRun: 'All', fieldValidation: 'Strict' },
      body: { ...pod, metadata: { ...metadata, labels: { ...metadata.labels, 'sidecar.istio.io/inject': 'false' } }, spec },
    });
    expect(created.spec?.containers?.length).toBe(spec.containers?.length);
  });

  it('relies on validation after it was seen to work, and refuses what is invalid with its place', async () => {
    const gateway = {
      metadata: { name: 'g', namespace: appNamespace, labels: { 'istio.io/rev': revision } },
      spec: {
        selector: { istio: 'none' },
        servers: [1, 2].map((number) => ({ port: { number, name: 'same', protocol: 'HTTP' }, hosts: [`${number}.example`] })),
      },
    };
    await expect(client.create(GATEWAY, gateway)).rejects.toThrow(
      /rev\.validation\.istio\.io.*configuration is invalid: spec\.servers\[1\]\.port\.name: the port name "same" is used twice \[IST0106\]/,
    );
  });

  // The last one: the injector is gone after it.
  it('lets no pod into the mesh without a sidecar while it is away, and does not touch others', async () => {
    await injector?.close();
    injector = undefined;
    await expect(create(appNamespace)).rejects.toThrow(/failed calling webhook "rev\.namespace\.sidecar-injector\.istio\.io"/);
    await expect(create(appNamespace, { labels: { 'sidecar.istio.io/inject': 'false' } })).resolves.toMatchObject({ kind: 'Pod' });
    await expect(create('default', { labels: { 'sidecar.istio.io/inject': 'false' } })).resolves.toMatchObject({ kind: 'Pod' });
    const gateway = { metadata: { name: 'g', namespace: appNamespace, labels: { 'istio.io/rev': revision } }, spec: {} };
    await expect(client.create(GATEWAY, gateway)).rejects.toThrow(/failed calling webhook "rev\.validation\.istio\.io"/);
  });
});

async function leadServiceHere(client: ConnectedKubeClient, port: number): Promise<void> {
  const nodes = await client.list<KubeObject & { readonly status?: { readonly addresses?: readonly { type: string; address: string }[] } }>(
    Node,
  );
  const address = nodes[0]?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
  await client.create(Service, {
    metadata: { name: service, namespace: meshNamespace },
    spec: { ports: [{ name: 'https', port: 443, targetPort: port }] },
  });
  await client.create(EndpointSlice, {
    metadata: { name: `${service}-here`, namespace: meshNamespace, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: 'https', port, protocol: 'TCP' }],
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
  });
}

type Configuration = KubeObject & {
  readonly webhooks: readonly { readonly failurePolicy: string; readonly clientConfig: { readonly caBundle?: string } }[];
};

/** Resolves once the injector has told the API server of its CA and made validation binding. */
async function untilWebhooksAreKept(client: ConnectedKubeClient): Promise<void> {
  const areFinal = ({ webhooks }: Configuration): boolean =>
    webhooks.every(({ failurePolicy, clientConfig }) => failurePolicy === 'Fail' && Boolean(clientConfig.caBundle));
  for (const kind of [MutatingWebhookConfiguration, ValidatingWebhookConfiguration] as const satisfies readonly KubeKind[]) {
    const reflector = createReflector<Configuration>({
      client,
      kind,
      labelSelector: `istio.io/rev=${revision}`,
      keep: (object) => object as Configuration,
    });
    reflector.start();
    await reflector.objects.until((objects) => [...objects.values()].some(areFinal));
    await reflector.close();
  }
}
