import { describe, expect, it } from '@jest/globals';
import type { DnsLoad } from '../contract.ts';
import { StatRegistry } from '../observe/stat-registry.ts';
import type { Resolve } from './dns.ts';
import { DnsCaches } from './dns-cache.ts';
import type { DnsCacheConfig } from './dns-cache-config.ts';
import { fakeClock } from './testing.ts';

const CONFIG: DnsCacheConfig = {
  name: 'names',
  lookup: 'v4',
  refreshMs: 1000,
  failureRefresh: { baseMs: 100, maxMs: 100 },
  hostTtlMs: 5000,
  maxHosts: 2,
  maxPendingRequests: 1,
  queryTimeoutMs: 300,
  preresolved: [],
  nameServers: [],
};

/** A resolver whose answers the test gives. */
function heldResolver(): { readonly resolve: Resolve; readonly asked: string[]; answer(addresses: readonly string[]): Promise<void> } {
  const waiting: ((addresses: readonly string[]) => void)[] = [];
  const asked: string[] = [];
  return {
    asked,
    resolve: (name) => {
      asked.push(name);
      return new Promise((resolve) => waiting.push(resolve));
    },
    async answer(addresses) {
      waiting.shift()?.(addresses);
      await settled();
    },
  };
}

/** Promises that were kept have told those who wait for them. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

function newCache(config: Partial<DnsCacheConfig> = {}) {
  const clock = fakeClock();
  const resolver = heldResolver();
  const caches = new DnsCaches({ clock, random: () => 0, resolve: resolver.resolve, stats: new StatRegistry() });
  return { clock, resolver, caches, cache: caches.acquire({ ...CONFIG, ...config }) };
}

const ignored = (): void => undefined;
const kindOf = ({ kind }: DnsLoad): string => kind;

describe('a cache of names', () => {
  it('asks once for a name that several want, and tells them all', async () => {
    const { cache, resolver } = newCache({ maxPendingRequests: 2 });
    const told: string[] = [];
    expect(kindOf(cache.load('a.example', 80, () => told.push('first')))).toBe('pending');
    expect(kindOf(cache.load('A.example:80', 443, () => told.push('second')))).toBe('pending');
    await resolver.answer(['10.0.0.1']);
    expect(told).toEqual(['first', 'second']);
    expect(resolver.asked).toEqual(['a.example']);
    expect(cache.addressesOf('a.example', 80)).toEqual({ name: 'a.example', port: 80, addresses: ['10.0.0.1'] });
  });

  it('tells nobody whom another one gave up as it was told', async () => {
    const { cache, resolver } = newCache({ maxPendingRequests: 2 });
    const told: string[] = [];
    const loads: DnsLoad[] = [];
    const first = (): void => {
      told.push('first');
      for (const load of loads) if (load.kind === 'pending') load.cancel();
    };
    loads.push(cache.load('a.example', 80, first));
    loads.push(cache.load('a.example', 80, () => told.push('second')));
    await resolver.answer(['10.0.0.1']);
    expect(told).toEqual(['first']);
    // Nobody waits: there is room for two, and for no third.
    const kinds = ['b.example', 'b.example', 'b.example'].map((name) => kindOf(cache.load(name, 80, ignored)));
    expect(kinds).toEqual(['pending', 'pending', 'pending-overflow']);
  });

  it('has room for so many names and waiting requests; who no longer waits makes room', async () => {
    const { cache, resolver } = newCache();
    const first = cache.load('a.example', 80, ignored);
    expect(kindOf(cache.load('a.example', 80, ignored))).toBe('pending-overflow');
    if (first.kind === 'pending') first.cancel();
    expect(kindOf(cache.load('a.example', 80, ignored))).toBe('pending');
    await resolver.answer(['10.0.0.1']);
    expect(kindOf(cache.load('b.example', 80, ignored))).toBe('pending');
    expect(kindOf(cache.load('c.example', 80, ignored))).toBe('overflow');
  });

  it('knows that there is no such name, and asks again', async () => {
    const { cache, clock, resolver } = newCache();
    cache.load('a.example', 80, ignored);
    await resolver.answer([]);
    expect(kindOf(cache.load('a.example', 80, ignored))).toBe('failed');
    clock.advance(100);
    await resolver.answer(['10.0.0.1']);
    expect(kindOf(cache.load('a.example', 80, ignored))).toBe('known');
  });

  it('keeps the last answer while there is none, and gives up one that does not come', async () => {
    const { cache, clock, resolver } = newCache();
    cache.load('a.example', 80, ignored);
    await resolver.answer(['10.0.0.1']);
    clock.advance(1000);
    clock.advance(300);
    await settled();
    expect(resolver.asked).toHaveLength(2);
    expect(cache.addressesOf('a.example', 80).addresses).toEqual(['10.0.0.1']);
  });

  it('forgets a name that nobody asks for', async () => {
    const { cache, clock, resolver } = newCache({ refreshMs: 10_000 });
    cache.load('a.example', 80, ignored);
    await resolver.answer(['10.0.0.1']);
    clock.advance(5000);
    expect(cache.knows('a.example', 80)).toBe(false);
    expect(resolver.asked).toHaveLength(1);
  });

  it('is one for clusters that describe it alike, and ends with the last of them', async () => {
    const { caches, cache, clock, resolver } = newCache();
    expect(caches.acquire(CONFIG)).toBe(cache);
    cache.load('a.example', 80, ignored);
    await resolver.answer(['10.0.0.1']);
    caches.release(cache);
    expect(caches.named('names')).toBe(cache);
    caches.release(cache);
    expect(caches.named('names')).toBeUndefined();
    clock.advance(60_000);
    expect(resolver.asked).toHaveLength(1);
  });

  it('asks for no address', () => {
    const { cache, resolver } = newCache();
    cache.load('[::1]:80', 443, ignored);
    expect(resolver.asked).toEqual([]);
  });
});
