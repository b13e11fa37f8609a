import type { Clock, Random, Timer } from '@mizzen/core';
import { defineStats, zeroCounts } from '../observe/stat-registry.ts';
import { OwnNumbers, type SharedNumbers } from '../workers/shared-memory.ts';
import { type ClusterPeers, SHARED_ENDPOINT } from './cluster-peers.ts';
import type { Endpoint } from './endpoint.ts';
import type { OutlierConfig } from './outlier-detection-config.ts';

/** Source: envoy docs, "Outlier detection statistics" (1.40). */
export const OUTLIER_STATS = defineStats({
  counters: {
    enforcedTotal: 'outlier_detection.ejections_enforced_total',
    overflow: 'outlier_detection.ejections_overflow',
    enforcedConsecutive5xx: 'outlier_detection.ejections_enforced_consecutive_5xx',
    detectedConsecutive5xx: 'outlier_detection.ejections_detected_consecutive_5xx',
    enforcedSuccessRate: 'outlier_detection.ejections_enforced_success_rate',
    detectedSuccessRate: 'outlier_detection.ejections_detected_success_rate',
    enforcedConsecutiveGatewayFailure: 'outlier_detection.ejections_enforced_consecutive_gateway_failure',
    detectedConsecutiveGatewayFailure: 'outlier_detection.ejections_detected_consecutive_gateway_failure',
    enforcedConsecutiveLocalOriginFailure: 'outlier_detection.ejections_enforced_consecutive_local_origin_failure',
    detectedConsecutiveLocalOriginFailure: 'outlier_detection.ejections_detected_consecutive_local_origin_failure',
    enforcedLocalOriginSuccessRate: 'outlier_detection.ejections_enforced_local_origin_success_rate',
    detectedLocalOriginSuccessRate: 'outlier_detection.ejections_detected_local_origin_success_rate',
    enforcedFailurePercentage: 'outlier_detection.ejections_enforced_failure_percentage',
    detectedFailurePercentage: 'outlier_detection.ejections_detected_failure_percentage',
    enforcedLocalOriginFailurePercentage: 'outlier_detection.ejections_enforced_local_origin_failure_percentage',
    detectedLocalOriginFailurePercentage: 'outlier_detection.ejections_detected_local_origin_failure_percentage',
    total: 'outlier_detection.ejections_total',
    consecutive5xx: 'outlier_detection.ejections_consecutive_5xx',
    successRate: 'outlier_detection.ejections_success_rate',
  },
  gauges: { active: 'outlier_detection.ejections_active' },
});

type Reason =
  | 'Consecutive5xx'
  | 'ConsecutiveGatewayFailure'
  | 'ConsecutiveLocalOriginFailure'
  | 'SuccessRate'
  | 'LocalOriginSuccessRate'
  | 'FailurePercentage'
  | 'LocalOriginFailurePercentage';

/** Failures in a row, and requests of one interval: what the endpoint answered, and whether it could be reached at all. */
const COUNT = {
  consecutive5xx: SHARED_ENDPOINT.firstOfOutliers,
  consecutiveGateway: SHARED_ENDPOINT.firstOfOutliers + 1,
  consecutiveLocal: SHARED_ENDPOINT.firstOfOutliers + 2,
  external: SHARED_ENDPOINT.firstOfOutliers + 3,
  externalSuccess: SHARED_ENDPOINT.firstOfOutliers + 4,
  localOrigin: SHARED_ENDPOINT.firstOfOutliers + 5,
  localOriginSuccess: SHARED_ENDPOINT.firstOfOutliers + 6,
  /** No count. */
  end: SHARED_ENDPOINT.firstOfOutliers + 7,
} as const;

/** What is remembered of one endpoint. */
interface EndpointRecord {
  /** By COUNT; those of all event loops where there are several. */
  readonly counts: SharedNumbers;
  /** Grows with each ejection, shrinks with each interval without one: the multiple of the base ejection time. */
  backOff: number;
  ejectedAtMs: number;
  jitterMs: number;
  /** Of the last interval, in percent; -1 where there were too few requests. */
  successRate: number;
  localOriginSuccessRate: number;
}

/** The settings of each kind of failures in a row. */
const CONSECUTIVE = {
  Consecutive5xx: 'consecutive5xx',
  ConsecutiveGatewayFailure: 'consecutiveGatewayFailure',
  ConsecutiveLocalOriginFailure: 'consecutiveLocalOriginFailure',
} as const;

type ConsecutiveReason = keyof typeof CONSECUTIVE;

function isConsecutive(reason: string): reason is ConsecutiveReason {
  return reason in CONSECUTIVE;
}

const TALLIES = [COUNT.external, COUNT.externalSuccess, COUNT.localOrigin, COUNT.localOriginSuccess] as const;

export interface OutlierDetectorOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** What this event loop sees counts with what the others see; the first one alone ejects. */
  readonly peers?: ClusterPeers | undefined;
  /** Which endpoints may be used has changed. */
  readonly onChange: (endpoint: Endpoint) => void;
}

/**
 * Ejects endpoints that keep failing and lets them back after a while. Limits count over all endpoints of the cluster, whatever subset or
 * priority they are in. A sweep runs each interval, only while there is something to remember.
 * Source: envoy docs, "Outlier detection"; DetectorImpl (1.40).
 */
export class OutlierDetector {
  readonly stats = zeroCounts(OUTLIER_STATS);
  readonly #config: OutlierConfig;
  readonly #options: OutlierDetectorOptions;
  readonly #records = new Map<Endpoint, EndpointRecord>();
  #endpointCount = 0;
  #sweep: Timer | undefined;

  constructor(config: OutlierConfig, options: OutlierDetectorOptions) {
    this.#config = config;
    this.#options = options;
  }

  get ejectedCount(): number {
    return this.stats.active;
  }

  get ejectionsTotal(): number {
    return this.stats.enforcedTotal;
  }

  /** Success rates of the last interval as /clusters prints them, -1 where there are none. */
  successRateOf(endpoint: Endpoint): { readonly external: number; readonly localOrigin: number } {
    const record = this.#records.get(endpoint);
    return { external: record?.successRate ?? -1, localOrigin: record?.localOriginSuccessRate ?? -1 };
  }

  /** The endpoints that exist now; what is remembered of others is forgotten. */
  retain(endpoints: ReadonlySet<Endpoint>): void {
    this.#endpointCount = endpoints.size;
    for (const endpoint of this.#records.keys()) {
      if (endpoints.has(endpoint)) continue;
      if (endpoint.isEjected) this.stats.active--;
      this.#records.delete(endpoint);
    }
    // Others may see what this event loop does not.
    if (this.#options.peers?.decides === true)
      for (const endpoint of endpoints) if (endpoint.shared !== undefined) this.#recordOf(endpoint);
  }

  onResponse(endpoint: Endpoint, status: number): void {
    // What nobody shares any more is gone from the cluster.
    if (endpoint.shared?.isReleased === true) return;
    const isFailure = status >= 500;
    const known = this.#records.get(endpoint);
    // What never failed is not worth remembering, unless rates are compared.
    if (known === undefined && !isFailure && endpoint.shared === undefined && !this.#countsRates) return;
    const { counts } = known ?? this.#recordOf(endpoint);
    if (this.#config.splitsLocalOrigin) {
      counts.set(COUNT.consecutiveLocal, 0);
      counts.add(COUNT.localOrigin, 1);
      counts.add(COUNT.localOriginSuccess, 1);
    }
    counts.add(COUNT.external, 1);
    if (isFailure) {
      this.#onExternalFailure(endpoint, counts, status);
      return;
    }
    counts.add(COUNT.externalSuccess, 1);
    counts.set(COUNT.consecutive5xx, 0);
    counts.set(COUNT.consecutiveGateway, 0);
  }

  /** No answer came. Without the split that is an answer of 503, as Envoy has it. */
  onFailure(endpoint: Endpoint): void {
    if (endpoint.shared?.isReleased === true) return;
    const { counts } = this.#recordOf(endpoint);
    if (!this.#config.splitsLocalOrigin) {
      counts.add(COUNT.external, 1);
      this.#onExternalFailure(endpoint, counts, 503);
      return;
    }
    counts.add(COUNT.localOrigin, 1);
    if (counts.add(COUNT.consecutiveLocal, 1) === this.#config.consecutiveLocalOriginFailure.count) {
      this.#onConsecutive(endpoint, 'ConsecutiveLocalOriginFailure');
      counts.set(COUNT.consecutiveLocal, 0);
    }
  }

  /** Another event loop counted the last of so many failures in a row. */
  onReported(endpoint: Endpoint, reason: string): void {
    if (isConsecutive(reason)) this.#onConsecutive(endpoint, reason);
  }

  /** An active check passed. */
  onCheckPassed(endpoint: Endpoint): void {
    const record = this.#records.get(endpoint);
    if (record !== undefined && endpoint.isEjected && this.#config.checkUnejects && !this.#follows(endpoint))
      this.#uneject(endpoint, record);
  }

  close(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  get #countsRates(): boolean {
    const { successRate, failurePercentage } = this.#config;
    return this.#endpointCount >= Math.min(successRate.minimumHosts, failurePercentage.minimumHosts);
  }

  /** Another event loop decides about it. */
  #follows({ shared }: Endpoint): boolean {
    return shared !== undefined && this.#options.peers?.decides === false;
  }

  #onExternalFailure(endpoint: Endpoint, counts: SharedNumbers, status: number): void {
    const { consecutive5xx, consecutiveGatewayFailure } = this.#config;
    // A threshold of 0 is never met.
    if (status < 502 || status > 504) counts.set(COUNT.consecutiveGateway, 0);
    else if (counts.add(COUNT.consecutiveGateway, 1) === consecutiveGatewayFailure.count) {
      this.#onConsecutive(endpoint, 'ConsecutiveGatewayFailure');
      counts.set(COUNT.consecutiveGateway, 0);
    }
    if (counts.add(COUNT.consecutive5xx, 1) === consecutive5xx.count) {
      this.#onConsecutive(endpoint, 'Consecutive5xx');
      counts.set(COUNT.consecutive5xx, 0);
    }
  }

  #onConsecutive(endpoint: Endpoint, reason: ConsecutiveReason): void {
    if (this.#follows(endpoint)) this.#options.peers?.reportOutlier(endpoint, reason);
    else this.#detect(endpoint, reason, this.#config[CONSECUTIVE[reason]].enforcedPercent);
  }

  #recordOf(endpoint: Endpoint): EndpointRecord {
    const known = this.#records.get(endpoint);
    if (known !== undefined) return known;
    const record: EndpointRecord = {
      counts: endpoint.shared ?? new OwnNumbers(COUNT.end),
      backOff: 0,
      ejectedAtMs: 0,
      jitterMs: 0,
      successRate: -1,
      localOriginSuccessRate: -1,
    };
    this.#records.set(endpoint, record);
    if (!this.#follows(endpoint)) this.#scheduleSweep();
    return record;
  }

  #detect(endpoint: Endpoint, reason: Reason, enforcedPercent: number): void {
    if (endpoint.isEjected) return;
    const { stats } = this;
    const { maxEjectionPercent, alwaysEjectsOne } = this.#config;
    stats[`detected${reason}`]++;
    const ejectedPercent = (100 * (stats.active + 1)) / this.#endpointCount;
    if (ejectedPercent > maxEjectionPercent && !(alwaysEjectsOne && stats.active === 0)) {
      stats.overflow++;
      return;
    }
    if (reason === 'Consecutive5xx' || reason === 'SuccessRate') stats.total++;
    if (reason === 'Consecutive5xx') stats.consecutive5xx++;
    if (reason === 'SuccessRate') stats.successRate++;
    if (this.#options.random() * 100 >= enforcedPercent) return;
    stats[`enforced${reason}`]++;
    stats.enforcedTotal++;
    this.#eject(endpoint);
  }

  #eject(endpoint: Endpoint): void {
    const record = this.#recordOf(endpoint);
    const { baseEjectionMs, maxEjectionMs, maxEjectionJitterMs } = this.#config;
    record.ejectedAtMs = this.#options.clock.monotonic();
    record.jitterMs = Math.floor(this.#options.random() * (maxEjectionJitterMs + 1));
    if (record.backOff * baseEjectionMs < maxEjectionMs + baseEjectionMs) record.backOff++;
    this.stats.active++;
    endpoint.isEjected = true;
    this.#options.peers?.publish(endpoint);
    this.#options.onChange(endpoint);
    this.#scheduleSweep();
  }

  #uneject(endpoint: Endpoint, record: EndpointRecord): void {
    this.stats.active--;
    endpoint.isEjected = false;
    // A counter that was near its threshold must not throw it out again at once.
    for (const index of [COUNT.consecutive5xx, COUNT.consecutiveGateway, COUNT.consecutiveLocal]) record.counts.set(index, 0);
    this.#options.peers?.publish(endpoint);
    this.#options.onChange(endpoint);
  }

  #scheduleSweep(): void {
    this.#sweep ??= this.#options.clock.after(this.#config.intervalMs, () => {
      this.#sweep = undefined;
      this.#sweepNow();
    });
  }

  #sweepNow(): void {
    const now = this.#options.clock.monotonic();
    const { baseEjectionMs, maxEjectionMs } = this.#config;
    for (const [endpoint, record] of this.#records) {
      if (endpoint.isEjected) {
        const ejectionMs = Math.min(baseEjectionMs * record.backOff, maxEjectionMs) + record.jitterMs;
        if (now - record.ejectedAtMs >= ejectionMs) this.#uneject(endpoint, record);
      } else if (record.backOff > 0) record.backOff--;
    }
    this.#compareRates('external', 'SuccessRate', 'FailurePercentage');
    if (this.#config.splitsLocalOrigin) this.#compareRates('localOrigin', 'LocalOriginSuccessRate', 'LocalOriginFailurePercentage');
    this.#forgetQuiet();
    if (this.#records.size > 0) this.#scheduleSweep();
  }

  /** What nothing is remembered of but zeros needs no record. */
  #forgetQuiet(): void {
    for (const [endpoint, record] of this.#records) {
      const { counts } = record;
      let sum = record.backOff;
      for (let index: number = COUNT.consecutive5xx; index < COUNT.end; index++) sum += counts.get(index);
      for (const index of TALLIES) counts.set(index, 0);
      if (sum === 0 && !endpoint.isEjected && endpoint.shared === undefined) this.#records.delete(endpoint);
    }
  }

  #compareRates(origin: 'external' | 'localOrigin', byRate: Reason, byPercentage: Reason): void {
    const { successRate, failurePercentage } = this.#config;
    const isLocal = origin === 'localOrigin';
    const rates = [...this.#records].map(([endpoint, record]) => {
      const total = record.counts.get(COUNT[origin]);
      const success = record.counts.get(COUNT[`${origin}Success`]);
      return { endpoint, record, total, rate: total === 0 ? 0 : (100 * success) / total };
    });
    const forRate = rates.filter(({ endpoint, total }) => !endpoint.isEjected && total >= successRate.requestVolume && total > 0);
    for (const { record } of rates) record[isLocal ? 'localOriginSuccessRate' : 'successRate'] = -1;
    if (forRate.length > 0 && forRate.length >= successRate.minimumHosts) {
      for (const { record, rate } of forRate) record[isLocal ? 'localOriginSuccessRate' : 'successRate'] = rate;
      const threshold = rateThreshold(forRate, successRate.stdevFactor);
      const enforced = isLocal ? successRate.enforcedLocalPercent : successRate.enforcedPercent;
      for (const { endpoint, rate } of forRate) if (rate < threshold) this.#detect(endpoint, byRate, enforced);
    }
    const forPercentage = rates.filter(
      ({ endpoint, total }) => !endpoint.isEjected && total >= failurePercentage.requestVolume && total > 0,
    );
    if (forPercentage.length === 0 || forPercentage.length < failurePercentage.minimumHosts) return;
    const enforced = isLocal ? failurePercentage.enforcedLocalPercent : failurePercentage.enforcedPercent;
    for (const { endpoint, rate } of forPercentage)
      if (100 - rate >= failurePercentage.thresholdPercent) this.#detect(endpoint, byPercentage, enforced);
  }
}

/** So many standard deviations below the mean. */
function rateThreshold(hosts: readonly { readonly rate: number }[], stdevFactor: number): number {
  const mean = hosts.reduce((sum, { rate }) => sum + rate, 0) / hosts.length;
  const variance = hosts.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / hosts.length;
  return mean - stdevFactor * Math.sqrt(variance);
}
