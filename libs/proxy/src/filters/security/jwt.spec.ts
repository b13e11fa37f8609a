import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type Jwks, parseJwks, verifySignature } from './jwks.ts';
import { checkTime, type Jwt, parseJwt } from './jwt.ts';

const { privateKey: rsa, publicKey: rsaPublic } = generateKeyPairSync('rsa', { modulusLength: 2048 });

function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
}

function tokenOf(header: object, payload: unknown, signature: (text: string) => Buffer): string {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${signature(text).toString('base64url')}`;
}

function parsed(token: string): Jwt {
  const jwt = parseJwt(token);
  if (typeof jwt === 'string') throw new Error(jwt);
  return jwt;
}

function keysOf(...keys: object[]): Exclude<Jwks, string> {
  const jwks = parseJwks(JSON.stringify({ keys }));
  if (typeof jwks === 'string') throw new Error(jwks);
  return jwks;
}

const jwkOf = (key: KeyObject, more: object = {}): object => ({ ...key.export({ format: 'jwk' }), ...more });
const rs256 = (text: string): Buffer => sign('sha256', Buffer.from(text), rsa);

describe('a token', () => {
  it('is read whatever it is', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.tuple(fc.base64String(), fc.base64String(), fc.base64String()).map((parts) => parts.join('.')),
        ),
        (text) => {
          const jwt = parseJwt(text);
          expect(typeof jwt === 'string' || typeof jwt.alg === 'string').toBe(true);
        },
      ),
    );
  });

  it('keeps what it says', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (claims) => {
        const { iss: _iss, sub: _sub, aud: _aud, jti: _jti, iat: _iat, nbf: _nbf, exp: _exp, ...payload } = claims;
        expect(parsed(tokenOf({ alg: 'RS256' }, payload, () => Buffer.from('s'))).payload).toEqual(JSON.parse(JSON.stringify(payload)));
      }),
    );
  });

  it('is not one where its claims are nested deeper than anybody reads', () => {
    expect(parseJwt(tokenOf({ alg: 'RS256' }, `{"a":${'['.repeat(200)}${']'.repeat(200)}}`, rs256))).toBe('payload-json');
  });

  it('is not one where its text has a second form', () => {
    const token = tokenOf({ alg: 'RS256' }, { a: 1 }, () => Buffer.from([1]));
    expect(typeof parseJwt(token)).toBe('object');
    expect(parseJwt(`${token}=`)).toBe('signature-base64');
    expect(parseJwt(`${token.slice(0, -1)}R`)).toBe('signature-base64');
  });

  it('is valid from its first to its last second, give or take the skew', () => {
    const jwt = parsed(tokenOf({ alg: 'RS256' }, { nbf: 100, exp: 200 }, rs256));
    expect([39, 40, 260, 261].map((now) => checkTime(jwt, now, 60))).toEqual(['not-yet-valid', 'ok', 'ok', 'expired']);
  });

  it('that expires at 0 is expired', () => {
    expect(checkTime(parsed(tokenOf({ alg: 'RS256' }, { exp: 0 }, rs256)), 1000, 60)).toBe('expired');
  });
});

describe('a signature', () => {
  it.each([
    { alg: 'RS384', hash: 'sha384', options: {} },
    { alg: 'RS512', hash: 'sha512', options: {} },
    { alg: 'PS256', hash: 'sha256', options: { padding: 6, saltLength: 32 } },
    { alg: 'PS384', hash: 'sha384', options: { padding: 6, saltLength: 48 } },
    { alg: 'PS512', hash: 'sha512', options: { padding: 6, saltLength: 64 } },
  ])('by $alg is verified', ({ alg, hash, options }) => {
    const jwt = parsed(tokenOf({ alg }, { a: 1 }, (text) => sign(hash, Buffer.from(text), { key: rsa, ...options })));
    expect(verifySignature(jwt, keysOf(jwkOf(rsaPublic)))).toBe('ok');
    const forged = { ...jwt, signedText: `${jwt.signedText}A` };
    expect(verifySignature(forged, keysOf(jwkOf(rsaPublic)))).toBe('verification-failed');
  });

  it.each([
    { alg: 'ES384', namedCurve: 'P-384', hash: 'sha384' },
    { alg: 'ES512', namedCurve: 'P-521', hash: 'sha512' },
  ])('by $alg is verified', ({ alg, namedCurve, hash }) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
    const jwt = parsed(tokenOf({ alg }, { a: 1 }, (text) => sign(hash, Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' })));
    expect(verifySignature(jwt, keysOf(jwkOf(publicKey)))).toBe('ok');
    expect(verifySignature({ ...jwt, alg: 'ES256' }, keysOf(jwkOf(publicKey)))).toBe('verification-failed');
  });

  it('is not made with a public key taken for a secret', () => {
    const pem = rsaPublic.export({ format: 'pem', type: 'spki' });
    const jwt = parsed(tokenOf({ alg: 'HS256' }, { a: 1 }, (text) => createHmac('sha256', pem).update(text).digest()));
    expect(verifySignature(jwt, keysOf(jwkOf(rsaPublic)))).toBe('verification-failed');
  });

  it('is looked for with each key that may be meant', () => {
    const { publicKey: stranger } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwt = parsed(tokenOf({ alg: 'RS256', kid: 'k' }, { a: 1 }, rs256));
    expect(verifySignature(jwt, keysOf(jwkOf(stranger), jwkOf(rsaPublic)))).toBe('ok');
    expect(verifySignature(jwt, keysOf(jwkOf(stranger, { kid: 'k' }), jwkOf(rsaPublic, { kid: 'other' })))).toBe('verification-failed');
    expect(verifySignature(jwt, keysOf(jwkOf(rsaPublic, { kid: 'other' })))).toBe('jwks-kid-alg-mismatch');
  });
});

describe('a JWKS', () => {
  it.each([
    { name: 'text', text: 'keys', expected: 'jwks-json' },
    { name: 'a list', text: '[]', expected: 'jwks-json' },
    { name: 'no keys', text: '{}', expected: 'jwks-no-keys' },
    { name: 'keys that are no list', text: '{"keys":{}}', expected: 'jwks-bad-keys' },
    { name: 'only keys that are none', text: '{"keys":[1,{"kty":"RSA"},{"kty":"XY"}]}', expected: 'jwks-no-valid-keys' },
    { name: 'certificates that are none', text: '{"a":"x"}', expected: 'jwks-no-valid-keys' },
  ])('that is $name is refused', ({ text, expected }) => {
    expect(parseJwks(text)).toBe(expected);
  });

  it('is read whatever it is', () => {
    fc.assert(
      fc.property(fc.array(fc.dictionary(fc.constantFrom('kty', 'crv', 'alg', 'kid', 'n', 'e', 'x', 'y', 'k'), fc.jsonValue())), (keys) => {
        expect(parseJwks(JSON.stringify({ keys }))).toBeDefined();
      }),
    );
  });

  it('is used without the keys that cannot be', () => {
    expect(
      keysOf({ kty: 'EC', crv: 'secp256k1' }, jwkOf(rsaPublic, { alg: 'ES256' }), jwkOf(rsaPublic, { kid: 'good' })).map(({ kid }) => kid),
    ).toEqual(['good']);
  });
});
