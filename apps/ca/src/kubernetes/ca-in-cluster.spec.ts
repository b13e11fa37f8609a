import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Logger, readSettings, silentLogger, systemClock } from '@mizzen/core';
import {
  createCsr,
  createJoinToken,
  createSelfSignedRoot,
  ensureJoinTokenKey,
  formatSpiffeId,
  generateKeys,
  isSelfSigned,
  requestCertificate,
  spiffeIdOf,
} from '@mizzen/identity';
import { encodeSecretData, KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, eventually, type FakeApiServer } from '@mizzen/kube/testing';
import { freePort } from '@mizzen/testing';
import { type RunningCa, startCa } from '../ca-app.ts';
import { caSettings } from '../settings.ts';
import { createCaHome } from '../testing.ts';

const { ConfigMap, Secret } = KINDS_OF_KUBERNETES;
const NAMESPACE = 'istio-system';
const DAY_MS = 86_400_000;
const REVIEWS = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'reviews' });

/** Of the three forms of answers: a service account, somebody else, nobody. */
function reviewOf(spec: { token?: string; audiences?: readonly string[] }): Record<string, unknown> {
  const names: Record<string, string> = { reviews: 'system:serviceaccount:default:reviews', alice: 'alice' };
  const username = names[spec.token ?? ''];
  if (username === undefined) return { authenticated: false, error: 'token has expired' };
  return { authenticated: true, user: { username }, audiences: spec.audiences };
}

describe('the CA in a cluster', () => {
  let api: FakeApiServer;
  const cas: RunningCa[] = [];
  beforeEach(async () => {
    warnings.length = 0;
    api = await createFakeApiServer({ onTokenReview: reviewOf });
  });
  afterEach(async () => {
    await Promise.all(cas.splice(0).map((ca) => ca.close()));
    await api.close();
  });

  async function start(options: { flags?: readonly string[]; logger?: Logger } = {}): Promise<RunningCa> {
    const argv = ['--kubernetes', '--ca-host', '127.0.0.1', '--ca-port', '0', '--http-port', '0', ...(options.flags ?? [])];
    const { values } = readSettings(caSettings, { argv, env: {} });
    const ca = await startCa(values, { logger: options.logger ?? silentLogger, clock: systemClock, client: api.client });
    cas.push(ca);
    return ca;
  }

  const bundle = (): string | undefined =>
    (api.object<KubeObject>(ConfigMap, { name: 'istio-ca-root-cert', namespace: NAMESPACE })?.['data'] as Record<string, string>)?.[
      'root-cert.pem'
    ];
  const publishedBundle = (isWanted: (pem: string) => boolean = () => true): Promise<string> =>
    eventually(() => {
      const pem = bundle();
      return pem !== undefined && isWanted(pem) ? pem : undefined;
    });

  async function certify(ca: RunningCa, token = 'reviews', rootPem?: string): Promise<X509Certificate> {
    const chainPem = await requestCertificate({
      caAddress: `127.0.0.1:${ca.ports.grpc}`,
      rootPem: rootPem ?? (await publishedBundle()),
      proof: { kind: 'token', token },
      csrPem: createCsr(await generateKeys()),
      ttlMs: 60_000,
      signal: new AbortController().signal,
    });
    return new X509Certificate(chainPem);
  }

  async function aRoot(about: { from?: number; ttlMs?: number } = {}): Promise<{ certificate: string; key: string }> {
    const { certificatePem, privateKeyPem } = await createSelfSignedRoot({
      trustDomain: 'cluster.local',
      now: Date.now() + (about.from ?? 0),
      ...(about.ttlMs !== undefined && { ttlMs: about.ttlMs }),
    });
    return { certificate: certificatePem, key: privateKeyPem };
  }

  function putSecret(name: string, data: Record<string, string>): void {
    api.put(Secret, { metadata: { name, namespace: NAMESPACE }, data: encodeSecretData(data) });
  }

  const selfSigned = (): Record<string, string> =>
    api.object<KubeObject>(Secret, { name: 'istio-ca-secret', namespace: NAMESPACE })?.['data'] as Record<string, string>;

  it('makes one root, however many start at once, and publishes it', async () => {
    const [one, other, third] = await Promise.all([start(), start(), start()]);
    const root = new X509Certificate(await publishedBundle());
    expect(api.objects(Secret)).toHaveLength(1);
    expect(Buffer.from(selfSigned()['ca-cert.pem'] as string, 'base64').toString()).toBe(await publishedBundle());
    for (const ca of [one, other, third]) expect((await certify(ca as RunningCa)).verify(root.publicKey)).toBe(true);
  });

  it('certifies the service account that the cluster says the token is of, as often as it is shown', async () => {
    const ca = await start();
    for (const leaf of [await certify(ca), await certify(ca)]) expect(spiffeIdOf(leaf)).toBe(REVIEWS);
    const reviews = api.requests.filter(({ path }) => path.endsWith('/tokenreviews'));
    expect(reviews).toHaveLength(1);
    expect(reviews[0]?.body).toMatchObject({ spec: { token: 'reviews', audiences: ['istio-ca'] } });
  });

  it.each([
    ['a token that the cluster does not accept', 'garbage', /does not accept the token \(token has expired\)/],
    ['a token that is not of a service account', 'alice', /is that of alice, not of a service account/],
  ])('refuses %s', async (_, token, reason) => {
    const ca = await start();
    await expect(certify(ca, token)).rejects.toMatchObject({ code: 'MIZZEN_IDENTITY', message: expect.stringMatching(reason) });
    const metrics = await (await fetch(`http://127.0.0.1:${ca.ports.http}/metrics`)).text();
    expect(metrics).toContain(`citadel_server_${token === 'alice' ? 'id_extraction_err' : 'authentication_failure'}_count 1`);
  });

  it('says that it cannot tell, not that the caller is wrong, while the API server is away', async () => {
    const ca = await start();
    await publishedBundle();
    api.failNext(1, { status: 503, path: /tokenreviews/ });
    await expect(certify(ca)).rejects.toMatchObject({
      code: 'MIZZEN_CA_UNREACHABLE',
      message: expect.stringMatching(/whose the token is/),
    });
    // A failure is not remembered as an answer.
    expect(spiffeIdOf(await certify(ca))).toBe(REVIEWS);
  });

  it('does not believe an API server that knows nothing of audiences', async () => {
    await api.close();
    api = await createFakeApiServer({ onTokenReview: (spec) => ({ ...reviewOf(spec), audiences: undefined }) });
    await expect(certify(await start())).rejects.toThrow(/not for the audience istio-ca/);
  });

  it('restores the trust bundle that somebody deleted or changed', async () => {
    await start();
    const before = await publishedBundle();
    api.remove(ConfigMap, { name: 'istio-ca-root-cert', namespace: NAMESPACE });
    expect(await publishedBundle()).toBe(before);
    api.put(ConfigMap, { metadata: { name: 'istio-ca-root-cert', namespace: NAMESPACE }, data: { 'root-cert.pem': 'other' } });
    expect(await publishedBundle((pem) => pem !== 'other')).toBe(before);
  });

  it('uses the plugged-in CA, in the form of cert-manager too, and takes up a new one while running', async () => {
    const first = await aRoot();
    putSecret('cacerts', { 'ca-cert.pem': first.certificate, 'ca-key.pem': first.key, 'root-cert.pem': first.certificate });
    const ca = await start();
    expect(await publishedBundle()).toBe(first.certificate);
    expect(selfSigned()).toBeUndefined();
    const second = await aRoot();
    putSecret('cacerts', { 'tls.crt': second.certificate, 'tls.key': second.key, 'ca.crt': second.certificate });
    await publishedBundle((pem) => pem === second.certificate);
    expect((await certify(ca)).verify(new X509Certificate(second.certificate).publicKey)).toBe(true);
  });

  it('prefers a CA that is mounted, and follows its files', async () => {
    const home = await createCaHome();
    const plug = async ({ certificate, key }: { certificate: string; key: string }): Promise<void> => {
      const files = { 'ca-key.pem': key, 'root-cert.pem': certificate, 'ca-cert.pem': certificate };
      // As the kubelet mounts a Secret for a pod with a group of its own.
      for (const [name, content] of Object.entries(files)) await writeFile(join(home.folder, name), content, { mode: 0o640 });
    };
    try {
      await mkdir(home.folder, { recursive: true });
      const [first, second] = [await aRoot(), await aRoot()];
      await plug(first);
      await start({ flags: ['--cacerts-dir', home.folder] });
      expect(await publishedBundle()).toBe(first.certificate);
      await plug(second);
      await publishedBundle((pem) => pem === second.certificate);
      expect(api.objects(Secret)).toEqual([]);
    } finally {
      await home.remove();
    }
  });

  it('reviews tokens with its key in files too, and then writes nothing into the cluster', async () => {
    const home = await createCaHome();
    try {
      const argv = ['--token-review', '--ca-dir', home.folder, '--ca-port', '0', '--http-port', '0'];
      const { values } = readSettings(caSettings, { argv, env: {} });
      const ca = await startCa(values, { logger: silentLogger, clock: systemClock, client: api.client });
      cas.push(ca);
      expect(spiffeIdOf(await certify(ca, 'reviews', await readFile(home.rootFile, 'utf8')))).toBe(REVIEWS);
      expect([...api.objects(Secret), ...api.objects(ConfigMap)]).toEqual([]);
    } finally {
      await Promise.all(cas.splice(0).map((ca) => ca.close()));
      await home.remove();
    }
  });

  it('keeps the CA in force that it has when the Secret breaks or goes', async () => {
    const good = await aRoot();
    const ca = await (async () => {
      putSecret('cacerts', { 'ca-cert.pem': good.certificate, 'ca-key.pem': good.key, 'root-cert.pem': good.certificate });
      return start({ logger });
    })();
    putSecret('cacerts', { 'ca-cert.pem': good.certificate, 'root-cert.pem': good.certificate });
    expect(await warned(/ca-key\.pem of Secret istio-system\/cacerts is missing/)).toBeDefined();
    api.remove(Secret, { name: 'cacerts', namespace: NAMESPACE });
    expect(await warned(/was deleted/)).toBeDefined();
    expect((await certify(ca)).verify(new X509Certificate(good.certificate).publicKey)).toBe(true);
    expect(selfSigned()).toBeUndefined();
  });
  const warnings: string[] = [];
  const logger = Object.assign(Object.create(silentLogger) as Logger, {
    warn: (...parts: unknown[]) => warnings.push(JSON.stringify(parts)),
  });
  const warned = (text: RegExp): Promise<string> => eventually(() => warnings.find((line) => text.test(line)));

  it('waits with /ready, and lives, until there is a key', async () => {
    putSecret('cacerts', { 'ca-cert.pem': 'broken' });
    const port = await freePort();
    const starting = start({ logger, flags: ['--http-port', String(port)] });
    await warned(/ca-key\.pem of Secret|holds no PEM certificate/);
    const statusOf = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
    expect([await statusOf('/healthz'), await statusOf('/ready')]).toEqual([200, 503]);
    const good = await aRoot();
    putSecret('cacerts', { 'ca-cert.pem': good.certificate, 'ca-key.pem': good.key, 'root-cert.pem': good.certificate });
    await starting;
    expect([await statusOf('/healthz'), await statusOf('/ready')]).toEqual([200, 200]);
  });

  it.each([
    ['in the last fifth of its life', { from: -9 * DAY_MS, ttlMs: 10 * DAY_MS }],
    ['that has expired', { from: -20 * DAY_MS, ttlMs: 10 * DAY_MS }],
  ])('renews its own root %s with the same key', async (_, life) => {
    const old = await aRoot(life);
    putSecret('istio-ca-secret', { 'ca-cert.pem': old.certificate, 'ca-key.pem': old.key, 'root-cert.pem': old.certificate });
    const ca = await start();
    const renewed = new X509Certificate(await publishedBundle((pem) => pem !== old.certificate));
    const before = new X509Certificate(old.certificate);
    expect(isSelfSigned(renewed)).toBe(true);
    expect(renewed.publicKey.equals(before.publicKey)).toBe(true);
    expect(renewed.subject).toBe(before.subject);
    expect(Date.parse(renewed.validTo)).toBeGreaterThan(Date.now() + 3000 * DAY_MS);
    const leaf = await certify(ca);
    expect([leaf.verify(renewed.publicKey), leaf.checkIssued(before)]).toEqual([true, true]);
  });

  it('leaves a root alone that has most of its life before it', async () => {
    const young = await aRoot({ from: -7 * DAY_MS, ttlMs: 10 * DAY_MS });
    putSecret('istio-ca-secret', { 'ca-cert.pem': young.certificate, 'ca-key.pem': young.key });
    await certify(await start());
    expect(await publishedBundle()).toBe(young.certificate);
  });

  it('is served under the names of its Service', async () => {
    const ca = await start();
    const rootPem = await publishedBundle();
    for (const servername of ['mizzen-ca.istio-system.svc', 'mizzen-ca.istio-system.svc.cluster.local']) {
      await new Promise<void>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port: ca.ports.grpc, servername, ca: rootPem, ALPNProtocols: ['h2'] }, () => {
          socket.destroy();
          resolve();
        });
        socket.once('error', reject);
      });
    }
  });

  it('takes join tokens beside those of the cluster only where their key is given', async () => {
    const home = await createCaHome();
    try {
      const keyFile = `${home.folder}/key.pem`;
      const { privateKey } = await ensureJoinTokenKey(keyFile);
      const withKey = await start({ flags: ['--join-token-key', keyFile, '--ca-dir', home.folder] });
      const token = (): Promise<string> => createJoinToken(privateKey, { spiffeId: REVIEWS });
      expect(spiffeIdOf(await certify(withKey, await token()))).toBe(REVIEWS);
      expect(spiffeIdOf(await certify(withKey))).toBe(REVIEWS);
      await expect(certify(await start(), await token())).rejects.toThrow(/does not accept the token/);
    } finally {
      await home.remove();
    }
  });
});
