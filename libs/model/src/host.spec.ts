import { describe, expect, it } from '@jest/globals';
import { HostIndex, hostsOverlap, isHostWithin, parseServiceHost, resolveShortName } from './host.ts';

describe('isHostWithin', () => {
  it.each([
    ['a.example.com', '*.example.com', true],
    ['a.b.example.com', '*.example.com', true],
    ['example.com', '*.example.com', false],
    ['*.b.example.com', '*.example.com', true],
    ['*.example.com', '*.b.example.com', false],
    ['*.example.com', '*.example.com', true],
    ['anything', '*', true],
    ['a', 'a', true],
    ['a', 'b', false],
  ])('%s within %s: %s', (host, pattern, expected) => {
    expect(isHostWithin(host, pattern)).toBe(expected);
  });

  it('overlaps in either direction', () => {
    expect([hostsOverlap('*.com', 'a.com'), hostsOverlap('a.com', '*.com'), hostsOverlap('a.com', 'b.com')]).toEqual([true, true, false]);
  });
});

describe('resolveShortName', () => {
  it.each([
    ['reviews', 'reviews.ns.svc.cluster.local'],
    ['Reviews', 'reviews.ns.svc.cluster.local'],
    ['reviews.other', 'reviews.other'],
    ['*.local', '*.local'],
    ['*', '*'],
    ['::1', '::1'],
  ])('%s is %s', (host, expected) => {
    expect(resolveShortName(host, { namespace: 'ns', domain: 'cluster.local' })).toBe(expected);
  });
});

describe('parseServiceHost', () => {
  it('reads services of the mesh domain only', () => {
    expect(parseServiceHost('a.b.svc.cluster.local', 'cluster.local')).toEqual({ name: 'a', namespace: 'b' });
    for (const host of ['a.b.c.svc.cluster.local', 'a.b', '*.b.svc.cluster.local', '.b.svc.cluster.local'])
      expect(parseServiceHost(host, 'cluster.local')).toBeUndefined();
  });
});

describe('HostIndex', () => {
  it('finds the most specific pattern and keeps the first of equal ones', () => {
    const index = new HostIndex<string>();
    expect(['*', '*.com', '*.a.com', 'x.a.com', '*.com'].map((pattern) => index.add(pattern, pattern))).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(['x.a.com', 'y.a.com', 'b.com', 'org'].map((host) => index.find(host))).toEqual(['x.a.com', '*.a.com', '*.com', '*']);
  });
});
