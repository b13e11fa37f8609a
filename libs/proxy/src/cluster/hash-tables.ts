import { xxHash64 } from '@mizzen/matching';
import type { Endpoint } from './endpoint.ts';
import type { ConsistentHashing } from './lb-policy.ts';
import type { WeightedHost } from './load-balancers.ts';
import { murmurHash2 } from './murmur-hash.ts';

/** Consistent hashing: most keys keep their endpoint when the set changes. */
export interface HashTable {
  /** `attempt` counts from 0: a further attempt finds, in general, another endpoint. */
  lookup(hash: bigint, attempt: number): Endpoint;
}

export interface RingOptions {
  readonly minimumSize: number;
  readonly maximumSize: number;
  readonly hashFunction: 'xxHash' | 'murmurHash2';
  readonly hashing: ConsistentHashing;
}

const UNSIGNED_64 = (1n << 64n) - 1n;

/** A key of its own in the endpoint's `envoy.lb` metadata beats its name and its address. */
function keyOf(endpoint: Endpoint, hashing: ConsistentHashing): string {
  const own = endpoint.lbMetadata?.['hash_key'];
  if (typeof own === 'string' && own !== '') return own;
  return hashing.usesHostname && endpoint.hostname !== '' ? endpoint.hostname : endpoint.addressText;
}

/**
 * A ketama ring: each endpoint owns points in proportion to its weight; the lightest one as many as a ring of the least size gives it.
 * The same keys find the same endpoints as from Envoy. Source: envoy RingHashLoadBalancer::Ring (1.40).
 */
export function buildRing(hosts: readonly WeightedHost[], options: RingOptions): HashTable {
  const { minimumSize, maximumSize, hashing } = options;
  const hashOf = options.hashFunction === 'murmurHash2' ? murmurHash2 : xxHash64;
  const lightest = hosts.reduce((least, { weight }) => Math.min(least, weight), 1);
  const scale = Math.min(Math.ceil(lightest * minimumSize) / lightest, maximumSize);
  const points: { readonly hash: bigint; readonly owner: number }[] = [];
  let target = 0;
  hosts.forEach(({ endpoint, weight }, owner) => {
    const key = keyOf(endpoint, hashing);
    target += scale * weight;
    for (let index = 0; points.length < target; index++) points.push({ hash: hashOf(`${key}_${index}`), owner });
  });
  points.sort((a, b) => (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0));
  const hashes = BigUint64Array.from(points, ({ hash }) => hash);
  const owners = Uint32Array.from(points, ({ owner }) => owner);
  return {
    lookup: (hash, attempt) => (hosts[owners[(successor(hashes, hash) + attempt) % owners.length] as number] as WeightedHost).endpoint,
  };
}

/** Index of the first point at or behind the hash; behind the last one the ring begins again. */
function successor(hashes: BigUint64Array, hash: bigint): number {
  let begin = 0;
  let end = hashes.length;
  while (begin < end) {
    const middle = (begin + end) >>> 1;
    if ((hashes[middle] as bigint) < hash) begin = middle + 1;
    else end = middle;
  }
  return begin === hashes.length ? 0 : begin;
}

/**
 * Maglev: a table of prime size in which endpoints take turns, in proportion to their weights, at their own permutations of the slots.
 * Source: Eisenbud et al., NSDI 2016, §3.4; envoy MaglevTable (1.40), for the keys and the order.
 */
export function buildMaglevTable(
  hosts: readonly WeightedHost[],
  options: { readonly size: number; readonly hashing: ConsistentHashing },
): HashTable {
  const { size } = options;
  const heaviest = hosts.reduce((most, { weight }) => Math.max(most, weight), 0);
  const turns = hosts
    .map(({ endpoint, weight }) => ({ endpoint, weight, key: keyOf(endpoint, options.hashing) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ endpoint, weight, key }) => ({
      endpoint,
      weight,
      slot: Number(xxHash64(key) % BigInt(size)),
      skip: Number(xxHash64(key, 1) % BigInt(size - 1)) + 1,
      target: 0,
    }));
  const owners = new Uint32Array(size);
  for (let filled = 0, iteration = 1; filled < size; iteration++) {
    for (let index = 0; index < turns.length && filled < size; index++) {
      const turn = turns[index] as (typeof turns)[number];
      if (iteration * turn.weight < turn.target) continue;
      turn.target += heaviest;
      while (owners[turn.slot] !== 0) turn.slot = (turn.slot + turn.skip) % size;
      // 0 stands for a free slot.
      owners[turn.slot] = index + 1;
      turn.slot = (turn.slot + turn.skip) % size;
      filled++;
    }
  }
  return {
    lookup(hash, attempt) {
      const varied = attempt === 0 ? hash : hash ^ ((UNSIGNED_64 - BigInt(attempt) + 1n) & UNSIGNED_64);
      return (turns[(owners[Number(varied % BigInt(size))] as number) - 1] as (typeof turns)[number]).endpoint;
    },
  };
}
