import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { createCsr, verifyCsr } from './csr.ts';
import { generateKeys, KEY_ALGORITHMS, type KeyPair } from './keys.ts';
import { derToPem, pemToDer } from './pem.ts';

const WORKLOAD = 'spiffe://cluster.local/ns/default/sa/reviews';

function tampered(pem: string, change: (der: Buffer) => Buffer): string {
  return derToPem('CERTIFICATE REQUEST', change(pemToDer(['CERTIFICATE REQUEST'], pem) as Buffer));
}

describe('verifyCsr', () => {
  it.each(KEY_ALGORITHMS)('gives back the key of a request with an %s key', async (algorithm) => {
    const keys = await generateKeys(algorithm);
    expect(verifyCsr(createCsr(keys, WORKLOAD)).equals(keys.publicKey)).toBe(true);
  });

  it('accepts a request without a wished name', async () => {
    const keys = await generateKeys();
    expect(verifyCsr(createCsr(keys)).equals(keys.publicKey)).toBe(true);
  });

  it('refuses a request that was signed by another key', async () => {
    const [victim, attacker] = await Promise.all([generateKeys(), generateKeys()]);
    const forged: KeyPair = { publicKey: victim.publicKey, privateKey: attacker.privateKey };
    expect(() => verifyCsr(createCsr(forged, WORKLOAD))).toThrow('its signature is not that of its key');
  });

  it('refuses a request of which any single bit was changed', async () => {
    const pem = createCsr(await generateKeys(), WORKLOAD);
    const length = (pemToDer(['CERTIFICATE REQUEST'], pem) as Buffer).length;
    for (let bit = 0; bit < length * 8; bit++) {
      const changed = tampered(pem, (der) => {
        der[bit >> 3] = (der[bit >> 3] as number) ^ (1 << (bit & 7));
        return der;
      });
      expect(() => verifyCsr(changed)).toThrow(/the certificate request is refused/);
    }
  });

  it.each([
    ['an empty text', ''],
    ['a certificate', '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n'],
    ['octets that are no DER', derToPem('CERTIFICATE REQUEST', Buffer.from('not der at all'))],
    ['an empty sequence', derToPem('CERTIFICATE REQUEST', Buffer.from([0x30, 0]))],
    ['deep nesting', derToPem('CERTIFICATE REQUEST', Buffer.alloc(8000, Buffer.from([0x30, 0x80])))],
    ['a huge text', derToPem('CERTIFICATE REQUEST', Buffer.alloc(100_000))],
  ])('refuses %s with a reason', (_, pem) => {
    expect(() => verifyCsr(pem)).toThrow(/^the certificate request is refused: /);
  });

  it('refuses octets behind the request', async () => {
    const pem = createCsr(await generateKeys(), WORKLOAD);
    expect(() => verifyCsr(tampered(pem, (der) => Buffer.concat([der, Buffer.from([0])])))).toThrow(/refused/);
  });

  it.each([
    ['an RSA key of 1024 bits', generateKeyPairSync('rsa', { modulusLength: 1024 }), /too short/],
    ['a P-521 key', generateKeyPairSync('ec', { namedCurve: 'secp521r1' }), /curve secp521r1 is not accepted/],
    ['a secp256k1 key', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }), /curve secp256k1 is not accepted/],
  ])('refuses %s', (_, keys, reason) => {
    expect(() => verifyCsr(createCsr(keys, WORKLOAD))).toThrow(reason);
  });
});

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const withOpenssl = hasOpenssl ? describe : describe.skip;

withOpenssl('openssl req (needs openssl)', () => {
  it.each(KEY_ALGORITHMS)('verifies our request with an %s key and reads the wished name', async (algorithm) => {
    const pem = createCsr(await generateKeys(algorithm), WORKLOAD);
    const result = spawnSync('openssl', ['req', '-verify', '-noout', '-text'], { input: pem, encoding: 'utf8' });
    expect(result.stderr).toMatch(/verify OK/i);
    expect(result.stdout).toContain(`URI:${WORKLOAD}`);
  });

  it.each([
    ['ECDSA', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']],
    ['RSA', ['-newkey', 'rsa:2048']],
  ])('makes a request with an %s key that we accept', (_, newKey) => {
    const made = spawnSync('openssl', ['req', '-new', '-nodes', '-keyout', '/dev/null', '-subj', '/O=someone', ...newKey], {
      encoding: 'utf8',
    });
    expect(verifyCsr(made.stdout).type).toBe('public');
  });
});
