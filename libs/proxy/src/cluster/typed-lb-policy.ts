import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { unpackAny } from '@mizzen/xds-api';
import type { LoadBalancingPolicy } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterProvidedSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/cluster_provided/v3/cluster_provided';
import type { LocalityLbConfig } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/common/v3/common';
import {
  LeastRequest_SelectionMethod,
  LeastRequestSchema,
} from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/least_request/v3/least_request';
import { MaglevSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/maglev/v3/maglev';
import { RandomSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/random/v3/random';
import { RingHash_HashFunction, RingHashSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash';
import { RoundRobinSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin';
import { SubsetSchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/subset/v3/subset';
import { WrrLocalitySchema } from '@mizzen/xds-api/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality';
import { ConfigError, within } from '../config/config-error.ts';
import { compileHashing, compileSlowStart, type HostChoice, type LbPolicy, leastRequest, maglev, ringHash } from './lb-policy.ts';
import { compileSubsets, type SubsetConfig } from './subset-config.ts';
import { compileZoneChoice } from './zone-routing.ts';

type TypedPolicy = HostChoice & { readonly subsets: SubsetConfig | undefined };

/** One typed policy: which message it is, and what is made of it. */
interface TypedPolicyKind {
  readonly typeName: string;
  compile(any: Parameters<typeof unpackAny>[0]): TypedPolicy;
}

function kind<Desc extends DescMessage>(schema: Desc, compile: (message: MessageShape<Desc>) => TypedPolicy): TypedPolicyKind {
  return { typeName: schema.typeName, compile: (any) => compile(unpackAny(any, schema) as MessageShape<Desc>) };
}

const KINDS: readonly TypedPolicyKind[] = [
  kind(RoundRobinSchema, (message) => ({
    ...choiceOf(
      { kind: 'roundRobin', slowStart: compileSlowStart(message.slowStartConfig, 'slow_start_config') },
      message.localityLbConfig,
    ),
  })),
  kind(LeastRequestSchema, (message) => {
    const isFullScan = (message.enableFullScan ?? false) || message.selectionMethod === LeastRequest_SelectionMethod.FULL_SCAN;
    return choiceOf(leastRequest({ ...message, isFullScan }, ''), message.localityLbConfig);
  }),
  kind(RandomSchema, (message) => choiceOf({ kind: 'random' }, message.localityLbConfig)),
  kind(RingHashSchema, (message) => {
    const legacy = { useHostnameForHashing: message.useHostnameForHashing, hashBalanceFactor: message.hashBalanceFactor };
    const hashing = compileHashing(message.consistentHashingLbConfig ?? legacy, 'consistent_hashing_lb_config');
    const policy = ringHash({ ...message, isMurmur: message.hashFunction === RingHash_HashFunction.MURMUR_HASH_2, hashing }, '');
    return { ...choiceOf(policy, undefined), isLocalityWeighted: message.localityWeightedLbConfig !== undefined };
  }),
  kind(MaglevSchema, (message) => {
    const hashing = compileHashing(message.consistentHashingLbConfig, 'consistent_hashing_lb_config');
    const policy = maglev({ tableSize: message.tableSize, hashing }, '');
    return { ...choiceOf(policy, undefined), isLocalityWeighted: message.localityWeightedLbConfig !== undefined };
  }),
  kind(ClusterProvidedSchema, () => choiceOf({ kind: 'clusterProvided' }, undefined)),
  kind(WrrLocalitySchema, (message) => {
    if (message.endpointPickingPolicy === undefined) throw new ConfigError('endpoint_picking_policy', 'is required');
    return { ...compileTypedPolicy(message.endpointPickingPolicy, 'endpoint_picking_policy'), isLocalityWeighted: true };
  }),
  kind(SubsetSchema, (message) => {
    if (message.subsetLbPolicy === undefined) throw new ConfigError('subset_lb_policy', 'is required');
    const inner = compileTypedPolicy(message.subsetLbPolicy, 'subset_lb_policy');
    if (inner.subsets !== undefined) throw new ConfigError('subset_lb_policy', 'cannot be a subset policy itself');
    return { ...inner, subsets: compileSubsets(message, '') };
  }),
];

function choiceOf(policy: LbPolicy, locality: LocalityLbConfig | undefined): TypedPolicy {
  const specifier = locality?.localityConfigSpecifier;
  const zoneAware = specifier?.case === 'zoneAwareLbConfig' ? specifier.value : undefined;
  return {
    policy,
    isLocalityWeighted: specifier?.case === 'localityWeightedLbConfig',
    failsTrafficOnPanic: zoneAware?.failTrafficOnPanic === true,
    zone: compileZoneChoice(zoneAware),
    subsets: undefined,
  };
}

/** The first policy of the list that this proxy has, as the message demands. Throws ConfigError where there is none. */
export function compileTypedPolicy(message: LoadBalancingPolicy, path = 'load_balancing_policy'): TypedPolicy {
  const refused: string[] = [];
  for (const [index, { typedExtensionConfig }] of message.policies.entries()) {
    const any = typedExtensionConfig?.typedConfig;
    const typeName = any?.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
    const known = KINDS.find((candidate) => candidate.typeName === typeName);
    if (known !== undefined) return within(`${path}.policies[${index}].typed_extension_config.typed_config`, () => known.compile(any));
    refused.push(typeName ?? 'no typed_extension_config');
  }
  throw new ConfigError(`${path}.policies`, `none of ${refused.join(', ') || 'nothing'} is supported by this proxy`);
}
