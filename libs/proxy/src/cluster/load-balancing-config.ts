import {
  type Cluster,
  type Cluster_CommonLbConfig,
  Cluster_LbPolicy as ClusterLbPolicy,
  Cluster_RingHashLbConfig_HashFunction as HashFunction,
} from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ConfigError } from '../config/config-error.ts';
import {
  type ConsistentHashing,
  compileHashing,
  compileSlowStart,
  type HostChoice,
  type LbPolicy,
  leastRequest,
  maglev,
  ringHash,
} from './lb-policy.ts';
import { compileSubsets, type SubsetConfig } from './subset-config.ts';
import { compileTypedPolicy } from './typed-lb-policy.ts';
import { compileZoneChoice } from './zone-routing.ts';

export interface LoadBalancing extends HostChoice {
  /** 0 to 100; below that share of available endpoints all of them are used. 0 turns it off. */
  readonly panicThresholdPercent: number;
  readonly subsets: SubsetConfig | undefined;
}

/** Throws ConfigError. */
export function compileLoadBalancing(message: Cluster): LoadBalancing {
  const common = message.commonLbConfig;
  const panicThresholdPercent = Math.round(common?.healthyPanicThreshold?.value ?? 50);
  if (message.loadBalancingPolicy !== undefined) {
    refuseMixture(message);
    return { panicThresholdPercent, ...compileTypedPolicy(message.loadBalancingPolicy) };
  }
  const zoneAware = common?.localityConfigSpecifier.case === 'zoneAwareLbConfig' ? common.localityConfigSpecifier.value : undefined;
  return {
    policy: compilePolicy(message),
    isLocalityWeighted: common?.localityConfigSpecifier.case === 'localityWeightedLbConfig',
    failsTrafficOnPanic: zoneAware?.failTrafficOnPanic === true,
    zone: compileZoneChoice(zoneAware),
    panicThresholdPercent,
    subsets: message.lbSubsetConfig === undefined ? undefined : compileSubsets(message.lbSubsetConfig, 'lb_subset_config'),
  };
}

function refuseMixture(message: Cluster): void {
  const why = 'cannot be combined with load_balancing_policy; say it there';
  if (message.lbSubsetConfig !== undefined) throw new ConfigError('lb_subset_config', why);
  if (message.commonLbConfig?.localityConfigSpecifier.case !== undefined)
    throw new ConfigError(
      `common_lb_config.${message.commonLbConfig.localityConfigSpecifier.case === 'zoneAwareLbConfig' ? 'zone_aware' : 'locality_weighted'}_lb_config`,
      why,
    );
  if (message.commonLbConfig?.consistentHashingLbConfig !== undefined)
    throw new ConfigError('common_lb_config.consistent_hashing_lb_config', why);
}

function compilePolicy(message: Cluster): LbPolicy {
  const { lbConfig, commonLbConfig } = message;
  switch (message.lbPolicy) {
    case ClusterLbPolicy.ROUND_ROBIN: {
      const config = lbConfig.case === 'roundRobinLbConfig' ? lbConfig.value : undefined;
      return { kind: 'roundRobin', slowStart: compileSlowStart(config?.slowStartConfig, 'round_robin_lb_config.slow_start_config') };
    }
    case ClusterLbPolicy.LEAST_REQUEST: {
      const config = lbConfig.case === 'leastRequestLbConfig' ? lbConfig.value : undefined;
      return leastRequest({ ...config, isFullScan: false }, 'least_request_lb_config');
    }
    case ClusterLbPolicy.RANDOM:
      return { kind: 'random' };
    case ClusterLbPolicy.RING_HASH: {
      const config = lbConfig.case === 'ringHashLbConfig' ? lbConfig.value : undefined;
      return ringHash(
        { ...config, isMurmur: config?.hashFunction === HashFunction.MURMUR_HASH_2, hashing: hashingOf(commonLbConfig) },
        'ring_hash_lb_config',
      );
    }
    case ClusterLbPolicy.MAGLEV:
      return maglev(
        { tableSize: lbConfig.case === 'maglevLbConfig' ? lbConfig.value.tableSize : undefined, hashing: hashingOf(commonLbConfig) },
        'maglev_lb_config',
      );
    case ClusterLbPolicy.CLUSTER_PROVIDED:
      return { kind: 'clusterProvided' };
    case ClusterLbPolicy.LOAD_BALANCING_POLICY_CONFIG:
      throw new ConfigError('load_balancing_policy', 'is required where lb_policy is LOAD_BALANCING_POLICY_CONFIG');
    default:
      throw new ConfigError('lb_policy', `${message.lbPolicy} is not supported by this proxy`);
  }
}

function hashingOf(common: Cluster_CommonLbConfig | undefined): ConsistentHashing {
  return compileHashing(common?.consistentHashingLbConfig, 'common_lb_config.consistent_hashing_lb_config');
}
