import { describe, expect, it } from '@jest/globals';
import { formatSpiffeId, parseSpiffeId } from './spiffe-id.ts';

describe('parseSpiffeId', () => {
  it('splits an identity into its parts', () => {
    expect(parseSpiffeId('spiffe://cluster.local/ns/default/sa/bookinfo-reviews')).toMatchObject({
      trustDomain: 'cluster.local',
      namespace: 'default',
      serviceAccount: 'bookinfo-reviews',
    });
  });

  it.each([
    ['another scheme', 'https://cluster.local/ns/a/sa/b'],
    ['a trust domain in upper case', 'spiffe://Cluster.local/ns/a/sa/b'],
    ['a missing service account', 'spiffe://cluster.local/ns/a'],
    ['an empty namespace', 'spiffe://cluster.local/ns//sa/b'],
    ['more segments', 'spiffe://cluster.local/ns/a/sa/b/c'],
    ['segments in another order', 'spiffe://cluster.local/sa/a/ns/b'],
    ['a comma', 'spiffe://cluster.local/ns/a/sa/b, URI:spiffe://cluster.local/ns/a/sa/c'],
    ['a NUL', 'spiffe://cluster.local/ns/a/sa/b\0c'],
    ['a relative segment', 'spiffe://cluster.local/ns/../sa/b'],
    ['a query', 'spiffe://cluster.local/ns/a/sa/b?x'],
    ['too long a text', `spiffe://cluster.local/ns/a/sa/${'b'.repeat(2048)}`],
  ])('refuses %s', (_, text) => {
    expect(parseSpiffeId(text)).toBeUndefined();
  });
});

describe('formatSpiffeId', () => {
  it('is the inverse of parsing', () => {
    const id = formatSpiffeId({ trustDomain: 'td', namespace: 'istio-system', serviceAccount: 'istiod' });
    expect(parseSpiffeId(id)).toMatchObject({ id, trustDomain: 'td', namespace: 'istio-system', serviceAccount: 'istiod' });
  });

  it('writes an @ of the trust domain as a dot', () => {
    expect(formatSpiffeId({ trustDomain: 'project@google', namespace: 'a', serviceAccount: 'b' })).toBe(
      'spiffe://project.google/ns/a/sa/b',
    );
  });

  it('refuses a part that would change the identity', () => {
    expect(() => formatSpiffeId({ trustDomain: 'td', namespace: 'a/sa/admin', serviceAccount: 'b' })).toThrow(/not a valid SPIFFE id/);
  });
});
