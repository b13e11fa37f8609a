import type { Cluster_SlowStartConfig as SlowStartMessage } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { RuntimeDouble } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ConfigError } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';
import type { ZoneChoice } from './zone-routing.ts';

export interface SlowStart {
  readonly windowMs: number;
  readonly aggression: number;
  /** 0 to 1: the least share of its weight that an endpoint begins with. */
  readonly leastShare: number;
}

export interface ConsistentHashing {
  readonly usesHostname: boolean;
  /** Percent of the average load that one endpoint may have, at least 100; 0: no bound. */
  readonly balanceFactor: number;
}

export type LbPolicy =
  | { readonly kind: 'roundRobin'; readonly slowStart: SlowStart | undefined }
  | {
      readonly kind: 'leastRequest';
      readonly choiceCount: number;
      readonly activeRequestBias: number;
      readonly isFullScan: boolean;
      readonly slowStart: SlowStart | undefined;
    }
  | { readonly kind: 'random' }
  | {
      readonly kind: 'ringHash';
      readonly minimumSize: number;
      readonly maximumSize: number;
      readonly hashFunction: 'xxHash' | 'murmurHash2';
      readonly hashing: ConsistentHashing;
    }
  | { readonly kind: 'maglev'; readonly size: number; readonly hashing: ConsistentHashing }
  | { readonly kind: 'clusterProvided' };

/** How endpoints of one set are chosen: the policy, and what stands around it. */
export interface HostChoice {
  readonly policy: LbPolicy;
  readonly isLocalityWeighted: boolean;
  /** Requests fail in panic, instead of going to unhealthy endpoints. */
  readonly failsTrafficOnPanic: boolean;
  /** Without a cluster of local proxies, and for hash policies, it says nothing. */
  readonly zone: ZoneChoice;
}

// Envoy's defaults and limits. Source: envoy docs, Cluster.RingHashLbConfig, MaglevLbConfig, LeastRequestLbConfig (1.40).
const MAX_RING_SIZE = 8 * 1024 * 1024;
const MAX_MAGLEV_SIZE = 5_000_011;

export function compileHashing(
  given: { readonly useHostnameForHashing: boolean; readonly hashBalanceFactor?: number | undefined } | undefined,
  path: string,
): ConsistentHashing {
  const balanceFactor = given?.hashBalanceFactor ?? 0;
  if (balanceFactor !== 0 && balanceFactor < 100) throw new ConfigError(`${path}.hash_balance_factor`, 'must be 0 or at least 100');
  return { usesHostname: given?.useHostnameForHashing ?? false, balanceFactor };
}

/** `aggression` below or equal to 0 is refused: it would take an endpoint's weight away for good. */
export function compileSlowStart(message: Omit<SlowStartMessage, '$typeName'> | undefined, path: string): SlowStart | undefined {
  const windowMs = durationMs(message?.slowStartWindow, 0);
  if (message === undefined || windowMs <= 0) return undefined;
  const aggression = message.aggression?.defaultValue ?? 1;
  if (!(aggression > 0)) throw new ConfigError(`${path}.aggression.default_value`, 'must be above 0');
  return { windowMs, aggression, leastShare: (message.minWeightPercent?.value ?? 10) / 100 };
}

export interface LeastRequestFields {
  readonly choiceCount?: number | undefined;
  readonly activeRequestBias?: RuntimeDouble | undefined;
  readonly slowStartConfig?: Omit<SlowStartMessage, '$typeName'> | undefined;
  readonly isFullScan: boolean;
}

export function leastRequest(given: LeastRequestFields, path: string): LbPolicy {
  const choiceCount = given.choiceCount ?? 2;
  if (choiceCount < 2) throw new ConfigError(`${path}.choice_count`, 'must be at least 2');
  const activeRequestBias = given.activeRequestBias?.defaultValue ?? 1;
  if (!(activeRequestBias >= 0)) throw new ConfigError(`${path}.active_request_bias.default_value`, 'must be at least 0');
  return {
    kind: 'leastRequest',
    choiceCount,
    activeRequestBias,
    isFullScan: given.isFullScan,
    slowStart: compileSlowStart(given.slowStartConfig, `${path}.slow_start_config`),
  };
}

export interface RingHashFields {
  readonly minimumRingSize?: bigint | undefined;
  readonly maximumRingSize?: bigint | undefined;
  readonly isMurmur: boolean;
  readonly hashing: ConsistentHashing;
}

export function ringHash(given: RingHashFields, path: string): LbPolicy {
  const minimumSize = Number(given.minimumRingSize ?? 1024n);
  const maximumSize = Number(given.maximumRingSize ?? BigInt(MAX_RING_SIZE));
  if (minimumSize < 1 || minimumSize > MAX_RING_SIZE) throw new ConfigError(`${path}.minimum_ring_size`, `must be 1 to ${MAX_RING_SIZE}`);
  if (maximumSize > MAX_RING_SIZE) throw new ConfigError(`${path}.maximum_ring_size`, `must be at most ${MAX_RING_SIZE}`);
  if (minimumSize > maximumSize) throw new ConfigError(`${path}.minimum_ring_size`, 'must not be above maximum_ring_size');
  return { kind: 'ringHash', minimumSize, maximumSize, hashFunction: given.isMurmur ? 'murmurHash2' : 'xxHash', hashing: given.hashing };
}

export function maglev(given: { readonly tableSize: bigint | undefined; readonly hashing: ConsistentHashing }, path: string): LbPolicy {
  const size = Number(given.tableSize ?? 65_537n);
  if (size > MAX_MAGLEV_SIZE || !isPrime(size))
    throw new ConfigError(`${path}.table_size`, `must be a prime of at most ${MAX_MAGLEV_SIZE}`);
  return { kind: 'maglev', size, hashing: given.hashing };
}

function isPrime(value: number): boolean {
  if (value < 2) return false;
  for (let factor = 2; factor * factor <= value; factor++) if (value % factor === 0) return false;
  return true;
}
