import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { Running } from '@mizzen/core';
import type { KubeObject } from '@mizzen/kube';
import type { FakeApiServer } from '@mizzen/kube/testing';
import {
  ConfigMap,
  createCluster,
  MutatingWebhookConfiguration,
  NAMESPACE,
  objectUntil,
  post,
  review,
  SERVICE_NAME,
  Secret,
  startTestInjector,
  ValidatingWebhookConfiguration,
} from './testing.ts';

type Configuration = KubeObject & {
  readonly webhooks: readonly { readonly clientConfig: { readonly caBundle?: string }; readonly failurePolicy: string }[];
};

const WEBHOOK_SECRET = { name: 'mizzen-injector-webhook', namespace: NAMESPACE };
const INJECTION = 'istio-sidecar-injector';
const VALIDATION = 'istio-validator-istio-system';
const POD = { metadata: { generateName: 'app-' }, spec: { containers: [{ name: 'app', image: 'app' }] } };

const open: Running[] = [];
function use<T extends Running>(running: T): T {
  open.push(running);
  return running;
}
afterEach(async () => {
  for (const running of open.splice(0).reverse()) await running.close();
});

function caOf(api: FakeApiServer): string {
  const secret = api.object<KubeObject & { readonly data: Record<string, string> }>(Secret, WEBHOOK_SECRET);
  return Buffer.from(secret?.data['ca-cert.pem'] ?? '', 'base64').toString('utf8');
}

function servedCertificate(port: number): Promise<X509Certificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: SERVICE_NAME, rejectUnauthorized: false }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate) resolve(certificate);
    });
    socket.on('error', reject);
  });
}

describe('the injector', () => {
  it('gives a pod its sidecar, over TLS that leads to its own CA', async () => {
    const api = use(await createCluster({ 'mizzen-injector': { values: 'hub: registry.example\ntag: "7"\n' } }));
    const { ports } = use(await startTestInjector(api));
    const { status, body } = await post({
      port: ports.webhook,
      path: '/inject',
      ca: caOf(api),
      body: review({ namespace: 'shop', object: POD }),
    });
    expect({ status, uid: body.response?.uid, allowed: body.response?.allowed }).toEqual({ status: 200, uid: 'u1', allowed: true });
    const patch = JSON.parse(Buffer.from(body.response?.patch ?? '', 'base64').toString('utf8')) as unknown[];
    expect(JSON.stringify(patch)).toContain('registry.example/sidecar:7');
    // One node with 1.34: the sidecar is a native one.
    expect(JSON.stringify(patch)).toContain('"restartPolicy":"Always"');
  });

  it('takes a changed ConfigMap over, and keeps the last good one where it becomes invalid', async () => {
    const api = use(await createCluster({ 'mizzen-injector': { values: 'tag: "1"' } }));
    const { ports } = use(await startTestInjector(api));
    const imageTag = async (): Promise<string | undefined> => {
      const { body } = await post({
        port: ports.webhook,
        path: '/inject',
        ca: caOf(api),
        body: review({ namespace: 'shop', object: POD }),
      });
      return /sidecar:(\w+)/.exec(Buffer.from(body.response?.patch ?? '', 'base64').toString('utf8'))?.[1];
    };
    const updates = async (): Promise<string> => (await fetch(`http://127.0.0.1:${ports.http}/metrics`)).text();
    const until = async (text: RegExp): Promise<void> => {
      while (!text.test(await updates()));
    };
    await until(/galley_validation_config_updates 1/);
    expect(await imageTag()).toBe('1');
    api.put(ConfigMap, { metadata: { name: 'mizzen-injector', namespace: NAMESPACE }, data: { values: 'tag: "2"' } });
    await until(/galley_validation_config_updates 2/);
    expect(await imageTag()).toBe('2');
    api.put(ConfigMap, { metadata: { name: 'mizzen-injector', namespace: NAMESPACE }, data: { values: 'tag: [3]' } });
    await until(/galley_validation_config_update_error 1/);
    expect(await imageTag()).toBe('2');
  });

  it('warns of a pod on the host’s network and leaves it alone', async () => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api));
    const pod = { ...POD, spec: { ...POD.spec, hostNetwork: true } };
    const { body } = await post({ port: ports.webhook, path: '/inject', ca: caOf(api), body: review({ namespace: 'shop', object: pod }) });
    expect(body.response).toMatchObject({ allowed: true, warnings: [expect.stringContaining('uses the network of its host')] });
    expect(body.response?.patch).toBeUndefined();
  });

  it('refuses a pod whose annotation cannot be used, with its name, its value and the rule', async () => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api));
    const pod = { ...POD, metadata: { annotations: { 'traffic.sidecar.istio.io/excludeInboundPorts': 'http' } } };
    const { body } = await post({ port: ports.webhook, path: '/inject', ca: caOf(api), body: review({ namespace: 'shop', object: pod }) });
    expect(body.response).toMatchObject({
      allowed: false,
      status: {
        message:
          'the sidecar cannot be injected: annotation traffic.sidecar.istio.io/excludeInboundPorts must be ports with commas between, not "http"',
      },
    });
  });

  it('refuses an invalid resource with the messages of every other place, and lets a valid one in', async () => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api));
    const kind = { group: 'networking.istio.io', version: 'v1', kind: 'VirtualService' };
    const resource = (spec: unknown): object => ({
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'reviews', namespace: 'default', uid: '1', managedFields: [], generateName: 'r' },
      spec,
    });
    const ask = (spec: unknown): ReturnType<typeof post> =>
      post({ port: ports.webhook, path: '/validate', ca: caOf(api), body: review({ kind, object: resource(spec) }) });
    const wrong = await ask({ hosts: ['reviews'], http: [{ route: [{ destination: { host: 'reviews' }, weight: -1 }] }] });
    expect(wrong.body.response).toMatchObject({ allowed: false });
    expect(wrong.body.response?.status?.message).toMatch(/^configuration is invalid: spec\.http\[0\]\.route\[0\]\.weight: .+ \[IST0106\]/);
    const right = await ask({ hosts: ['reviews'], http: [{ route: [{ destination: { host: 'reviews' } }] }] });
    expect(right.body.response).toMatchObject({ allowed: true });
  });

  it.each([
    ['a body that is no JSON', '{'],
    ['another version', { apiVersion: 'admission.k8s.io/v1beta1', kind: 'AdmissionReview', request: { uid: '1' } }],
    ['no request', { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' }],
    ['nothing', 'null'],
  ])('answers 400 to %s', async (_, body) => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api));
    expect((await post({ port: ports.webhook, path: '/inject', ca: caOf(api), body })).status).toBe(400);
  });

  it('answers what is no pod without a crash', async () => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api));
    for (const object of [null, 'pod', [], { spec: null }, { spec: { containers: null }, metadata: null }, {}]) {
      const { status } = await post({ port: ports.webhook, path: '/inject', ca: caOf(api), body: review({ object }) });
      expect({ object, status }).toEqual({ object, status: 200 });
    }
  });
});

describe('the webhooks’ certificates', () => {
  it('are told to the API server, and again when somebody else changes that', async () => {
    const api = use(await createCluster());
    use(await startTestInjector(api));
    const isPatched = ({ webhooks }: Configuration): boolean =>
      webhooks.every(({ clientConfig }) => Buffer.from(clientConfig.caBundle ?? '', 'base64').toString('utf8') === caOf(api));
    const patched = await objectUntil<Configuration>(api, MutatingWebhookConfiguration, { name: INJECTION, fits: isPatched });
    expect(patched.webhooks).toHaveLength(4);
    await objectUntil<Configuration>(api, ValidatingWebhookConfiguration, { name: VALIDATION, fits: isPatched });
    api.put(MutatingWebhookConfiguration, {
      ...patched,
      webhooks: patched.webhooks.map((webhook) => ({ ...webhook, clientConfig: { ...webhook.clientConfig, caBundle: 'Zm9yZWlnbg==' } })),
    });
    await objectUntil<Configuration>(api, MutatingWebhookConfiguration, { name: INJECTION, fits: isPatched });
  });

  it('come from one CA, however many replicas start at once', async () => {
    const api = use(await createCluster());
    const [a, b] = await Promise.all([startTestInjector(api), startTestInjector(api, { podName: 'injector-b' })]);
    use(a);
    use(b);
    const ca = new X509Certificate(caOf(api));
    for (const { ports } of [a, b]) expect((await servedCertificate(ports.webhook)).checkIssued(ca)).toBe(true);
    expect((await servedCertificate(a.ports.webhook)).fingerprint256).not.toBe((await servedCertificate(b.ports.webhook)).fingerprint256);
  });

  it('lead to the same CA again after the Secret was deleted', async () => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api));
    const before = caOf(api);
    api.remove(Secret, WEBHOOK_SECRET);
    await objectUntil(api, Secret, { ...WEBHOOK_SECRET, fits: () => caOf(api) === before });
    expect((await servedCertificate(ports.webhook)).checkIssued(new X509Certificate(before))).toBe(true);
  });

  it('are replaced where the Secret holds no CA', async () => {
    const api = use(await createCluster());
    api.put(Secret, { metadata: WEBHOOK_SECRET, data: { 'ca-cert.pem': 'bm8=', 'ca-key.pem': 'bm8=' } });
    const { ports } = use(await startTestInjector(api));
    expect((await servedCertificate(ports.webhook)).checkIssued(new X509Certificate(caOf(api)))).toBe(true);
  });

  it('are renewed in time without a restart', async () => {
    const api = use(await createCluster());
    const { ports } = use(await startTestInjector(api, { servingCertificateTtl: 1_500 }));
    const first = await servedCertificate(ports.webhook);
    let next = first;
    while (next.fingerprint256 === first.fingerprint256) next = await servedCertificate(ports.webhook);
    expect(next.checkIssued(new X509Certificate(caOf(api)))).toBe(true);
  });
});

describe('the failure policy of validation', () => {
  const isFail = ({ webhooks }: Configuration): boolean => webhooks.every(({ failurePolicy }) => failurePolicy === 'Fail');

  it('becomes Fail once an invalid resource was seen refused', async () => {
    const api = use(await createCluster({}, { onAdmission: ({ kind }) => (kind === 'Gateway' ? 'invalid' : undefined) }));
    use(await startTestInjector(api));
    const configuration = await objectUntil<Configuration>(api, ValidatingWebhookConfiguration, { name: VALIDATION, fits: isFail });
    expect(configuration.webhooks.every(({ clientConfig }) => clientConfig.caBundle !== undefined)).toBe(true);
  });

  it('stays Ignore while the API server does not ask the webhook', async () => {
    const api = use(await createCluster());
    const asked = new Promise<void>((resolve) => {
      let dryRuns = 0;
      api.onRequest(({ path, query }) => {
        if (path.endsWith('/gateways') && query['dryRun'] === 'All' && ++dryRuns === 2) resolve();
      });
    });
    use(await startTestInjector(api));
    await asked;
    expect(api.object<Configuration>(ValidatingWebhookConfiguration, { name: VALIDATION })?.webhooks[0]?.failurePolicy).toBe('Ignore');
  });
});
