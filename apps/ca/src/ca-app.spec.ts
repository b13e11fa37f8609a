import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  assembleSvid,
  chainViolation,
  createCsr,
  createSelfSignedRoot,
  formatSpiffeId,
  generateKeys,
  type Issuer,
  issueLeaf,
  type KeyPair,
  parseCertificates,
  privateKeyToPem,
  requestCertificate,
  type Svid,
  spiffeIdOf,
} from '@mizzen/identity';
import { grpcMethodDefinition } from '@mizzen/xds-api';
import { type IstioCertificateRequest, IstioCertificateRequestSchema, IstioCertificateService } from '@mizzen/xds-api/istio/v1/auth/ca';
import type { RunningCa } from './ca-app.ts';
import { type CaHome, createCaHome, REVIEWS } from './testing.ts';

const ISTIOD = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'istio-system', serviceAccount: 'istiod' });
const HOUR_MS = 3_600_000;

describe('the CA', () => {
  let home: CaHome;
  let ca: RunningCa;
  let keys: KeyPair;
  beforeEach(async () => {
    home = await createCaHome();
    ca = await home.start();
    keys = await generateKeys();
  });
  afterEach(() => home.remove());

  /** What a caller may present: tokens as metadata, a certificate with its key. */
  interface Presented {
    authorization?: readonly string[];
    certificate?: { cert: string; key: string };
    request?: Partial<IstioCertificateRequest>;
  }

  /** One call as any gRPC client would make it. */
  async function call(presented: Presented): Promise<{ code: number; details: string; chain: string[] }> {
    const rootPem = await readFile(home.rootFile, 'utf8');
    const client = new Client(
      `localhost:${ca.ports.grpc}`,
      credentials.createFromSecureContext(createSecureContext({ ca: rootPem, ...presented.certificate })),
    );
    const metadata = new Metadata();
    for (const value of presented.authorization ?? []) metadata.add('authorization', value);
    const definition = grpcMethodDefinition(IstioCertificateService.method.createCertificate);
    const message = create(IstioCertificateRequestSchema, {
      csr: createCsr(keys, ISTIOD),
      ...presented.request,
    } as IstioCertificateRequest);
    try {
      return await new Promise((resolve) => {
        const { path, requestSerialize, responseDeserialize } = definition;
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, metadata, {}, (error, response) =>
          resolve({ code: error?.code ?? status.OK, details: error?.details ?? '', chain: response?.certChain ?? [] }),
        );
      });
    } finally {
      client.close();
    }
  }

  async function svidOf(ttlMs = HOUR_MS): Promise<Svid> {
    const rootPem = await readFile(home.rootFile, 'utf8');
    const chainPem = await requestCertificate({
      caAddress: `localhost:${ca.ports.grpc}`,
      rootPem,
      proof: { kind: 'token', token: await home.token() },
      csrPem: createCsr(keys, REVIEWS),
      ttlMs,
      signal: new AbortController().signal,
    });
    return assembleSvid({ chainPem, privateKeyPem: privateKeyToPem(keys.privateKey), issuedAt: Date.now(), now: Date.now() });
  }

  const presentedBy = (svid: Svid): { cert: string; key: string } => ({ cert: svid.certChainPem, key: svid.privateKeyPem.reveal() });

  it('certifies the identity of the join token, whatever the request wishes for', async () => {
    const before = Date.now();
    const { code, chain } = await call({ authorization: [`Bearer ${await home.token()}`] });
    expect(code).toBe(status.OK);
    const [leaf, root] = chain.map((pem) => new X509Certificate(pem)) as [X509Certificate, X509Certificate];
    expect(chain).toHaveLength(2);
    expect(spiffeIdOf(leaf)).toBe(REVIEWS);
    expect(leaf.publicKey.equals(keys.publicKey)).toBe(true);
    expect(root.raw.equals(new X509Certificate(await readFile(home.rootFile)).raw)).toBe(true);
    expect(chainViolation([leaf], [root], Date.now())).toBeUndefined();
    expect(Math.abs(Date.parse(leaf.validFrom) - (before - 120_000))).toBeLessThan(5000);
    expect(Math.abs(Date.parse(leaf.validTo) - (before + 24 * HOUR_MS))).toBeLessThan(5000);
  });

  it('certifies the identity of a client certificate that it issued itself, without a token', async () => {
    const svid = await svidOf();
    keys = await generateKeys();
    const { code, chain } = await call({ certificate: presentedBy(svid) });
    expect(code).toBe(status.OK);
    expect(spiffeIdOf(new X509Certificate(chain[0] as string))).toBe(REVIEWS);
  });

  it('caps the life of a certificate', async () => {
    await ca.close();
    ca = await home.start(['--max-workload-ttl', '1h', '--workload-ttl', '10m']);
    const lifeOf = async (validityDuration: bigint): Promise<number> => {
      const { chain } = await call({ authorization: [`Bearer ${await home.token()}`], request: { validityDuration } });
      return Date.parse(new X509Certificate(chain[0] as string).validTo) - Date.now();
    };
    expect(Math.abs((await lifeOf(0n)) - 600_000)).toBeLessThan(5000);
    expect(Math.abs((await lifeOf(1_000_000_000n)) - HOUR_MS)).toBeLessThan(5000);
    expect(Math.abs((await lifeOf(60n)) - 60_000)).toBeLessThan(5000);
  });

  it('takes a join token once, also after a restart', async () => {
    const token = await home.token();
    expect((await call({ authorization: [`Bearer ${token}`] })).code).toBe(status.OK);
    expect(await call({ authorization: [`Bearer ${token}`] })).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining('used before'),
    });
    await ca.close();
    ca = await home.start();
    expect(await call({ authorization: [`Bearer ${token}`] })).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining('used before'),
    });
  });

  it('gives one of many who present the same token at once a certificate', async () => {
    const authorization = [`Bearer ${await home.token()}`];
    const codes = (await Promise.all(Array.from({ length: 8 }, () => call({ authorization })))).map(({ code }) => code);
    expect(codes.filter((code) => code === status.OK)).toHaveLength(1);
    expect(codes.filter((code) => code === status.UNAUTHENTICATED)).toHaveLength(7);
  });

  it('does not use a token up for a request that it refuses', async () => {
    const authorization = [`Bearer ${await home.token()}`];
    expect((await call({ authorization, request: { csr: 'garbage' } })).code).toBe(status.INVALID_ARGUMENT);
    expect((await call({ authorization })).code).toBe(status.OK);
  });

  it.each<[string, () => Promise<Presented> | Presented, number, RegExp]>([
    ['nothing to prove itself with', () => ({}), status.UNAUTHENTICATED, /no valid client certificate and no join token/],
    ['a token that is none', () => ({ authorization: ['Bearer garbage'] }), status.UNAUTHENTICATED, /the join token is not valid/],
    ['another scheme', () => ({ authorization: ['Basic dXNlcjpwYXNz'] }), status.UNAUTHENTICATED, /not one "Bearer/],
    [
      'an expired token',
      async () => ({ authorization: [`Bearer ${await home.token({ ttlMs: 5000, now: Date.now() - 60_000 })}`] }),
      status.UNAUTHENTICATED,
      /expired; make a new one/,
    ],
    [
      'a token for another trust domain',
      async () => ({
        authorization: [
          `Bearer ${await home.token({ spiffeId: formatSpiffeId({ trustDomain: 'other', namespace: 'a', serviceAccount: 'b' }) })}`,
        ],
      }),
      status.PERMISSION_DENIED,
      /another trust domain/,
    ],
    [
      'a certificate of another CA',
      async () => ({ certificate: await foreignCertificate() }),
      status.UNAUTHENTICATED,
      /no valid client certificate/,
    ],
    [
      'a request that is none',
      async () => ({ ...(await withToken()), request: { csr: 'garbage' } }),
      status.INVALID_ARGUMENT,
      /not a PEM CERTIFICATE REQUEST/,
    ],
    [
      'an empty request',
      async () => ({ ...(await withToken()), request: { csr: '' } }),
      status.INVALID_ARGUMENT,
      /not a PEM CERTIFICATE REQUEST/,
    ],
    [
      'a request signed by another key',
      async () => ({
        ...(await withToken()),
        request: { csr: createCsr({ publicKey: keys.publicKey, privateKey: (await generateKeys()).privateKey }) },
      }),
      status.INVALID_ARGUMENT,
      /signature is not that of its key/,
    ],
    [
      'a huge message',
      async () => ({ ...(await withToken()), request: { csr: 'x'.repeat(1_000_000) } }),
      status.RESOURCE_EXHAUSTED,
      /larger than max/,
    ],
    [
      'a large request',
      async () => ({ ...(await withToken()), request: { csr: 'x'.repeat(20_000) } }),
      status.INVALID_ARGUMENT,
      /larger than 16384 bytes/,
    ],
    ['a negative life', async () => ({ ...(await withToken()), request: { validityDuration: -1n } }), status.INVALID_ARGUMENT, /negative/],
    [
      'a wish for another identity',
      async () => ({ ...(await withToken()), request: { metadata: { ImpersonatedIdentity: ISTIOD } } }),
      status.PERMISSION_DENIED,
      /ImpersonatedIdentity/,
    ],
  ])('refuses %s and goes on serving', async (_, presented, code, details) => {
    const answer = await call(await presented());
    expect(answer).toMatchObject({ code, details: expect.stringMatching(details), chain: [] });
    expect((await call(await withToken())).code).toBe(status.OK);
  });

  it('survives octets that are neither TLS nor a message', async () => {
    const noTls = createConnection(ca.ports.grpc, '127.0.0.1');
    noTls.on('error', () => undefined);
    // Not random: what happens to begin like a TLS record is waited for, and rightly.
    noTls.end(Buffer.alloc(4096, 'neither TLS nor a message. '));
    await once(noTls, 'close');

    const client = new Client(
      `localhost:${ca.ports.grpc}`,
      credentials.createFromSecureContext(createSecureContext({ ca: await readFile(home.rootFile) })),
    );
    const garbage = (): Buffer => Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3]);
    const code = await new Promise((resolve) => {
      const { path } = grpcMethodDefinition(IstioCertificateService.method.createCertificate);
      client.makeUnaryRequest(
        path,
        garbage,
        (bytes: Buffer) => bytes,
        undefined,
        (error) => resolve(error?.code),
      );
    });
    client.close();
    expect(code).toBe(status.INTERNAL);
    expect((await call(await withToken())).code).toBe(status.OK);
  });

  async function withToken(): Promise<Presented> {
    return { authorization: [`Bearer ${await home.token()}`] };
  }

  async function foreignCertificate(): Promise<{ cert: string; key: string }> {
    const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now: Date.now() });
    const issuer: Issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
    const validity = { notBefore: Date.now() - 1000, notAfter: Date.now() + HOUR_MS };
    return {
      cert: issueLeaf(issuer, { publicKey: keys.publicKey, names: { uris: [ISTIOD] }, validity }),
      key: privateKeyToPem(keys.privateKey),
    };
  }

  it('counts under the names of istiod and says that it is healthy', async () => {
    await call(await withToken());
    await call({});
    await call({ ...(await withToken()), request: { csr: 'garbage' } });
    const base = `http://127.0.0.1:${ca.ports.http}`;
    const metrics = await (await fetch(`${base}/metrics`)).text();
    expect(metrics).toMatch(/^citadel_server_csr_count 3$/m);
    expect(metrics).toMatch(/^citadel_server_success_cert_issuance_count 1$/m);
    expect(metrics).toMatch(/^citadel_server_authentication_failure_count 1$/m);
    expect(metrics).toMatch(/^citadel_server_csr_parsing_err_count 1$/m);
    const secondsLeft = Number(/^citadel_server_root_cert_expiry_seconds (\S+)$/m.exec(metrics)?.[1]);
    expect(Math.abs(secondsLeft - 3650 * 86_400)).toBeLessThan(60);
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
  });

  it('keeps its key for its owner and its root for everybody', async () => {
    const modeOf = async (name: string): Promise<string> => ((await stat(join(home.folder, name))).mode & 0o777).toString(8);
    expect([await modeOf('.'), await modeOf('ca-key.pem'), await modeOf('join-token-key.pem'), await modeOf('root-cert.pem')]).toEqual([
      '700',
      '600',
      '600',
      '644',
    ]);
  });

  it('keeps its root over a restart', async () => {
    const before = await readFile(home.rootFile, 'utf8');
    await ca.close();
    ca = await home.start();
    expect(await readFile(home.rootFile, 'utf8')).toBe(before);
  });

  it.each([
    [
      'a key that others may read',
      (folder: string) => chmod(join(folder, 'ca-key.pem'), 0o640),
      /ca-key\.pem may be read by others \(mode 0640\): run chmod 600/,
    ],
    ['a missing key', (folder: string) => rm(join(folder, 'ca-key.pem')), /ca-key\.pem is missing/],
    [
      'a broken certificate',
      (folder: string) => writeFile(join(folder, 'ca-cert.pem'), 'nothing'),
      /ca-cert\.pem holds no PEM certificate/,
    ],
    ['a root that did not issue its certificate', replaceRoot, /ca-cert\.pem does not lead to .*root-cert\.pem/],
    [
      'a broken list of used tokens',
      (folder: string) => writeFile(join(folder, 'used-join-tokens.json'), '{'),
      /used-join-tokens\.json is broken/,
    ],
  ])('does not start with %s, and says so', async (_, spoil, reason) => {
    await ca.close();
    await spoil(home.folder);
    await expect(home.start()).rejects.toThrow(reason);
  });

  async function replaceRoot(folder: string): Promise<void> {
    await writeFile(join(folder, 'root-cert.pem'), (await createSelfSignedRoot({ trustDomain: 'other', now: Date.now() })).certificatePem);
  }

  it('says which port is in use', async () => {
    await expect(home.start(['--ca-port', String(ca.ports.grpc)])).rejects.toThrow(
      /the CA cannot listen on 127\.0\.0\.1:\d+: the port is in use/,
    );
  });

  it('answers with the whole chain that a verifier needs', async () => {
    const svid = await svidOf();
    expect(parseCertificates(svid.certChainPem, 'chain')).toHaveLength(1);
    expect(svid.trustBundlePem.trim()).toBe((await readFile(home.rootFile, 'utf8')).trim());
  });
});
