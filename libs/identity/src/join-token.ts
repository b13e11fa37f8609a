import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { errorMessage, MizzenError } from '@mizzen/core';
import { decodeJwt, errors, jwtVerify, SignJWT } from 'jose';
import { generateKeys, privateKeyToPem } from './keys.ts';
import { createFileOnce, requireOwnerOnly } from './private-files.ts';
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts';

/** What a join token says: its bearer may once get a certificate for `spiffeId`. */
export interface JoinClaims {
  readonly spiffeId: SpiffeId;
  /** Names the token; the CA takes each once. */
  readonly tokenId: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The WorkloadGroup that the workload may join, where the token is bound to one. */
  readonly group: string | undefined;
}

const ISSUER = 'mizzen-join';
const AUDIENCE = 'mizzen-ca';
const ALGORITHM = 'ES256';
export const DEFAULT_JOIN_TOKEN_TTL_MS = 600_000;
// The CA remembers used tokens until they expire; a bound on their life bounds that memory.
const MAX_JOIN_TOKEN_TTL_MS = 86_400_000;

/** A short-lived JWS (ES256) that proves an identity to the CA, once. `ttlMs` 1 s to 24 h, default 10 min. */
export async function createJoinToken(
  key: KeyObject,
  claims: { spiffeId: SpiffeId; group?: string | undefined; ttlMs?: number; now?: number },
): Promise<string> {
  const ttlMs = claims.ttlMs ?? DEFAULT_JOIN_TOKEN_TTL_MS;
  if (!(ttlMs >= 1000 && ttlMs <= MAX_JOIN_TOKEN_TTL_MS))
    throw new MizzenError('MIZZEN_IDENTITY', 'a join token lives between 1s and 24h; choose such a time');
  const issuedAt = Math.floor((claims.now ?? Date.now()) / 1000);
  return new SignJWT(claims.group === undefined ? {} : { group: claims.group })
    .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(claims.spiffeId)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + Math.floor(ttlMs / 1000))
    .setJti(randomUUID())
    .sign(key);
}

/** Whether a token says of itself that it is a join token; it proves nothing. */
export function isJoinToken(token: string): boolean {
  try {
    return decodeJwt(token).iss === ISSUER;
  } catch {
    return false;
  }
}

/** Throws MIZZEN_IDENTITY with the reason where the token is not one that the key's owner gave, is expired or lacks a claim. */
export async function verifyJoinToken(publicKey: KeyObject, token: string, now = Date.now()): Promise<JoinClaims> {
  const { payload } = await jwtVerify(token, publicKey, {
    algorithms: [ALGORITHM],
    issuer: ISSUER,
    audience: AUDIENCE,
    currentDate: new Date(now),
    requiredClaims: ['sub', 'exp', 'iat', 'jti'],
  }).catch((thrown: unknown) => {
    throw new MizzenError('MIZZEN_IDENTITY', describeFailure(thrown), { cause: thrown });
  });
  const identity = parseSpiffeId(payload.sub ?? '');
  if (!identity) throw new MizzenError('MIZZEN_IDENTITY', 'the join token names no valid SPIFFE id; make a new one');
  const { exp = 0, iat = 0, jti = '', group } = payload;
  if ((exp - iat) * 1000 > MAX_JOIN_TOKEN_TTL_MS || iat * 1000 > now + 60_000)
    throw new MizzenError('MIZZEN_IDENTITY', 'the join token lives longer than 24h; make a new one');
  if (jti === '' || jti.length > 128) throw new MizzenError('MIZZEN_IDENTITY', 'the join token has no usable jti; make a new one');
  return { spiffeId: identity.id, tokenId: jti, expiresAt: exp * 1000, group: typeof group === 'string' ? group : undefined };
}

function describeFailure(thrown: unknown): string {
  const code = typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : '';
  switch (code) {
    case errors.JWTExpired.code:
      return 'the join token has expired; make a new one with "mizzen token create"';
    case errors.JWSSignatureVerificationFailed.code:
      return 'the join token was not signed by this mesh; make one with "mizzen token create" of the same home';
    case errors.JWTClaimValidationFailed.code:
      return `the join token does not fit this CA: ${errorMessage(thrown)}`;
    default:
      return `the join token is not valid: ${errorMessage(thrown)}`;
  }
}

/**
 * Reads the key that signs join tokens, making it (0600, folder 0700) where there is none; two processes that start at once get the same.
 * Throws MIZZEN_IDENTITY where the file is broken or readable by others.
 */
export async function ensureJoinTokenKey(file: string): Promise<{ privateKey: KeyObject; publicKey: KeyObject }> {
  const pem = (await readIfThere(file)) ?? (await createJoinTokenKey(file));
  await requireOwnerOnly(file);
  try {
    const privateKey = createPrivateKey(pem);
    if (privateKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error('it is not a P-256 key');
    return { privateKey, publicKey: createPublicKey(privateKey) };
  } catch (thrown) {
    throw new MizzenError('MIZZEN_IDENTITY', `${file} holds no usable key: ${errorMessage(thrown)}; remove it and a new one is made`, {
      cause: thrown,
    });
  }
}

async function createJoinTokenKey(file: string): Promise<string> {
  await createFileOnce(file, privateKeyToPem((await generateKeys('ec-p256')).privateKey));
  return readFile(file, 'utf8');
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new MizzenError('MIZZEN_IDENTITY', `${file} cannot be read: ${errorMessage(thrown)}`, { cause: thrown });
  }
}
