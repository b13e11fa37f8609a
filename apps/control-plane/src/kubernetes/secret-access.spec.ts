import { createPrivateKey, X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Clock, CloseStack, Secret, silentLogger, systemClock, Watchable } from '@mizzen/core';
import {
  assembleSvid,
  createMtlsChannelCredentials,
  createSelfSignedRoot,
  createServerCredentials,
  formatSpiffeId,
  generateKeys,
  type Issuer,
  issueLeaf,
  privateKeyToPem,
  type SpiffeId,
  type Svid,
  type TlsIdentity,
  tlsIdentityOf,
} from '@mizzen/identity';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import { defaultMeshConfig, type Resource } from '@mizzen/mesh-api';
import { ScriptedDeltaClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import { type ControlPlane, createControlPlane } from '../control-plane.ts';
import { createClusterSide } from './cluster.ts';

const SECRET_NAME = 'kubernetes://bookinfo-tls';
const identityOf = (namespace: string, serviceAccount: string): SpiffeId =>
  formatSpiffeId({ trustDomain: 'cluster.local', namespace, serviceAccount });
const GATEWAY_USER = 'system:serviceaccount:istio-system:gateway';

const GATEWAY = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'Gateway',
  metadata: {
    name: 'bookinfo',
    namespace: 'istio-system',
    labels: {},
    annotations: {},
    creationTimestamp: '2026-01-01T00:00:00Z',
    generation: 1,
  },
  spec: {
    selector: { istio: 'ingressgateway' },
    servers: [
      { port: { number: 443, name: 'https', protocol: 'HTTPS' }, hosts: ['*'], tls: { mode: 'SIMPLE', credentialName: 'bookinfo-tls' } },
    ],
  },
} as unknown as Resource;

describe('the secrets of gateways in a cluster', () => {
  let api: FakeApiServer;
  let allowed: Set<string>;
  let controlPlane: ControlPlane;
  let port: number;
  let issuer: Issuer;
  let rootPem: string;
  let passMinute: () => void;
  const stack = new CloseStack();
  const credentials = new Watchable({
    credentials: new Map([
      ['istio-system/bookinfo-tls', { certChainPem: 'CERT', privateKey: new Secret('KEY') }],
      ['default/other', { certChainPem: 'OTHER', privateKey: new Secret('OTHER KEY') }],
    ]),
    diagnostics: [],
  });

  beforeEach(async () => {
    allowed = new Set([GATEWAY_USER]);
    api = await createFakeApiServer({ onSubjectAccessReview: (spec) => ({ allowed: allowed.has(String(spec['user'])) }) });
    const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now: Date.now() });
    rootPem = root.certificatePem;
    issuer = { certificate: new X509Certificate(rootPem), privateKey: createPrivateKey(root.privateKeyPem) };
    let skippedMs = 0;
    const due: (() => void)[] = [];
    // Minutes pass when the test says so; everything shorter is real.
    const clock: Clock = {
      ...systemClock,
      monotonic: () => systemClock.monotonic() + skippedMs,
      after(delayMs, callback) {
        if (delayMs < 50_000) return systemClock.after(delayMs, callback);
        due.push(callback);
        return { cancel: () => void due.splice(due.indexOf(callback) >>> 0, 1) };
      },
    };
    passMinute = () => {
      skippedMs += 60_000;
      for (const callback of due.splice(0)) callback();
    };
    const context = { client: api.client, namespace: 'istio-system', clock, random: () => 0, logger: silentLogger };
    const cluster = createClusterSide({
      ...context,
      podName: 'istiod-1',
      debugPort: 1,
      disconnectGraceMs: 10_000,
      ingressStatuses: new Watchable([]),
    });
    controlPlane = createControlPlane({
      ...cluster.options,
      sources: {
        config: new Watchable({ resources: [GATEWAY], diagnostics: [] }),
        mesh: new Watchable({ mesh: defaultMeshConfig(), diagnostics: [] }),
        credentials,
      } as never,
      clock: systemClock,
      logger: silentLogger,
      version: '0',
      hasIdentity: true,
      debounceQuietMs: 1,
      debounceMaxMs: 10,
      disconnectGraceMs: 1000,
      registrationSettleMs: 0,
      staleAfterMs: 5000,
    });
    stack.use(api);
    stack.use(controlPlane);
    stack.use(cluster.start(controlPlane));
    controlPlane.start();
    const identity = new Watchable<TlsIdentity | undefined>(tlsIdentityOf(await svidOf(identityOf('istio-system', 'istiod'))));
    const server = createServerCredentials(identity, { clientCertificate: 'required' });
    stack.defer(() => server.stop());
    port = await controlPlane.listenXds({ host: '127.0.0.1', port: 0, credentials: server });
  });
  afterEach(() => stack.close());

  async function svidOf(spiffeId: SpiffeId): Promise<Svid> {
    const { publicKey, privateKey } = await generateKeys();
    const now = Date.now();
    const leaf = issueLeaf(issuer, {
      publicKey,
      names: { uris: [spiffeId] },
      validity: { notBefore: now - 1000, notAfter: now + 3_600_000 },
    });
    return assembleSvid({ chainPem: leaf + rootPem, privateKeyPem: privateKeyToPem(privateKey), issuedAt: now, now });
  }

  /** A proxy that says what it likes of itself, and proves an identity. */
  async function connect(
    about: { type: 'router' | 'sidecar'; namespace: string; serviceAccount: string },
    proven = identityOf(about.namespace, about.serviceAccount),
  ): Promise<ScriptedDeltaClient> {
    const client = new ScriptedDeltaClient({
      address: `127.0.0.1:${port}`,
      channelCredentials: createMtlsChannelCredentials(await svidOf(proven), identityOf('istio-system', 'istiod')),
      node: {
        id: `${about.type}~10.0.0.1~pod.${about.namespace}~${about.namespace}.svc.cluster.local`,
        metadata: { NAMESPACE: about.namespace, SERVICE_ACCOUNT: about.serviceAccount, LABELS: { istio: 'ingressgateway' } },
      },
    });
    stack.defer(() => client.drop());
    return client;
  }

  const gateway = { type: 'router', namespace: 'istio-system', serviceAccount: 'gateway' } as const;
  const reviewsAsked = (): number => api.requests.filter(({ path }) => path.endsWith('/subjectaccessreviews')).length;

  it('go to the gateway that may list Secrets in its namespace', async () => {
    const client = await connect(gateway);
    client.request(TYPE_URL.secret, { subscribe: [SECRET_NAME] });
    const response = await client.expectResponse(TYPE_URL.secret);
    expect(response.names).toEqual([SECRET_NAME]);
    const asked = api.requests.find(({ path }) => path.endsWith('/subjectaccessreviews'))?.body;
    expect(asked).toMatchObject({
      spec: { user: GATEWAY_USER, resourceAttributes: { namespace: 'istio-system', verb: 'list', resource: 'secrets' } },
    });
  });

  it.each([
    ['reviews, a sidecar', { type: 'sidecar', namespace: 'default', serviceAccount: 'reviews' }],
    ['reviews, that calls itself a gateway', { type: 'router', namespace: 'default', serviceAccount: 'reviews' }],
    ['a workload of the namespace that may not list Secrets', { type: 'router', namespace: 'istio-system', serviceAccount: 'other' }],
  ] as const)('do not go to %s', async (_, about) => {
    allowed.add('system:serviceaccount:default:reviews');
    const client = await connect(about);
    client.request(TYPE_URL.secret, { subscribe: [SECRET_NAME] });
    const response = await client.expectResponse(TYPE_URL.secret);
    expect(response.names).toEqual([]);
    expect(response.removed).toEqual([SECRET_NAME]);
  });

  it('do not go to reviews that says that it is the gateway', async () => {
    const client = await connect(gateway, identityOf('default', 'reviews'));
    client.request(TYPE_URL.secret, { subscribe: [SECRET_NAME] });
    expect((await client.expectEnd()).code).toBe(7);
  });

  it('are asked for once for many streams, and again after a minute; what is withdrawn is taken back', async () => {
    const clients = [await connect(gateway), await connect(gateway)];
    for (const client of clients) {
      client.request(TYPE_URL.secret, { subscribe: [SECRET_NAME] });
      client.ack(await client.expectResponse(TYPE_URL.secret));
    }
    expect(reviewsAsked()).toBe(1);
    allowed.clear();
    passMinute();
    for (const client of clients) expect((await client.expectResponse(TYPE_URL.secret)).removed).toEqual([SECRET_NAME]);
    expect(reviewsAsked()).toBe(2);
  });

  it('stay with who has them while the API server is away', async () => {
    const client = await connect(gateway);
    client.request(TYPE_URL.secret, { subscribe: [SECRET_NAME] });
    client.ack(await client.expectResponse(TYPE_URL.secret));
    api.failNext(1, { status: 500, path: /subjectaccessreviews/ });
    passMinute();
    // Asked again after the failure, with the same answer; the next thing that the gateway hears of is the new certificate.
    await new Promise<void>((resolve) =>
      api.onRequest(({ path }) => path.endsWith('/subjectaccessreviews') && reviewsAsked() >= 2 && resolve()),
    );
    credentials.set({
      credentials: new Map([['istio-system/bookinfo-tls', { certChainPem: 'NEW', privateKey: new Secret('KEY') }]]),
      diagnostics: [],
    });
    const response = await client.expectResponse(TYPE_URL.secret);
    expect([response.names, response.removed]).toEqual([[SECRET_NAME], []]);
  });
});
