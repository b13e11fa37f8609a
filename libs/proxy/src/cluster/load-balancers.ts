import type { Random } from '@mizzen/core';
import type { LoadBalancerContext } from '../contract.ts';
import type { ClusterConfig } from './cluster-config.ts';
import type { Endpoint } from './endpoint.ts';
import { buildMaglevTable, buildRing, type HashTable } from './hash-tables.ts';

/** Chooses among the usable endpoints of one priority and locality. Rebuilt when the set changes. */
export interface LoadBalancer {
  /** Never called on an empty set. */
  choose(context: LoadBalancerContext): Endpoint;
}

export function createLoadBalancer(endpoints: readonly Endpoint[], config: ClusterConfig, random: Random): LoadBalancer {
  switch (config.lbPolicy) {
    case 'roundRobin':
    case 'clusterProvided':
      return hasEqualWeights(endpoints) ? new RoundRobin(endpoints, random) : new WeightedRoundRobin(endpoints);
    case 'leastRequest':
      return new LeastRequest(endpoints, config.choiceCount, random);
    case 'random':
      return { choose: () => endpoints[Math.floor(random() * endpoints.length)] as Endpoint };
    case 'ringHash':
      return new Hashing(buildRing(endpoints, config.minimumRingSize), random);
    case 'maglev':
      return new Hashing(buildMaglevTable(endpoints, config.maglevTableSize), random);
  }
}

function hasEqualWeights(endpoints: readonly Endpoint[]): boolean {
  return endpoints.every((endpoint) => endpoint.weight === endpoints[0]?.weight);
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

/** Smooth weighted round robin: heavy endpoints are spread over the cycle instead of coming in a row. */
class WeightedRoundRobin implements LoadBalancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #credits: Float64Array;
  readonly #total: number;

  constructor(endpoints: readonly Endpoint[]) {
    this.#endpoints = endpoints;
    this.#credits = new Float64Array(endpoints.length);
    this.#total = endpoints.reduce((sum, endpoint) => sum + endpoint.weight, 0);
  }

  choose(): Endpoint {
    let best = 0;
    for (let index = 0; index < this.#endpoints.length; index++) {
      (this.#credits[index] as number) += (this.#endpoints[index] as Endpoint).weight;
      if ((this.#credits[index] as number) > (this.#credits[best] as number)) best = index;
    }
    (this.#credits[best] as number) -= this.#total;
    return this.#endpoints[best] as Endpoint;
  }
}

/**
 * The less busy of some distinct endpoints chosen at random (two by default). A tie goes to the one that was chosen longest ago, so that
 * few requests in a row reach every endpoint.
 */
class LeastRequest implements LoadBalancer {
  readonly #endpoints: readonly Endpoint[];
  readonly #choiceCount: number;
  readonly #random: Random;
  readonly #cumulatedWeights: Float64Array | undefined;
  /** In a small set a tie looks at all: chance alone would leave one of three out of ten requests now and then. */
  readonly #scansAll: boolean;
  #choices = 0;

  constructor(endpoints: readonly Endpoint[], choiceCount: number, random: Random) {
    this.#endpoints = endpoints;
    this.#choiceCount = Math.min(choiceCount, endpoints.length);
    this.#random = random;
    if (!hasEqualWeights(endpoints)) this.#cumulatedWeights = cumulate(endpoints);
    this.#scansAll = this.#cumulatedWeights === undefined && endpoints.length <= MAX_SCANNED;
    this.#choices = endpoints.reduce((latest, endpoint) => Math.max(latest, endpoint.lastChosen), 0);
  }

  choose(): Endpoint {
    const first = this.#pick();
    let best = this.#endpoints[first] as Endpoint;
    let previous = first;
    for (let taken = 1; taken < this.#choiceCount; taken++) {
      let index = this.#pick();
      // Distinct from the one before; with two choices that makes both distinct.
      if (index === previous) index = (index + 1 + Math.floor(this.#random() * (this.#endpoints.length - 1))) % this.#endpoints.length;
      previous = index;
      const candidate = this.#endpoints[index] as Endpoint;
      if (isBetter(candidate, best)) best = candidate;
    }
    if (this.#scansAll) for (const candidate of this.#endpoints) if (isBetterTie(candidate, best)) best = candidate;
    best.lastChosen = ++this.#choices;
    return best;
  }

  #pick(): number {
    const weights = this.#cumulatedWeights;
    if (weights === undefined) return Math.floor(this.#random() * this.#endpoints.length);
    return search(weights, this.#random() * (weights[weights.length - 1] as number));
  }
}

const MAX_SCANNED = 8;

function isBetterTie(candidate: Endpoint, best: Endpoint): boolean {
  return candidate.activeRequests === best.activeRequests && candidate.lastChosen < best.lastChosen;
}

function isBetter(candidate: Endpoint, best: Endpoint): boolean {
  if (candidate.activeRequests !== best.activeRequests) return candidate.activeRequests < best.activeRequests;
  // Weights have had their say in the pick; only among equals does waiting count.
  return candidate.weight === best.weight && candidate.lastChosen < best.lastChosen;
}

export function cumulate(items: readonly { readonly weight: number }[]): Float64Array {
  let sum = 0;
  return Float64Array.from(items, (item) => {
    sum += item.weight;
    return sum;
  });
}

/** Index of the first sum above `value`. */
export function search(sums: Float64Array, value: number): number {
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sums[middle] as number) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Hash policies: without a hash a random one, as Envoy does. An excluded endpoint gives way to the next on the table. */
class Hashing implements LoadBalancer {
  readonly #table: HashTable;
  readonly #random: Random;

  constructor(table: HashTable, random: Random) {
    this.#table = table;
    this.#random = random;
  }

  choose(context: LoadBalancerContext): Endpoint {
    const hash = context.hash ?? Math.floor(this.#random() * 2 ** 32);
    return this.#table.lookup(hash, context.isExcluded);
  }
}
