import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import {
  type Cluster_LbSubsetConfig,
  Cluster_LbSubsetConfig_LbSubsetFallbackPolicy as Fallback,
  Cluster_LbSubsetConfig_LbSubsetMetadataFallbackPolicy as MetadataFallback,
  Cluster_LbSubsetConfig_LbSubsetSelector_LbSubsetSelectorFallbackPolicy as SelectorFallback,
} from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ConfigError } from '../config/config-error.ts';

export type SubsetFallback =
  | { readonly kind: 'none' }
  | { readonly kind: 'any' }
  | { readonly kind: 'default' }
  /** Only for selectors: looked up again with these keys alone. */
  | { readonly kind: 'keys'; readonly keys: readonly string[] };

export interface SubsetSelector {
  /** Sorted, distinct. */
  readonly keys: readonly string[];
  readonly isSingleHost: boolean;
  /** undefined: the cluster's. */
  readonly fallback: SubsetFallback | undefined;
}

/** Which subsets of a cluster's endpoints there are, by the values of keys of their `envoy.lb` metadata. */
export interface SubsetConfig {
  readonly selectors: readonly SubsetSelector[];
  readonly fallback: SubsetFallback;
  readonly defaultSubset: JsonObject;
  readonly isLocalityWeightAware: boolean;
  readonly scalesLocalityWeights: boolean;
  /** Where nothing is chosen, any endpoint of the cluster is. */
  readonly panicsToAny: boolean;
  /** A list in an endpoint's metadata stands for each of its values. */
  readonly listIsAny: boolean;
  /** The criteria may hold `fallback_list`: criteria that are tried one after another in their place. */
  readonly readsFallbackList: boolean;
}

type SubsetFields = Pick<
  Cluster_LbSubsetConfig,
  | 'fallbackPolicy'
  | 'defaultSubset'
  | 'localityWeightAware'
  | 'scaleLocalityWeight'
  | 'panicModeAny'
  | 'listAsAny'
  | 'metadataFallbackPolicy'
> & {
  readonly subsetSelectors: readonly Pick<
    Cluster_LbSubsetConfig['subsetSelectors'][number],
    'keys' | 'singleHostPerSubset' | 'fallbackPolicy' | 'fallbackKeysSubset'
  >[];
};

const FALLBACKS: Readonly<Record<number, SubsetFallback>> = {
  [Fallback.NO_FALLBACK]: { kind: 'none' },
  [Fallback.ANY_ENDPOINT]: { kind: 'any' },
  [Fallback.DEFAULT_SUBSET]: { kind: 'default' },
};

/** The deprecated field of a cluster or the typed policy; both have the same fields. Throws ConfigError. */
export function compileSubsets(message: SubsetFields, path: string): SubsetConfig {
  const at = (field: string): string => (path === '' ? field : `${path}.${field}`);
  const fallback = FALLBACKS[message.fallbackPolicy];
  if (fallback === undefined) throw new ConfigError(at('fallback_policy'), `${message.fallbackPolicy} is not known`);
  return {
    fallback,
    selectors: message.subsetSelectors.map((selector, index) => compileSelector(selector, at(`subset_selectors[${index}]`))),
    defaultSubset: message.defaultSubset ?? {},
    isLocalityWeightAware: message.localityWeightAware,
    scalesLocalityWeights: message.scaleLocalityWeight,
    panicsToAny: message.panicModeAny,
    listIsAny: message.listAsAny,
    readsFallbackList: message.metadataFallbackPolicy === MetadataFallback.FALLBACK_LIST,
  };
}

function compileSelector(selector: SubsetFields['subsetSelectors'][number], path: string): SubsetSelector {
  const keys = [...new Set(selector.keys)].sort();
  if (selector.singleHostPerSubset && keys.length !== 1) throw new ConfigError(`${path}.single_host_per_subset`, 'needs exactly one key');
  const { fallbackKeysSubset } = selector;
  if (selector.fallbackPolicy === SelectorFallback.KEYS_SUBSET) {
    // As Envoy demands, so that a fallback can never come round to itself.
    if (
      fallbackKeysSubset.length === 0 ||
      fallbackKeysSubset.length >= keys.length ||
      !fallbackKeysSubset.every((key) => keys.includes(key))
    )
      throw new ConfigError(`${path}.fallback_keys_subset`, 'must be some of the keys, and not all of them');
    return { keys, isSingleHost: selector.singleHostPerSubset, fallback: { kind: 'keys', keys: [...fallbackKeysSubset].sort() } };
  }
  return { keys, isSingleHost: selector.singleHostPerSubset, fallback: SELECTOR_FALLBACKS[selector.fallbackPolicy] };
}

const SELECTOR_FALLBACKS: Readonly<Record<number, SubsetFallback>> = {
  [SelectorFallback.NO_FALLBACK]: { kind: 'none' },
  [SelectorFallback.ANY_ENDPOINT]: { kind: 'any' },
  [SelectorFallback.DEFAULT_SUBSET]: { kind: 'default' },
};

/** One value of metadata as a part of a subset's key; equal for equal values only. */
export function subsetValue(value: JsonValue): string {
  return JSON.stringify(value);
}
