import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Issuer, issueAuthority, issueLeaf } from './certificate.ts';
import { chainViolation, isSelfSigned } from './chain.ts';
import { generateKeys, KEY_ALGORITHMS } from './keys.ts';
import { createSelfSignedRoot } from './root.ts';
import { spiffeIdOf, uriSansOf } from './subject-alt-names.ts';

const NOW = Date.UTC(2026, 10, 21, 12);
const HOUR_MS = 3_600_000;
const WORKLOAD = 'spiffe://cluster.local/ns/default/sa/reviews';

async function rootIssuer(algorithm: (typeof KEY_ALGORITHMS)[number] = 'ec-p256'): Promise<Issuer> {
  const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now: NOW, algorithm });
  return { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
}

async function leaf(issuer: Issuer, uris: readonly string[], notAfter = NOW + HOUR_MS): Promise<X509Certificate> {
  const { publicKey } = await generateKeys();
  return new X509Certificate(issueLeaf(issuer, { publicKey, names: { uris }, validity: { notBefore: NOW - 1000, notAfter } }));
}

describe('issueLeaf', () => {
  let issuer: Issuer;
  beforeAll(async () => {
    issuer = await rootIssuer();
  });

  it('makes a certificate for TLS in both roles whose only name is the SPIFFE id', async () => {
    const certificate = await leaf(issuer, [WORKLOAD]);
    expect(spiffeIdOf(certificate)).toBe(WORKLOAD);
    expect(certificate.subject ?? '').toBe('');
    expect(certificate.ca).toBe(false);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(Date.parse(certificate.validTo)).toBe(NOW + HOUR_MS);
    expect(certificate.serialNumber).toMatch(/^[0-9A-F]{32}$/);
    expect(certificate.checkIssued(issuer.certificate)).toBe(true);
  });

  it('names DNS names and addresses of both families', async () => {
    const { publicKey } = await generateKeys();
    const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1', '2001:db8::a:1'] };
    const certificate = new X509Certificate(issueLeaf(issuer, { publicKey, names, validity: { notBefore: NOW, notAfter: NOW + HOUR_MS } }));
    expect(certificate.checkHost('localhost')).toBe('localhost');
    expect(['127.0.0.1', '::1', '2001:db8::a:1'].map((address) => certificate.checkIP(address) !== undefined)).toEqual([true, true, true]);
    expect(certificate.checkIP('127.0.0.2')).toBeUndefined();
  });

  it('never outlives its issuer', async () => {
    const certificate = await leaf(issuer, [WORKLOAD], NOW + 100 * 365 * 24 * HOUR_MS);
    expect(certificate.validTo).toBe(issuer.certificate.validTo);
  });

  it('gives every certificate a serial number of its own', async () => {
    const [first, second] = await Promise.all([leaf(issuer, [WORKLOAD]), leaf(issuer, [WORKLOAD])]);
    expect(first.serialNumber).not.toBe(second.serialNumber);
  });
});

describe('spiffeIdOf', () => {
  it.each([
    ['a comma that Node prints as a second name', [`${WORKLOAD}, URI:spiffe://cluster.local/ns/istio-system/sa/istiod`]],
    ['a quoted name', ['spiffe://cluster.local/ns/default/sa/"reviews"']],
    ['a NUL behind a valid identity', [`${WORKLOAD}\0.evil`]],
    ['two identities', [WORKLOAD, 'spiffe://cluster.local/ns/istio-system/sa/istiod']],
    ['a URI that is no SPIFFE id', ['https://example.com/']],
    ['no URI at all', []],
  ])('proves nothing with %s', async (_, uris) => {
    const certificate = await leaf(await rootIssuer(), uris);
    expect(uriSansOf(certificate)).toEqual(uris);
    expect(spiffeIdOf(certificate)).toBeUndefined();
  });
});

describe('chainViolation', () => {
  it('follows intermediates in any order to a trusted root', async () => {
    const root = await rootIssuer();
    const keys = await generateKeys('ec-p384');
    const validity = { notBefore: NOW - 1000, notAfter: NOW + HOUR_MS };
    const pem = issueAuthority(root, { ...keys, commonName: 'intermediate', organization: 'test', validity });
    const intermediate = { certificate: new X509Certificate(pem), privateKey: keys.privateKey };
    const certificate = await leaf(intermediate, [WORKLOAD]);
    const stranger = (await rootIssuer()).certificate;
    expect(chainViolation([certificate, stranger, intermediate.certificate], [root.certificate], NOW)).toBeUndefined();
    expect(chainViolation([certificate], [root.certificate], NOW)).toMatch(/no certificate authority that is trusted/);
    expect(chainViolation([certificate, intermediate.certificate], [stranger], NOW)).toMatch(/no certificate authority that is trusted/);
    expect(isSelfSigned(root.certificate)).toBe(true);
    expect(isSelfSigned(intermediate.certificate)).toBe(false);
  });

  it('refuses what a leaf signed, what expired and what is not valid yet', async () => {
    const root = await rootIssuer();
    const keys = await generateKeys();
    const names = { uris: [WORKLOAD] };
    const validity = { notBefore: NOW, notAfter: NOW + HOUR_MS };
    const parent = new X509Certificate(issueLeaf(root, { publicKey: keys.publicKey, names, validity }));
    const child = await leaf({ certificate: parent, privateKey: keys.privateKey }, ['spiffe://cluster.local/ns/istio-system/sa/istiod']);
    expect(chainViolation([child, parent], [root.certificate], NOW)).toMatch(/no certificate authority that is trusted/);
    expect(chainViolation([parent], [root.certificate], NOW + HOUR_MS + 1)).toMatch(/expired/);
    expect(chainViolation([parent], [root.certificate], NOW - 1)).toMatch(/not valid before/);
  });
});

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const withOpenssl = hasOpenssl ? describe : describe.skip;

withOpenssl('openssl verify (needs openssl)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mizzen-identity-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(KEY_ALGORITHMS)('accepts a leaf that a root with an %s key issued', async (algorithm) => {
    const issuer = await rootIssuer(algorithm);
    const rootFile = join(folder, `root-${algorithm}.pem`);
    const leafFile = join(folder, `leaf-${algorithm}.pem`);
    writeFileSync(rootFile, issuer.certificate.toString());
    writeFileSync(leafFile, (await leaf(issuer, [WORKLOAD])).toString());
    const output = execFileSync('openssl', ['verify', '-x509_strict', '-attime', String(NOW / 1000), '-CAfile', rootFile, leafFile], {
      encoding: 'utf8',
    });
    expect(output).toContain(': OK');
  });
});
