import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { LoadBalancerContext } from '../contract.ts';
import type { Endpoint } from './endpoint.ts';
import { type HostLocality, HostSets, type HostSetsOptions } from './host-sets.ts';
import { type SubsetConfig, type SubsetFallback, type SubsetSelector, subsetValue } from './subset-config.ts';

export interface SubsetStats {
  lbSubsetsSelected: number;
  lbSubsetsFallback: number;
  lbSubsetsFallbackPanic: number;
}

/** The route's metadata match as it is looked up: its keys, sorted, and each one's value. */
type Criteria = readonly (readonly [key: string, value: string])[];

/**
 * Chooses within the subset whose endpoints carry what the route's metadata match asks for. Subsets are those that selectors name; where
 * there is none for a request, the selector's fallback applies, then the cluster's. Source: envoy SubsetLoadBalancer (1.40).
 */
export class Subsets {
  readonly #localities: readonly HostLocality[];
  readonly #config: SubsetConfig;
  readonly #options: HostSetsOptions & { readonly stats: SubsetStats };
  /** By selector keys and values; made when they are first asked for. */
  readonly #sets = new Map<string, HostSets | undefined>();
  readonly #selectors: ReadonlyMap<string, SubsetSelector>;
  #any: HostSets | undefined;
  #default: HostSets | undefined;

  constructor(localities: readonly HostLocality[], config: SubsetConfig, options: HostSetsOptions & { readonly stats: SubsetStats }) {
    this.#localities = localities;
    this.#config = config;
    this.#options = options;
    this.#selectors = new Map(config.selectors.map((selector) => [selector.keys.join('\0'), selector]));
  }

  choose(context: LoadBalancerContext): Endpoint | undefined {
    const match = context.metadataMatch;
    const list = this.#config.readsFallbackList ? match?.['fallback_list'] : undefined;
    let chosen: Endpoint | undefined;
    if (Array.isArray(list)) {
      const { fallback_list: _, ...base } = match ?? {};
      for (const item of list) {
        if (chosen !== undefined) break;
        chosen = this.#chooseFor({ ...base, ...(isObject(item) ? item : {}) }, context);
      }
    } else chosen = this.#chooseFor(match, context);
    if (chosen !== undefined || !this.#config.panicsToAny) return chosen;
    this.#options.stats.lbSubsetsFallbackPanic++;
    return this.#anySet().choose(context);
  }

  #chooseFor(match: JsonObject | undefined, context: LoadBalancerContext): Endpoint | undefined {
    const { stats } = this.#options;
    const criteria = match === undefined ? undefined : criteriaOf(match);
    const selector = criteria === undefined ? undefined : this.#selectors.get(keysOf(criteria));
    const found = criteria === undefined || selector === undefined ? undefined : this.#setFor(selector, criteria)?.choose(context);
    if (found !== undefined) {
      stats.lbSubsetsSelected++;
      return found;
    }
    const fallback = selector?.fallback ?? this.#config.fallback;
    const chosen = this.#fallBack(fallback, match, context);
    if (chosen !== undefined && fallback.kind !== 'keys') stats.lbSubsetsFallback++;
    return chosen;
  }

  #fallBack(fallback: SubsetFallback, match: JsonObject | undefined, context: LoadBalancerContext): Endpoint | undefined {
    switch (fallback.kind) {
      case 'none':
        return undefined;
      case 'any':
        return this.#anySet().choose(context);
      case 'default':
        this.#default ??= this.#subsetOf(criteriaOf(this.#config.defaultSubset), { isSingleHost: false });
        return this.#default?.choose(context);
      case 'keys':
        return this.#chooseFor(Object.fromEntries(fallback.keys.map((key) => [key, match?.[key] ?? null])), context);
    }
  }

  #anySet(): HostSets {
    this.#any ??= new HostSets(this.#localities, this.#options);
    return this.#any;
  }

  #setFor(selector: SubsetSelector, criteria: Criteria): HostSets | undefined {
    const key = JSON.stringify(criteria);
    if (!this.#sets.has(key)) {
      // Metadata may come from requests: what they can make us keep has a bound.
      if (this.#sets.size >= MAX_SUBSETS) this.#sets.clear();
      this.#sets.set(key, this.#subsetOf(criteria, selector));
    }
    return this.#sets.get(key);
  }

  #subsetOf(criteria: Criteria, { isSingleHost }: { readonly isSingleHost: boolean }): HostSets | undefined {
    const { isLocalityWeightAware, scalesLocalityWeights, listIsAny } = this.#config;
    let isFull = false;
    const localities = this.#localities.map((locality) => {
      const endpoints = locality.endpoints.filter((endpoint) => {
        if (isFull || !matches(endpoint.lbMetadata, criteria, listIsAny)) return false;
        isFull = isSingleHost;
        return true;
      });
      const share = scalesLocalityWeights ? endpoints.length / locality.endpoints.length : 1;
      return { ...locality, endpoints, weight: isLocalityWeightAware ? locality.weight * share : 0 };
    });
    if (localities.every(({ endpoints }) => endpoints.length === 0)) return undefined;
    return new HostSets(localities, this.#options);
  }
}

const MAX_SUBSETS = 10_000;

const knownCriteria = new WeakMap<JsonObject, Criteria>();

// Routes hand over the same object for each of their requests.
function criteriaOf(match: JsonObject): Criteria {
  let criteria = knownCriteria.get(match);
  if (criteria === undefined) {
    criteria = Object.keys(match)
      .sort()
      .map((key) => [key, subsetValue(match[key] ?? null)] as const);
    knownCriteria.set(match, criteria);
  }
  return criteria;
}

function keysOf(criteria: Criteria): string {
  return criteria.map(([key]) => key).join('\0');
}

function matches(metadata: JsonObject | undefined, criteria: Criteria, listIsAny: boolean): boolean {
  return criteria.every(([key, wanted]) => {
    const value: JsonValue | undefined = metadata?.[key];
    if (value === undefined) return false;
    if (listIsAny && Array.isArray(value)) return value.some((item) => subsetValue(item) === wanted);
    return subsetValue(value) === wanted;
  });
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
