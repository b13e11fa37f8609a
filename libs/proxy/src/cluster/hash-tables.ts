import type { Endpoint } from './endpoint.ts';

/** Consistent hashing: most keys keep their endpoint when the set changes. */
export interface HashTable {
  lookup(hash: number, isExcluded?: (endpoint: Endpoint) => boolean): Endpoint;
}

const MAX_RING_SIZE = 8 * 1024 * 1024;
const MAX_PROBES = 64;

/** 32-bit FNV-1a with a final avalanche (murmur3's), so that near names spread. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mix(hash);
}

function mix(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A ketama ring: each endpoint owns points in proportion to its weight, at least `minimumSize` in all. */
export function buildRing(endpoints: readonly Endpoint[], minimumSize: number): HashTable {
  const total = endpoints.reduce((sum, endpoint) => sum + endpoint.weight, 0);
  const lightest = endpoints.reduce((least, endpoint) => Math.min(least, endpoint.weight), Number.POSITIVE_INFINITY);
  const size = Math.min(Math.max(minimumSize, Math.ceil(total / lightest)), MAX_RING_SIZE);
  const points: { readonly hash: number; readonly owner: number }[] = [];
  endpoints.forEach((endpoint, owner) => {
    const count = Math.max(1, Math.round((endpoint.weight / total) * size));
    for (let index = 0; index < count; index++) points.push({ hash: hashText(`${endpoint.addressText}_${index}`), owner });
  });
  points.sort((a, b) => a.hash - b.hash);
  const hashes = Uint32Array.from(points, (point) => point.hash);
  const owners = Uint32Array.from(points, (point) => point.owner);
  return {
    lookup: (hash, isExcluded) => probe(endpoints, owners, { start: successor(hashes, mix(hash)), isExcluded }),
  };
}

function successor(hashes: Uint32Array, hash: number): number {
  let low = 0;
  let high = hashes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((hashes[middle] as number) < hash) low = middle + 1;
    else high = middle;
  }
  return low === hashes.length ? 0 : low;
}

/** Maglev: a table of prime size in which endpoints take turns at their own permutations. Source: Eisenbud et al., NSDI 2016, §3.4. */
export function buildMaglevTable(endpoints: readonly Endpoint[], size: number): HashTable {
  const table = new Uint32Array(size).fill(0xffffffff);
  const heaviest = endpoints.reduce((most, endpoint) => Math.max(most, endpoint.weight), 0);
  const turns = endpoints.map((endpoint) => ({
    offset: hashText(endpoint.addressText) % size,
    skip: (hashText(`${endpoint.addressText}#`) % (size - 1)) + 1,
    next: 0,
    credit: 0,
  }));
  let filled = 0;
  while (filled < size) {
    for (let owner = 0; owner < turns.length && filled < size; owner++) {
      const turn = turns[owner] as (typeof turns)[number];
      turn.credit += (endpoints[owner] as Endpoint).weight;
      if (turn.credit < heaviest) continue;
      turn.credit -= heaviest;
      let slot = (turn.offset + turn.skip * turn.next) % size;
      while (table[slot] !== 0xffffffff) slot = (turn.offset + turn.skip * ++turn.next) % size;
      turn.next++;
      table[slot] = owner;
      filled++;
    }
  }
  return { lookup: (hash, isExcluded) => probe(endpoints, table, { start: mix(hash) % size, isExcluded }) };
}

function probe(
  endpoints: readonly Endpoint[],
  owners: Uint32Array,
  from: { readonly start: number; readonly isExcluded: ((endpoint: Endpoint) => boolean) | undefined },
): Endpoint {
  const first = endpoints[owners[from.start] as number] as Endpoint;
  if (from.isExcluded === undefined || !from.isExcluded(first)) return first;
  for (let step = 1; step < Math.min(MAX_PROBES, owners.length); step++) {
    const candidate = endpoints[owners[(from.start + step) % owners.length] as number] as Endpoint;
    if (!from.isExcluded(candidate)) return candidate;
  }
  return first;
}
