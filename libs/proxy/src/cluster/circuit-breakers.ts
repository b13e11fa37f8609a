import type { CircuitBreakers_Thresholds as Thresholds } from '@mizzen/xds-api/envoy/config/cluster/v3/circuit_breaker';
import type { Cluster } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { RoutingPriority } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ConfigError } from '../config/config-error.ts';
import type { UpstreamCluster, UpstreamEndpoint } from '../contract.ts';
import { defineStats, type StatNames } from '../observe/stat-registry.ts';
import { reserveConnection } from './active-counts.ts';

export type CircuitLimits = UpstreamCluster['limits'];

/** The limits of one priority, and whether what is left of them is exported. */
export interface CircuitThresholds {
  readonly limits: CircuitLimits;
  readonly tracksRemaining: boolean;
}

export interface CircuitBreakerConfig {
  readonly byDefault: CircuitThresholds;
  readonly high: CircuitThresholds;
}

// Envoy's defaults. Source: envoy docs, CircuitBreakers.Thresholds (1.40).
const DEFAULT_LIMITS: CircuitLimits = { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 3 };
const DEFAULT_THRESHOLDS: CircuitThresholds = { limits: DEFAULT_LIMITS, tracksRemaining: false };
const DEFAULT_CONFIG: CircuitBreakerConfig = { byDefault: DEFAULT_THRESHOLDS, high: DEFAULT_THRESHOLDS };

/** Of several thresholds of a priority the first counts, as in Envoy. Throws ConfigError. */
export function compileCircuitBreakers(message: Cluster['circuitBreakers']): CircuitBreakerConfig {
  if (message === undefined) return DEFAULT_CONFIG;
  const thresholdsOf = (priority: RoutingPriority): CircuitThresholds => {
    const index = message.thresholds.findIndex((threshold) => threshold.priority === priority);
    const found = message.thresholds[index];
    return found === undefined ? DEFAULT_THRESHOLDS : compileThresholds(found, `circuit_breakers.thresholds[${index}]`);
  };
  const maxConnectionsPerHost = compilePerHost(message.perHostThresholds);
  const withHosts = (thresholds: CircuitThresholds): CircuitThresholds =>
    maxConnectionsPerHost === undefined ? thresholds : { ...thresholds, limits: { ...thresholds.limits, maxConnectionsPerHost } };
  return { byDefault: withHosts(thresholdsOf(RoutingPriority.DEFAULT)), high: withHosts(thresholdsOf(RoutingPriority.HIGH)) };
}

function compileThresholds(message: Thresholds, path: string): CircuitThresholds {
  if (message.maxConnectionPools !== undefined)
    throw new ConfigError(
      `${path}.max_connection_pools`,
      'is not supported by this proxy; remove it: an endpoint has one pool for each version of HTTP',
    );
  const budget = message.retryBudget;
  return {
    limits: {
      maxConnections: message.maxConnections ?? DEFAULT_LIMITS.maxConnections,
      maxPendingRequests: message.maxPendingRequests ?? DEFAULT_LIMITS.maxPendingRequests,
      maxRequests: message.maxRequests ?? DEFAULT_LIMITS.maxRequests,
      maxRetries: message.maxRetries ?? DEFAULT_LIMITS.maxRetries,
      ...(budget !== undefined && {
        retryBudget: { ratio: (budget.budgetPercent?.value ?? 20) / 100, minConcurrency: budget.minRetryConcurrency ?? 3 },
      }),
    },
    tracksRemaining: message.trackRemaining,
  };
}

/** Envoy too knows only connections per host. Source: envoy docs, CircuitBreakers.per_host_thresholds (1.40). */
function compilePerHost(thresholds: readonly Thresholds[]): number | undefined {
  for (const [index, threshold] of thresholds.entries()) {
    const path = `circuit_breakers.per_host_thresholds[${index}]`;
    for (const [field, name] of [
      ['maxPendingRequests', 'max_pending_requests'],
      ['maxRequests', 'max_requests'],
      ['maxRetries', 'max_retries'],
      ['retryBudget', 'retry_budget'],
      ['maxConnectionPools', 'max_connection_pools'],
    ] as const) {
      if (threshold[field] !== undefined)
        throw new ConfigError(`${path}.${name}`, 'is not a limit of single hosts; only max_connections is');
    }
  }
  return thresholds.find((threshold) => threshold.priority === RoutingPriority.DEFAULT)?.maxConnections;
}

/** Whether the limits leave room for one more connection to the endpoint; it must then be made. */
export function mayConnect({ cluster, stats }: UpstreamEndpoint): boolean {
  const { maxConnectionsPerHost } = cluster.limits;
  if (maxConnectionsPerHost !== undefined && stats.connectionsActive >= maxConnectionsPerHost) return false;
  return reserveConnection(cluster);
}

/** Whether limits are reached, and where it was asked for what is left: computed when somebody looks. */
export const CIRCUIT_STATS = { byDefault: openStats('default'), high: openStats('high') };
export const REMAINING_STATS = { byDefault: remainingStats('default'), high: remainingStats('high') };

function openStats(priority: string): StatNames {
  const gauge = (name: string): string => `circuit_breakers.${priority}.${name}`;
  return defineStats({
    gauges: {
      cxOpen: gauge('cx_open'),
      cxPoolOpen: gauge('cx_pool_open'),
      rqPendingOpen: gauge('rq_pending_open'),
      rqOpen: gauge('rq_open'),
      rqRetryOpen: gauge('rq_retry_open'),
    },
  });
}

function remainingStats(priority: string): StatNames {
  const gauge = (name: string): string => `circuit_breakers.${priority}.${name}`;
  return defineStats({
    gauges: {
      remainingCx: gauge('remaining_cx'),
      remainingPending: gauge('remaining_pending'),
      remainingRq: gauge('remaining_rq'),
      remainingRetries: gauge('remaining_retries'),
    },
  });
}

/** Values of CIRCUIT_STATS and REMAINING_STATS. */
export function circuitValues(limits: CircuitLimits, active: UpstreamCluster['active']): Readonly<Record<string, number>> {
  const left = (limit: number, used: number): number => Math.max(0, limit - used);
  const values = {
    remainingCx: left(limits.maxConnections, active.connections),
    remainingPending: left(limits.maxPendingRequests, active.pendingRequests),
    // What waits for a connection is not under way yet.
    remainingRq: left(limits.maxRequests, active.requests - active.pendingRequests),
    remainingRetries: left(retryLimit(limits, active), active.retries),
  };
  const open = (remaining: number): number => (remaining === 0 ? 1 : 0);
  return {
    ...values,
    cxOpen: open(values.remainingCx),
    // The number of pools has no limit.
    cxPoolOpen: 0,
    rqPendingOpen: open(values.remainingPending),
    rqOpen: open(values.remainingRq),
    rqRetryOpen: open(values.remainingRetries),
  };
}

function retryLimit(limits: CircuitLimits, active: UpstreamCluster['active']): number {
  const { retryBudget } = limits;
  if (retryBudget === undefined) return limits.maxRetries;
  return Math.max(Math.floor((active.requests + active.pendingRequests) * retryBudget.ratio), retryBudget.minConcurrency);
}
