import type { Clock, Logger, Random } from '@mizzen/core';
import { defineStats, zeroCounts } from '../observe/stat-registry.ts';
import type { LiveCluster } from './cluster.ts';
import { type ClusterPeers, decidedOf } from './cluster-peers.ts';
import type { Endpoint } from './endpoint.ts';
import { EndpointCheck } from './endpoint-check.ts';
import type { HealthCheckConfig } from './health-check-config.ts';

/** Source: envoy docs, "Health check statistics" (1.40). */
export const HEALTH_CHECK_STATS = defineStats({
  counters: {
    attempt: 'health_check.attempt',
    success: 'health_check.success',
    failure: 'health_check.failure',
    passiveFailure: 'health_check.passive_failure',
    networkFailure: 'health_check.network_failure',
    verifyCluster: 'health_check.verify_cluster',
  },
  gauges: { healthy: 'health_check.healthy', degraded: 'health_check.degraded' },
});

export interface HealthCheckerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where this is not the first event loop, that one asks, and its results are taken. */
  readonly peers?: ClusterPeers | undefined;
  /** Which endpoints may be used has changed. */
  readonly onChange: (endpoint: Endpoint) => void;
}

/** Asks every endpoint of a cluster, again and again, whether it is well. Source: envoy docs, "Health checking" (1.40). */
export class HealthChecker {
  readonly stats = zeroCounts(HEALTH_CHECK_STATS);
  readonly cluster: LiveCluster;
  readonly config: HealthCheckConfig;
  readonly options: HealthCheckerOptions;
  /** undefined where another event loop checks. */
  readonly #checks = new Map<Endpoint, EndpointCheck | undefined>();
  readonly #firstRound: (() => void)[] = [];

  constructor(cluster: LiveCluster, config: HealthCheckConfig, options: HealthCheckerOptions) {
    this.cluster = cluster;
    this.config = config;
    this.options = options;
  }

  setEndpoints(endpoints: ReadonlySet<Endpoint>): void {
    for (const [endpoint, check] of this.#checks) {
      if (endpoints.has(endpoint) && endpoint.details.healthCheck?.isDisabled !== true) continue;
      check?.close();
      this.#checks.delete(endpoint);
      if (endpoints.has(endpoint)) endpoint.checkResult = 'none';
    }
    for (const endpoint of endpoints) {
      if (this.#checks.has(endpoint) || endpoint.details.healthCheck?.isDisabled === true) continue;
      this.#begin(endpoint);
    }
    this.#recount();
    this.#settleFirstRound();
  }

  #begin(endpoint: Endpoint): void {
    const { peers } = this.options;
    if (peers?.decides === false && endpoint.shared !== undefined) {
      endpoint.checkResult = decidedOf(endpoint.shared).checkResult;
      this.#checks.set(endpoint, undefined);
      return;
    }
    endpoint.checkResult = 'pending';
    peers?.publish(endpoint);
    const check = new EndpointCheck(this, endpoint);
    this.#checks.set(endpoint, check);
    check.start();
  }

  /** The event loop that checks may have a new result. */
  follow(endpoint: Endpoint): void {
    if (endpoint.shared === undefined || !this.#checks.has(endpoint)) return;
    const before = endpoint.checkResult;
    endpoint.checkResult = decidedOf(endpoint.shared).checkResult;
    const hasChanged = before !== endpoint.checkResult;
    if (hasChanged && endpoint.isUsable) endpoint.healthySinceMs = this.options.clock.monotonic();
    this.onResult(endpoint, hasChanged);
  }

  /** Once every endpoint has a first result: until then a new cluster is warming. Source: envoy ClusterImplBase::onInitDone (1.40). */
  whenChecked(callback: () => void): void {
    this.#firstRound.push(callback);
    this.#settleFirstRound();
  }

  onResult(endpoint: Endpoint, hasChanged: boolean): void {
    this.#recount();
    if (hasChanged) {
      this.options.peers?.publish(endpoint);
      this.options.onChange(endpoint);
    }
    if (endpoint.checkResult !== 'unhealthy') this.cluster.outliers?.onCheckPassed(endpoint);
    this.#settleFirstRound();
  }

  #settleFirstRound(): void {
    if (this.#firstRound.length === 0) return;
    for (const endpoint of this.#checks.keys()) if (endpoint.checkResult === 'pending') return;
    for (const callback of this.#firstRound.splice(0)) callback();
  }

  #recount(): void {
    let healthy = 0;
    let degraded = 0;
    for (const { checkResult } of this.#checks.keys()) {
      if (checkResult === 'healthy' || checkResult === 'degraded') healthy++;
      if (checkResult === 'degraded') degraded++;
    }
    this.stats.healthy = healthy;
    this.stats.degraded = degraded;
  }

  close(): void {
    for (const check of this.#checks.values()) check?.close();
    this.#checks.clear();
    this.#firstRound.length = 0;
  }
}
