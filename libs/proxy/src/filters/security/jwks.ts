import { constants, createHmac, createPublicKey, type KeyObject, timingSafeEqual, verify, X509Certificate } from 'node:crypto';
import type { Jwt } from './jwt.ts';
import type { JwtFailure } from './jwt-status.ts';

/** One key of a JWKS that tokens may be signed with. */
export interface JwtKey {
  /** '' : any token may be signed with it. */
  readonly kid: string;
  /** The only algorithm it is for; '' : each that fits its kind. */
  readonly alg: string;
  readonly family: 'RSA' | 'EC' | 'OKP' | 'oct';
  /** EC only: the algorithm that belongs to the curve. */
  readonly curveAlg: string;
  readonly key: KeyObject | Buffer;
}

/** A set of keys, or why there is none. */
export type Jwks = readonly JwtKey[] | JwtFailure;

/**
 * Reads a JWKS (RFC 7517), or a map from key id to PEM certificate. Keys that cannot be used are left out, as the RFC asks; a set without
 * any other is a failure. Source: envoy source/common/jwt/jwks.cc (1.40).
 */
export function parseJwks(text: string): Jwks {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'jwks-json';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'jwks-json';
  const members = value as Record<string, unknown>;
  if (members['keys'] === undefined) return parseCertificates(members);
  if (!Array.isArray(members['keys'])) return 'jwks-bad-keys';
  const keys = members['keys'].flatMap((each: unknown) => {
    const key = typeof each === 'object' && each !== null ? parseKey(each as Record<string, unknown>) : undefined;
    return key === undefined ? [] : [key];
  });
  return keys.length === 0 ? 'jwks-no-valid-keys' : keys;
}

function parseCertificates(members: Record<string, unknown>): Jwks {
  const entries = Object.entries(members);
  if (entries.length === 0 || entries.some(([kid, pem]) => kid === '' || typeof pem !== 'string' || pem === '')) return 'jwks-no-keys';
  const keys = entries.flatMap(([kid, pem]) => {
    const key = quietly(() => new X509Certificate(pem as string).publicKey);
    return key?.asymmetricKeyType === 'rsa' ? [{ kid, alg: '', family: 'RSA', curveAlg: '', key } as const] : [];
  });
  return keys.length === 0 ? 'jwks-no-valid-keys' : keys;
}

const CURVE_ALGS: Readonly<Record<string, string>> = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' };

function parseKey(jwk: Record<string, unknown>): JwtKey | undefined {
  const { kty } = jwk;
  const kid = typeof jwk['kid'] === 'string' ? jwk['kid'] : '';
  const alg = typeof jwk['alg'] === 'string' ? jwk['alg'] : '';
  // Only what belongs to the public key: a private one by mistake is not taken for more.
  switch (kty) {
    case 'RSA': {
      if (alg !== '' && !/^[RP]S/.test(alg)) return undefined;
      const key = publicKey({ kty, n: jwk['n'], e: jwk['e'] });
      const exponent = key?.asymmetricKeyDetails?.publicExponent;
      return key !== undefined && (exponent === 3n || exponent === 65_537n) ? { kid, alg, family: kty, curveAlg: '', key } : undefined;
    }
    case 'EC': {
      const crv = jwk['crv'] ?? Object.keys(CURVE_ALGS).find((curve) => CURVE_ALGS[curve] === alg) ?? 'P-256';
      const curveAlg = CURVE_ALGS[String(crv)];
      if (curveAlg === undefined || (alg !== '' && alg !== curveAlg)) return undefined;
      const key = publicKey({ kty, crv, x: jwk['x'], y: jwk['y'] });
      return key && { kid, alg, family: kty, curveAlg, key };
    }
    case 'OKP': {
      if ((alg !== '' && alg !== 'EdDSA') || jwk['crv'] !== 'Ed25519') return undefined;
      const key = publicKey({ kty, crv: 'Ed25519', x: jwk['x'] });
      return key && { kid, alg, family: kty, curveAlg: '', key };
    }
    case 'oct': {
      if (alg !== '' && !/^HS(?:256|384|512)$/.test(alg)) return undefined;
      const key = typeof jwk['k'] === 'string' ? Buffer.from(jwk['k'], 'base64url') : Buffer.alloc(0);
      return key.length === 0 ? undefined : { kid, alg, family: kty, curveAlg: '', key };
    }
    default:
      return undefined;
  }
}

function publicKey(jwk: Record<string, unknown>): KeyObject | undefined {
  return quietly(() => createPublicKey({ key: jwk as Record<string, string>, format: 'jwk' }));
}

function quietly<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

/** Checks a token's signature with the keys that its header allows. */
export function verifySignature(jwt: Jwt, keys: readonly JwtKey[]): 'ok' | JwtFailure {
  let isMatched = false;
  for (const key of keys) {
    if (jwt.kid !== '' && key.kid !== '' && key.kid !== jwt.kid) continue;
    if (key.alg !== '' && key.alg !== jwt.alg) continue;
    isMatched = true;
    if (jwt.alg === 'EdDSA' && key.family === 'OKP' && jwt.signature.length !== 64) return 'ed25519-length';
    if (isSignedWith(jwt, key)) return 'ok';
  }
  return isMatched ? 'verification-failed' : 'jwks-kid-alg-mismatch';
}

// The key's kind decides what it can verify, never the token alone: an RSA key is no HMAC secret (RFC 8725 §3.1).
function isSignedWith({ alg, signature, signedText }: Jwt, { family, curveAlg, key }: JwtKey): boolean {
  const data = Buffer.from(signedText);
  const hash = `sha${alg.slice(2)}`;
  const check = (): boolean => {
    switch (alg.slice(0, 2)) {
      case 'RS':
        return family === 'RSA' && verify(hash, data, key as KeyObject, signature);
      case 'PS':
        return family === 'RSA' && verify(hash, data, { key: key as KeyObject, ...PSS }, signature);
      case 'ES':
        return family === 'EC' && curveAlg === alg && verify(hash, data, { key: key as KeyObject, dsaEncoding: 'ieee-p1363' }, signature);
      case 'HS':
        return family === 'oct' && isEqual(createHmac(hash, key).update(data).digest(), signature);
      default:
        return family === 'OKP' && verify(null, data, key as KeyObject, signature);
    }
  };
  return quietly(check) ?? false;
}

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

function isEqual(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
