import type { Clock, Random } from '@mizzen/core';
import type { LoadBalancerContext } from '../contract.ts';
import { EdfScheduler } from './edf-scheduler.ts';
import type { Endpoint } from './endpoint.ts';
import { buildMaglevTable, buildRing, type HashTable } from './hash-tables.ts';
import type { ConsistentHashing, LbPolicy, SlowStart } from './lb-policy.ts';

/** Chooses among the endpoints of one set. Rebuilt when the set changes. */
export interface LoadBalancer {
  /** Never called on an empty set. `attempt` counts from 0: the endpoints of those before were not wanted. */
  choose(context: LoadBalancerContext, attempt: number): Endpoint;
}

/** An endpoint with its share of the whole set: shares add up to 1. */
export interface WeightedHost {
  readonly endpoint: Endpoint;
  readonly weight: number;
}

export interface LoadBalancerTools {
  readonly clock: Clock;
  readonly random: Random;
  /** Requests under way in the cluster: what bounded loads are measured by. */
  readonly active: { readonly requests: number };
}

type UnhashedPolicy = Exclude<LbPolicy, { readonly kind: 'ringHash' | 'maglev' }>;
type HashPolicy = Extract<LbPolicy, { readonly kind: 'ringHash' | 'maglev' }>;

export function createLoadBalancer(endpoints: readonly Endpoint[], policy: UnhashedPolicy, tools: LoadBalancerTools): LoadBalancer {
  const { random } = tools;
  if (policy.kind === 'random') return { choose: () => endpoints[Math.floor(random() * endpoints.length)] as Endpoint };
  const slowStart = policy.kind === 'clusterProvided' ? undefined : policy.slowStart;
  const weightOf = slowStart === undefined ? undefined : slowStartWeight(slowStart, tools.clock);
  const isWeighted = !hasEqualWeights(endpoints) || (slowStart !== undefined && isAnyStarting(endpoints, slowStart, tools.clock));
  if (!isWeighted || endpoints.length === 1) {
    return policy.kind === 'leastRequest' ? new LeastRequest(endpoints, policy, random) : new RoundRobin(endpoints, random);
  }
  const staticWeight = weightOf ?? ((endpoint: Endpoint): number => endpoint.weight);
  const scheduler = new EdfScheduler(
    endpoints,
    policy.kind === 'leastRequest' ? biasedWeight(staticWeight, policy.activeRequestBias) : staticWeight,
    random,
  );
  return { choose: () => scheduler.pick() };
}

function hasEqualWeights(endpoints: readonly Endpoint[]): boolean {
  return endpoints.every((endpoint) => endpoint.weight === endpoints[0]?.weight);
}

function isAnyStarting(endpoints: readonly Endpoint[], { windowMs }: SlowStart, clock: Clock): boolean {
  const since = clock.monotonic() - windowMs;
  return endpoints.some((endpoint) => endpoint.healthySinceMs > since);
}

/** Grows from the least share to the whole weight over the window. Source: envoy EdfLoadBalancerBase::applySlowStartFactor (1.40). */
function slowStartWeight({ windowMs, aggression, leastShare }: SlowStart, clock: Clock): (endpoint: Endpoint) => number {
  return (endpoint) => {
    const healthyMs = clock.monotonic() - endpoint.healthySinceMs;
    if (healthyMs >= windowMs) return endpoint.weight;
    return endpoint.weight * Math.max((Math.max(1, healthyMs) / windowMs) ** (1 / aggression), leastShare);
  };
}

/** The busier, the lighter. Source: envoy LeastRequestLoadBalancer::hostWeight (1.40). */
function biasedWeight(weightOf: (endpoint: Endpoint) => number, bias: number): (endpoint: Endpoint) => number {
  if (bias === 0) return weightOf;
  return (endpoint) => weightOf(endpoint) / (endpoint.activeRequests + 1) ** bias;
}

class RoundRobin implements LoadBalancer {
  readonly #endpoints: readonly Endpoint[];
  #next: number;

  constructor(endpoints: readonly Endpoint[], random: Random) {
    this.#endpoints = endpoints;
    // A random start, so that the proxies of a fleet do not all begin with the same endpoint.
    this.#next = Math.floor(random() * endpoints.length);
  }

  choose(): Endpoint {
    if (this.#next >= this.#endpoints.length) this.#next = 0;
    return this.#endpoints[this.#next++] as Endpoint;
  }
}

/**
 * The least busy of some endpoints chosen at random (two by default), or of all. A tie goes to the one that was chosen longest ago, so that
 * few requests in a row reach every endpoint.
 */
class LeastRequest implements LoadBalancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #choiceCount: number;
  readonly #random: Random;
  readonly #scansAll: boolean;
  /** In a small set a tie looks at all: chance alone would leave one of three out of ten requests now and then. */
  readonly #scansTies: boolean;
  #choices = 0;

  constructor(
    endpoints: readonly Endpoint[],
    { choiceCount, isFullScan }: { readonly choiceCount: number; readonly isFullScan: boolean },
    random: Random,
  ) {
    this.#endpoints = endpoints;
    this.#choiceCount = Math.min(choiceCount, endpoints.length);
    this.#scansAll = isFullScan || choiceCount > endpoints.length;
    this.#scansTies = endpoints.length <= MAX_SCANNED;
    this.#random = random;
    this.#choices = endpoints.reduce((latest, endpoint) => Math.max(latest, endpoint.lastChosen), 0);
  }

  choose(): Endpoint {
    const chosen = this.#scansAll ? this.#leastOfAll() : this.#leastOfSome();
    chosen.lastChosen = ++this.#choices;
    return chosen;
  }

  #leastOfAll(): Endpoint {
    let best = this.#endpoints[0] as Endpoint;
    for (const candidate of this.#endpoints) if (isBetter(candidate, best)) best = candidate;
    return best;
  }

  #leastOfSome(): Endpoint {
    const endpoints = this.#endpoints;
    let previous = this.#pick();
    let best = endpoints[previous] as Endpoint;
    for (let taken = 1; taken < this.#choiceCount; taken++) {
      let index = this.#pick();
      // Distinct from the one before; with two choices that makes both distinct.
      if (index === previous) index = (index + 1 + Math.floor(this.#random() * (endpoints.length - 1))) % endpoints.length;
      previous = index;
      const candidate = endpoints[index] as Endpoint;
      if (isBetter(candidate, best)) best = candidate;
    }
    if (this.#scansTies) for (const candidate of endpoints) if (isBetterTie(candidate, best)) best = candidate;
    return best;
  }

  #pick(): number {
    return Math.floor(this.#random() * this.#endpoints.length);
  }
}

const MAX_SCANNED = 8;

function isBetterTie(candidate: Endpoint, best: Endpoint): boolean {
  return candidate.activeRequests === best.activeRequests && candidate.lastChosen < best.lastChosen;
}

function isBetter(candidate: Endpoint, best: Endpoint): boolean {
  return candidate.activeRequests < best.activeRequests || isBetterTie(candidate, best);
}

/** Hash policies: one table for a whole priority; without a hash a random place, as Envoy does. */
export function createHashBalancer(hosts: readonly WeightedHost[], policy: HashPolicy, tools: LoadBalancerTools): LoadBalancer {
  const table = policy.kind === 'ringHash' ? buildRing(hosts, policy) : buildMaglevTable(hosts, policy);
  const { hashing } = policy;
  const bounded = hashing.balanceFactor === 0 ? table : new BoundedLoad(table, hosts, { hashing, active: tools.active });
  return { choose: ({ hash }, attempt) => bounded.lookup(hash === undefined ? randomHash(tools.random) : wideHash(hash), attempt) };
}

function randomHash(random: Random): bigint {
  return (BigInt(Math.floor(random() * 2 ** 32)) << 32n) | BigInt(Math.floor(random() * 2 ** 32));
}

/** A hash of 32 bits would meet only the first points of a ring of 64 bits. */
export function wideHash(hash: bigint | number): bigint {
  if (typeof hash === 'bigint') return hash;
  const low = (Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) ^ (hash >>> 12)) >>> 0;
  return (BigInt(hash >>> 0) << 32n) | BigInt(low);
}

/**
 * No endpoint gets more than so many percent of the average load: a full one gives way to another in an order that the hash determines.
 * Source: envoy BoundedLoadHashingLoadBalancer (1.40); Mirrokni et al., arXiv:1608.01350.
 */
class BoundedLoad implements HashTable {
  readonly #table: HashTable;
  readonly #hosts: readonly WeightedHost[];
  readonly #weights: ReadonlyMap<Endpoint, number>;
  readonly #balanceFactor: number;
  readonly #active: { readonly requests: number };

  constructor(
    table: HashTable,
    hosts: readonly WeightedHost[],
    options: { readonly hashing: ConsistentHashing; readonly active: { readonly requests: number } },
  ) {
    this.#table = table;
    this.#hosts = hosts;
    this.#weights = new Map(hosts.map(({ endpoint, weight }) => [endpoint, weight]));
    this.#balanceFactor = options.hashing.balanceFactor;
    this.#active = options.active;
  }

  lookup(hash: bigint, attempt: number): Endpoint {
    const first = this.#table.lookup(hash, attempt);
    let least = first;
    let leastLoad = this.#loadOf(first, this.#weights.get(first) ?? 1);
    if (leastLoad <= 1) return first;
    for (const { endpoint, weight } of shuffled(this.#hosts, Number(hash & 0xffffffffn))) {
      if (endpoint === first) continue;
      const load = this.#loadOf(endpoint, weight);
      if (load <= 1) return endpoint;
      if (load < leastLoad) {
        least = endpoint;
        leastLoad = load;
      }
    }
    return least;
  }

  #loadOf(endpoint: Endpoint, weight: number): number {
    const slots = Math.floor(((this.#active.requests + 1) * this.#balanceFactor + 99) / 100);
    return endpoint.activeRequests / Math.max(Math.ceil(slots * weight), 1);
  }
}

/** The same order for the same seed. */
function* shuffled<T>(items: readonly T[], seed: number): Generator<T> {
  const rest = [...items];
  let state = seed;
  while (rest.length > 0) {
    // mulberry32, by Tommy Ettinger.
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    const index = ((mixed ^ (mixed >>> 14)) >>> 0) % rest.length;
    yield rest[index] as T;
    rest[index] = rest[rest.length - 1] as T;
    rest.pop();
  }
}
