import type { Clock, Random, Timer } from '@mizzen/core';
import { defineStats, zeroCounts } from '../observe/stat-registry.ts';
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

/** Requests of one interval: what the endpoint answered, or whether it could be reached at all. */
interface Tally {
  total: number;
  success: number;
}

/** What is remembered of one endpoint. */
interface EndpointRecord {
  consecutive5xx: number;
  consecutiveGateway: number;
  consecutiveLocal: number;
  /** Grows with each ejection, shrinks with each interval without one: the multiple of the base ejection time. */
  backOff: number;
  ejectedAtMs: number;
  jitterMs: number;
  /** Of the last interval, in percent; -1 where there were too few requests. */
  successRate: number;
  localOriginSuccessRate: number;
  readonly external: Tally;
  readonly localOrigin: Tally;
}

export interface OutlierDetectorOptions {
  readonly clock: Clock;
  readonly random: Random;
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
  }

  onResponse(endpoint: Endpoint, status: number): void {
    const isFailure = status >= 500;
    const known = this.#records.get(endpoint);
    // What never failed is not worth remembering, unless rates are compared.
    if (known === undefined && !isFailure && !this.#countsRates) return;
    const record = known ?? this.#recordOf(endpoint);
    if (this.#config.splitsLocalOrigin) {
      record.consecutiveLocal = 0;
      record.localOrigin.total++;
      record.localOrigin.success++;
    }
    record.external.total++;
    if (isFailure) {
      this.#onExternalFailure(endpoint, record, status);
      return;
    }
    record.external.success++;
    record.consecutive5xx = 0;
    record.consecutiveGateway = 0;
  }

  /** No answer came. Without the split that is an answer of 503, as Envoy has it. */
  onFailure(endpoint: Endpoint): void {
    const record = this.#recordOf(endpoint);
    if (!this.#config.splitsLocalOrigin) {
      record.external.total++;
      this.#onExternalFailure(endpoint, record, 503);
      return;
    }
    record.localOrigin.total++;
    if (++record.consecutiveLocal === this.#config.consecutiveLocalOriginFailure.count) {
      this.#detect(endpoint, 'ConsecutiveLocalOriginFailure', this.#config.consecutiveLocalOriginFailure.enforcedPercent);
      record.consecutiveLocal = 0;
    }
  }

  /** An active check passed. */
  onCheckPassed(endpoint: Endpoint): void {
    const record = this.#records.get(endpoint);
    if (record !== undefined && endpoint.isEjected && this.#config.checkUnejects) this.#uneject(endpoint, record);
  }

  close(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  get #countsRates(): boolean {
    const { successRate, failurePercentage } = this.#config;
    return this.#endpointCount >= Math.min(successRate.minimumHosts, failurePercentage.minimumHosts);
  }

  #onExternalFailure(endpoint: Endpoint, record: EndpointRecord, status: number): void {
    const { consecutive5xx, consecutiveGatewayFailure } = this.#config;
    // A threshold of 0 is never met.
    if (status < 502 || status > 504) record.consecutiveGateway = 0;
    else if (++record.consecutiveGateway === consecutiveGatewayFailure.count) {
      this.#detect(endpoint, 'ConsecutiveGatewayFailure', consecutiveGatewayFailure.enforcedPercent);
      record.consecutiveGateway = 0;
    }
    if (++record.consecutive5xx === consecutive5xx.count) {
      this.#detect(endpoint, 'Consecutive5xx', consecutive5xx.enforcedPercent);
      record.consecutive5xx = 0;
    }
  }

  #recordOf(endpoint: Endpoint): EndpointRecord {
    const known = this.#records.get(endpoint);
    if (known !== undefined) return known;
    const record: EndpointRecord = {
      consecutive5xx: 0,
      consecutiveGateway: 0,
      consecutiveLocal: 0,
      backOff: 0,
      ejectedAtMs: 0,
      jitterMs: 0,
      successRate: -1,
      localOriginSuccessRate: -1,
      external: { total: 0, success: 0 },
      localOrigin: { total: 0, success: 0 },
    };
    this.#records.set(endpoint, record);
    this.#scheduleSweep();
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
    this.#options.onChange(endpoint);
    this.#scheduleSweep();
  }

  #uneject(endpoint: Endpoint, record: EndpointRecord): void {
    this.stats.active--;
    endpoint.isEjected = false;
    // A counter that was near its threshold must not throw it out again at once.
    record.consecutive5xx = 0;
    record.consecutiveGateway = 0;
    record.consecutiveLocal = 0;
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
      const { external, localOrigin } = record;
      const isQuiet =
        !endpoint.isEjected &&
        record.backOff +
          record.consecutive5xx +
          record.consecutiveLocal +
          record.consecutiveGateway +
          external.total +
          localOrigin.total ===
          0;
      external.total = 0;
      external.success = 0;
      localOrigin.total = 0;
      localOrigin.success = 0;
      if (isQuiet) this.#records.delete(endpoint);
    }
  }

  #compareRates(origin: 'external' | 'localOrigin', byRate: Reason, byPercentage: Reason): void {
    const { successRate, failurePercentage } = this.#config;
    const isLocal = origin === 'localOrigin';
    const rates = [...this.#records].map(([endpoint, record]) => {
      const { total, success } = record[origin];
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
