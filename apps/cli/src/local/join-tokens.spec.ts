import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ensureJoinTokenKey, verifyJoinToken } from '@mizzen/identity';
import { type Home, homeAt, makeHome } from '../home.ts';
import { createTokenIssuer } from './join-tokens.ts';

describe('TokenIssuer', () => {
  let home: Home;

  beforeEach(() => {
    home = homeAt(mkdtempSync(join(tmpdir(), 'mizzen-tokens-')));
    makeHome(home);
  });

  afterEach(() => rmSync(home.root, { recursive: true, force: true }));

  it('writes a token that the CA of the home takes, for its owner alone', async () => {
    const file = await createTokenIssuer(home, 'example.org').issue({ name: 'cart', namespace: 'shop', serviceAccount: 'cart' });
    const { publicKey } = await ensureJoinTokenKey(home.joinTokenKey);
    const claims = await verifyJoinToken(publicKey, readFileSync(file, 'utf8'));
    expect(claims.spiffeId).toBe('spiffe://example.org/ns/shop/sa/cart');
    expect(statSync(file).mode & 0o077).toBe(0);
  });

  it('replaces every token when it renews, and leaves none behind', async () => {
    const issuer = createTokenIssuer(home, 'example.org');
    const file = await issuer.issue({ name: 'cart', namespace: 'shop', serviceAccount: 'cart' });
    const first = readFileSync(file, 'utf8');
    await issuer.renewAll();
    expect(readFileSync(file, 'utf8')).not.toBe(first);
    issuer.discardAll();
    expect(existsSync(file)).toBe(false);
  });
});
