import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import {
  createCsr,
  createSelfSignedRoot,
  generateKeys,
  type Issuer,
  issueAuthority,
  parseCertificates,
  privateKeyToPem,
  requestCertificate,
} from '@mizzen/identity';
import { watchAuthority } from './authority-watch.ts';
import { loadAuthority, renewCaFiles } from './ca-files.ts';
import { type CaHome, createCaHome, REVIEWS } from './testing.ts';

const YEAR_MS = 365 * 86_400_000;

interface PluggedIn {
  readonly rootPem: string;
  readonly intermediatePem: string;
}

/** Puts an intermediate with its key into the folder, under the names of Istio's `cacerts`; each file appears whole. */
async function plugIn(folder: string, root?: { pem: string; issuer: Issuer }): Promise<PluggedIn> {
  const made = root ?? (await newRoot());
  const keys = await generateKeys('rsa-2048');
  const validity = { notBefore: Date.now() - 1000, notAfter: Date.now() + YEAR_MS };
  const intermediatePem = issueAuthority(made.issuer, { ...keys, commonName: 'intermediate', organization: 'example', validity });
  await mkdir(folder, { recursive: true });
  const files = {
    'ca-key.pem': privateKeyToPem(keys.privateKey),
    'ca-cert.pem': intermediatePem,
    'cert-chain.pem': intermediatePem,
    'root-cert.pem': made.pem,
  };
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, `${name}.new`), content, { mode: 0o600 });
    await rename(join(folder, `${name}.new`), join(folder, name));
  }
  return { rootPem: made.pem, intermediatePem };
}

async function newRoot(): Promise<{ pem: string; issuer: Issuer }> {
  const { certificatePem, privateKeyPem } = await createSelfSignedRoot({ trustDomain: 'example', now: Date.now() });
  return { pem: certificatePem, issuer: { certificate: new X509Certificate(certificatePem), privateKey: createPrivateKey(privateKeyPem) } };
}

describe('a plugged-in CA', () => {
  let home: CaHome;
  beforeEach(async () => {
    home = await createCaHome();
  });
  afterEach(() => home.remove());

  async function certify(port: number): Promise<X509Certificate[]> {
    const chainPem = await requestCertificate({
      caAddress: `127.0.0.1:${port}`,
      rootPem: await readFile(home.rootFile, 'utf8'),
      proof: { kind: 'token', token: await home.token() },
      csrPem: createCsr(await generateKeys(), REVIEWS),
      ttlMs: 60_000,
      signal: new AbortController().signal,
    });
    return parseCertificates(chainPem, 'chain');
  }

  it('answers with leaf, intermediate and root, in this order', async () => {
    const { rootPem, intermediatePem } = await plugIn(home.folder);
    const ca = await home.start();
    const chain = await certify(ca.ports.grpc);
    expect(chain).toHaveLength(3);
    expect(chain[1]?.raw.equals(new X509Certificate(intermediatePem).raw)).toBe(true);
    expect(chain[2]?.raw.equals(new X509Certificate(rootPem).raw)).toBe(true);
    expect(chain[0]?.verify((chain[1] as X509Certificate).publicKey)).toBe(true);
  });

  it('is replaced while running once the new files are whole, and serves with the new one', async () => {
    await plugIn(home.folder);
    const watched = await watchAuthority(home.folder, { clock: systemClock, logger: silentLogger });
    const ca = await home.start();
    const before = watched.authority.value;
    const { intermediatePem } = await plugIn(home.folder);
    const after = await watched.authority.until((authority) => authority !== before);
    expect(after.issuer.certificate.raw.equals(new X509Certificate(intermediatePem).raw)).toBe(true);
    await watched.close();
    // The CA watches the same folder by itself: asked until it has seen the change too.
    const issuedByNew = async (): Promise<boolean> =>
      certify(ca.ports.grpc).then(
        (chain) => (chain[1] as X509Certificate).raw.equals(after.issuer.certificate.raw),
        () => false,
      );
    while (!(await issuedByNew())) await new Promise((resolve) => setImmediate(resolve));
  });

  it('stays in force when the new files do not fit each other', async () => {
    await plugIn(home.folder);
    const errors: string[] = [];
    let onError: () => void = () => {};
    const reported = new Promise<void>((resolve) => {
      onError = resolve;
    });
    const logger = Object.assign(Object.create(silentLogger) as typeof silentLogger, {
      error: (fields: { reason: string }) => {
        errors.push(fields.reason);
        onError();
      },
    });
    const watched = await watchAuthority(home.folder, { clock: systemClock, logger });
    const before = watched.authority.value;
    // In one step: half a file is another mistake.
    await writeFile(join(home.folder, 'new-key.pem'), privateKeyToPem((await generateKeys()).privateKey), { mode: 0o600 });
    await rename(join(home.folder, 'new-key.pem'), join(home.folder, 'ca-key.pem'));
    await reported;
    expect(errors[0]).toMatch(/ca-key\.pem is not the key of .*ca-cert\.pem; replace both together/);
    expect(watched.authority.value).toBe(before);
    await watched.close();
  });

  it('gives every root of a bundle during a change of roots', async () => {
    const { rootPem } = await plugIn(home.folder);
    await writeFile(home.rootFile, rootPem + (await newRoot()).pem);
    expect((await loadAuthority(home.folder, Date.now())).rootPems).toHaveLength(2);
    const ca = await home.start();
    expect(await certify(ca.ports.grpc)).toHaveLength(4);
  });

  it('is refused when its certificate has expired', async () => {
    const root = await newRoot();
    await plugIn(home.folder, root);
    await expect(loadAuthority(home.folder, Date.now() + 2 * YEAR_MS)).rejects.toThrow(/expired at/);
  });
});

describe('the root that a CA made itself', () => {
  let home: CaHome;
  beforeEach(async () => {
    home = await createCaHome();
  });
  afterEach(() => home.remove());

  it('is renewed in the last fifth of its life with the same key, and only then', async () => {
    const ca = await home.start(['--root-ttl', '1h']);
    const before = new X509Certificate(await readFile(home.rootFile));
    await ca.close();
    const endsAt = Date.parse(before.validTo);
    const ttlMs = YEAR_MS;
    expect(await renewCaFiles(home.folder, { now: endsAt - 3_600_000 * 0.25, ttlMs })).toBe(false);
    expect(await renewCaFiles(home.folder, { now: endsAt - 3_600_000 * 0.15, ttlMs })).toBe(true);
    const after = new X509Certificate(await readFile(home.rootFile));
    expect(after.publicKey.equals(before.publicKey)).toBe(true);
    expect(Date.parse(after.validTo)).toBeGreaterThan(Date.now() + YEAR_MS / 2);
    expect((await loadAuthority(home.folder, endsAt)).intermediatePems).toEqual([]);
  });

  it('is not touched where somebody plugged it in', async () => {
    const { certificatePem, privateKeyPem } = await createSelfSignedRoot({
      trustDomain: 'example',
      now: Date.now() - YEAR_MS,
      ttlMs: YEAR_MS,
    });
    const foreign = issueAuthority(undefined, {
      privateKey: createPrivateKey(privateKeyPem),
      publicKey: new X509Certificate(certificatePem).publicKey,
      commonName: 'a root of ours',
      organization: 'example',
      validity: { notBefore: Date.now() - YEAR_MS, notAfter: Date.now() + 1000 },
    });
    await mkdir(home.folder, { recursive: true });
    await writeFile(join(home.folder, 'ca-key.pem'), privateKeyPem, { mode: 0o600 });
    await writeFile(join(home.folder, 'ca-cert.pem'), foreign);
    await writeFile(home.rootFile, foreign);
    expect(await renewCaFiles(home.folder, { now: Date.now(), ttlMs: YEAR_MS })).toBe(false);
  });
});
