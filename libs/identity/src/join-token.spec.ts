import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type JWTPayload, SignJWT } from 'jose';
import { createJoinToken, ensureJoinTokenKey, verifyJoinToken } from './join-token.ts';
import { generateKeys, type KeyPair } from './keys.ts';
import { formatSpiffeId } from './spiffe-id.ts';

const NOW = Date.UTC(2026, 10, 21, 12);
const spiffeId = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'reviews' });

describe('a join token', () => {
  let keys: KeyPair;
  beforeEach(async () => {
    keys = await generateKeys();
  });

  it('carries the identity, an id of its own, its end and the group', async () => {
    const token = await createJoinToken(keys.privateKey, { spiffeId, group: 'reviews-v1', now: NOW });
    const other = await createJoinToken(keys.privateKey, { spiffeId, now: NOW, ttlMs: 5000 });
    const claims = await verifyJoinToken(keys.publicKey, token, NOW);
    expect(claims).toEqual({ spiffeId, tokenId: expect.any(String), expiresAt: NOW + 600_000, group: 'reviews-v1' });
    expect(await verifyJoinToken(keys.publicKey, other, NOW)).toMatchObject({ expiresAt: NOW + 5000, group: undefined });
    expect((await verifyJoinToken(keys.publicKey, other, NOW)).tokenId).not.toBe(claims.tokenId);
  });

  it('is refused once it expired', async () => {
    const token = await createJoinToken(keys.privateKey, { spiffeId, now: NOW, ttlMs: 5000 });
    await expect(verifyJoinToken(keys.publicKey, token, NOW + 5000)).rejects.toThrow(/has expired; make a new one/);
  });

  it('is refused when another mesh signed it', async () => {
    const token = await createJoinToken((await generateKeys()).privateKey, { spiffeId, now: NOW });
    await expect(verifyJoinToken(keys.publicKey, token, NOW)).rejects.toThrow(/not signed by this mesh/);
  });

  it.each([
    ['no token at all', 'garbage'],
    ['an empty text', ''],
    ['an unsigned token', `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`],
  ])('is refused when it is %s', async (_, token) => {
    await expect(verifyJoinToken(keys.publicKey, token, NOW)).rejects.toThrow(/the join token is not valid/);
  });

  it.each([
    ['another audience', { aud: 'istio-ca' }, /unexpected "aud"/],
    ['no id', { jti: undefined }, /missing required "jti"/],
    ['an identity that is none', { sub: 'spiffe://cluster.local/ns/a' }, /names no valid SPIFFE id/],
    ['a life of a week', { exp: NOW / 1000 + 604_800 }, /longer than 24h/],
    ['a beginning in the future', { iat: NOW / 1000 + 3600, exp: NOW / 1000 + 3700 }, /longer than 24h/],
  ])('is refused with %s', async (_, change, reason) => {
    const good = { iss: 'mizzen-join', aud: 'mizzen-ca', sub: spiffeId, iat: NOW / 1000, exp: NOW / 1000 + 60, jti: 'one' };
    const token = await new SignJWT({ ...good, ...change } as JWTPayload).setProtectedHeader({ alg: 'ES256' }).sign(keys.privateKey);
    await expect(verifyJoinToken(keys.publicKey, token, NOW)).rejects.toThrow(reason);
  });

  it('cannot be made for longer than a day', async () => {
    await expect(createJoinToken(keys.privateKey, { spiffeId, ttlMs: 90_000_000 })).rejects.toThrow(/between 1s and 24h/);
  });
});

describe('ensureJoinTokenKey', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mizzen-join-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('makes one key, also for many who ask at once, readable by its owner only', async () => {
    const file = join(folder, 'ca', 'join-token-key.pem');
    const all = await Promise.all(Array.from({ length: 8 }, () => ensureJoinTokenKey(file)));
    expect(all.every(({ publicKey }) => publicKey.equals((all[0] as { publicKey: typeof publicKey }).publicKey))).toBe(true);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'ca'))).mode & 0o777).toBe(0o700);
  });

  it('keeps the key it finds', async () => {
    const file = join(folder, 'join-token-key.pem');
    await ensureJoinTokenKey(file);
    const before = await readFile(file, 'utf8');
    await ensureJoinTokenKey(file);
    expect(await readFile(file, 'utf8')).toBe(before);
  });

  it('refuses a key that others may read', async () => {
    const file = join(folder, 'join-token-key.pem');
    await ensureJoinTokenKey(file);
    await chmod(file, 0o644);
    await expect(ensureJoinTokenKey(file)).rejects.toThrow(/may be read by others \(mode 0644\): run chmod 600/);
  });

  it('refuses a broken file with its name', async () => {
    const file = join(folder, 'join-token-key.pem');
    await writeFile(file, 'no key', { mode: 0o600 });
    await expect(ensureJoinTokenKey(file)).rejects.toThrow(/join-token-key\.pem holds no usable key/);
  });
});
