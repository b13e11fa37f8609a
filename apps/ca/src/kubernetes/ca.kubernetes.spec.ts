import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { readSettings, silentLogger, systemClock } from '@mizzen/core';
import { createCsr, formatSpiffeId, generateKeys, requestCertificate, spiffeIdOf } from '@mizzen/identity';
import { type ConnectedKubeClient, connectKubernetes, KINDS_OF_KUBERNETES } from '@mizzen/kube';
import { describeOnKubernetes } from '@mizzen/kube/testing';
import { type RunningCa, startCa } from '../ca-app.ts';
import { caSettings } from '../settings.ts';
import { type CaHome, createCaHome } from '../testing.ts';

const { Namespace, ServiceAccount } = KINDS_OF_KUBERNETES;
const NAMESPACE = `mizzen-ca-spec-${process.pid}`;

// With its key in files: a second CA that publishes a trust bundle would fight with the one that is installed.
describeOnKubernetes('the CA and the tokens of a cluster (needs kubernetes)', () => {
  let client: ConnectedKubeClient;
  let home: CaHome;
  let ca: RunningCa;
  beforeAll(async () => {
    client = await connectKubernetes();
    await client.create(Namespace, { metadata: { name: NAMESPACE } });
    await client.create(ServiceAccount, { metadata: { name: 'reviews', namespace: NAMESPACE } });
    home = await createCaHome();
    const argv = ['--token-review', '--ca-dir', home.folder, '--ca-port', '0', '--http-port', '0'];
    ca = await startCa(readSettings(caSettings, { argv, env: {} }).values, { logger: silentLogger, clock: systemClock, client });
  });
  afterAll(async () => {
    await ca?.close();
    await home?.remove();
    await client.delete(Namespace, { name: NAMESPACE });
    await client.close();
  });

  async function tokenFor(audience: string): Promise<string> {
    const { status } = await client.request<{ status: { token: string } }>({
      method: 'POST',
      path: `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/reviews/token`,
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [audience], expirationSeconds: 600 } },
    });
    return status.token;
  }

  async function certify(token: string): Promise<X509Certificate> {
    const chainPem = await requestCertificate({
      caAddress: `127.0.0.1:${ca.ports.grpc}`,
      rootPem: await readFile(home.rootFile, 'utf8'),
      proof: { kind: 'token', token },
      csrPem: createCsr(await generateKeys()),
      ttlMs: 60_000,
      signal: new AbortController().signal,
    });
    return new X509Certificate(chainPem);
  }

  it('certifies the service account of a token, as often as it is shown', async () => {
    const token = await tokenFor('istio-ca');
    const expected = formatSpiffeId({ trustDomain: 'cluster.local', namespace: NAMESPACE, serviceAccount: 'reviews' });
    for (const leaf of [await certify(token), await certify(token)]) expect(spiffeIdOf(leaf)).toBe(expected);
  });

  it.each(['https://kubernetes.default.svc', 'other'])('refuses a token for the audience %s', async (audience) => {
    await expect(certify(await tokenFor(audience))).rejects.toThrow(/service account token with audience istio-ca/);
  });

  it('refuses the token of a service account that was deleted', async () => {
    await client.create(ServiceAccount, { metadata: { name: 'gone', namespace: NAMESPACE } });
    const { status } = await client.request<{ status: { token: string } }>({
      method: 'POST',
      path: `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/gone/token`,
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['istio-ca'], expirationSeconds: 600 } },
    });
    await client.delete(ServiceAccount, { name: 'gone', namespace: NAMESPACE });
    await expect(certify(status.token)).rejects.toThrow(/does not accept the token/);
  });
});
