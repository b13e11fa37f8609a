import type { Clock, Random, Timer } from '@mizzen/core';
import { type OutlierDetection, OutlierDetectionSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/outlier_detection';
import { durationMs } from '../config/values.ts';
import type { Endpoint } from './endpoint.ts';

/** Passive health checks. Success-rate and failure-percentage ejection are what Istio switches off; they are refused when asked for. */
export interface OutlierConfig {
  /** 0 turns a detector off. */
  readonly consecutive5xx: number;
  readonly consecutiveGatewayFailure: number;
  readonly consecutiveLocalOriginFailure: number;
  readonly splitsLocalOrigin: boolean;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  readonly maxEjectionPercent: number;
}

export const SUPPORTED_OUTLIER_FIELDS = {
  [OutlierDetectionSchema.typeName]: [
    'consecutive_5xx',
    'interval',
    'base_ejection_time',
    'max_ejection_percent',
    'enforcing_consecutive_5xx',
    'consecutive_gateway_failure',
    'enforcing_consecutive_gateway_failure',
    'split_external_local_origin_errors',
    'consecutive_local_origin_failure',
    'enforcing_consecutive_local_origin_failure',
    'max_ejection_time',
    'enforcing_success_rate',
    'always_eject_one_host',
  ],
};

// Envoy's defaults. Source: envoy docs, OutlierDetection.
export function compileOutlierDetection(message: OutlierDetection): OutlierConfig {
  const enforced = (percent: number | undefined, fallback: number, threshold: number): number =>
    (percent ?? fallback) > 0 ? threshold : 0;
  const baseEjectionMs = durationMs(message.baseEjectionTime, 30_000);
  return {
    consecutive5xx: enforced(message.enforcingConsecutive5xx, 100, message.consecutive5xx ?? 5),
    consecutiveGatewayFailure: enforced(message.enforcingConsecutiveGatewayFailure, 0, message.consecutiveGatewayFailure ?? 5),
    consecutiveLocalOriginFailure: enforced(
      message.enforcingConsecutiveLocalOriginFailure,
      100,
      message.consecutiveLocalOriginFailure ?? 5,
    ),
    splitsLocalOrigin: message.splitExternalLocalOriginErrors,
    intervalMs: durationMs(message.interval, 10_000),
    baseEjectionMs,
    maxEjectionMs: Math.max(durationMs(message.maxEjectionTime, 300_000), baseEjectionMs),
    maxEjectionPercent: message.maxEjectionPercent ?? 10,
  };
}

/** What is remembered of one endpoint. */
interface EndpointRecord {
  consecutive5xx: number;
  consecutiveGateway: number;
  consecutiveLocal: number;
  /** Grows with each ejection, shrinks with each interval without one: the multiple of the base ejection time. */
  ejections: number;
  ejectedUntilMs: number;
}

/**
 * Ejects endpoints that keep failing and lets them back after a while. A sweep runs each interval, only while there is something to forget.
 * Source: envoy docs, "Outlier detection".
 */
export class OutlierDetector {
  readonly #config: OutlierConfig;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onChange: () => void;
  readonly #records = new Map<Endpoint, EndpointRecord>();
  #endpointCount = 0;
  #ejectedCount = 0;
  #sweep: Timer | undefined;
  /** Ejections so far: `outlier_detection.ejections_enforced_total`. */
  ejectionsTotal = 0;

  constructor(config: OutlierConfig, options: { readonly clock: Clock; readonly random: Random; readonly onChange: () => void }) {
    this.#config = config;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#onChange = options.onChange;
  }

  get ejectedCount(): number {
    return this.#ejectedCount;
  }

  /** The endpoints that exist now; what is remembered of others is forgotten. */
  retain(endpoints: ReadonlySet<Endpoint>): void {
    this.#endpointCount = endpoints.size;
    for (const [endpoint, record] of this.#records) {
      if (endpoints.has(endpoint)) continue;
      if (record.ejectedUntilMs > 0) this.#ejectedCount--;
      this.#records.delete(endpoint);
    }
  }

  onResponse(endpoint: Endpoint, status: number): void {
    if (status < 500) {
      const record = this.#records.get(endpoint);
      if (record === undefined) return;
      record.consecutive5xx = 0;
      record.consecutiveGateway = 0;
      record.consecutiveLocal = 0;
      return;
    }
    const record = this.#record(endpoint);
    record.consecutiveLocal = 0;
    record.consecutive5xx++;
    record.consecutiveGateway = status >= 502 && status <= 504 ? record.consecutiveGateway + 1 : 0;
    this.#ejectIfOver(endpoint, record);
  }

  onFailure(endpoint: Endpoint): void {
    const record = this.#record(endpoint);
    if (this.#config.splitsLocalOrigin) {
      record.consecutiveLocal++;
    } else {
      // Without the split a failure to connect counts as a 503.
      record.consecutive5xx++;
      record.consecutiveGateway++;
    }
    this.#ejectIfOver(endpoint, record);
  }

  close(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  #record(endpoint: Endpoint): EndpointRecord {
    const known = this.#records.get(endpoint);
    if (known !== undefined) return known;
    const record: EndpointRecord = { consecutive5xx: 0, consecutiveGateway: 0, consecutiveLocal: 0, ejections: 0, ejectedUntilMs: 0 };
    this.#records.set(endpoint, record);
    this.#scheduleSweep();
    return record;
  }

  #ejectIfOver(endpoint: Endpoint, record: EndpointRecord): void {
    if (record.ejectedUntilMs > 0) return;
    const { consecutive5xx, consecutiveGatewayFailure, consecutiveLocalOriginFailure } = this.#config;
    const isOver =
      (consecutive5xx > 0 && record.consecutive5xx >= consecutive5xx) ||
      (consecutiveGatewayFailure > 0 && record.consecutiveGateway >= consecutiveGatewayFailure) ||
      (consecutiveLocalOriginFailure > 0 && record.consecutiveLocal >= consecutiveLocalOriginFailure);
    if (!isOver) return;
    // At least one endpoint may always be ejected (Envoy: max_ejection_percent, "but will eject at least one").
    const allowed = Math.max(1, Math.floor((this.#endpointCount * this.#config.maxEjectionPercent) / 100));
    if (this.#ejectedCount >= allowed) return;
    record.ejections++;
    const durationOfEjection = Math.min(this.#config.baseEjectionMs * record.ejections, this.#config.maxEjectionMs);
    record.ejectedUntilMs = this.#clock.monotonic() + durationOfEjection;
    record.consecutive5xx = 0;
    record.consecutiveGateway = 0;
    record.consecutiveLocal = 0;
    this.#ejectedCount++;
    this.ejectionsTotal++;
    endpoint.isEjected = true;
    this.#onChange();
    this.#scheduleSweep();
  }

  #scheduleSweep(): void {
    if (this.#sweep !== undefined) return;
    // A little jitter, so that the proxies of a fleet do not let an endpoint back in the same moment.
    const delayMs = this.#config.intervalMs * (0.95 + 0.1 * this.#random());
    this.#sweep = this.#clock.after(delayMs, () => {
      this.#sweep = undefined;
      this.#sweepNow();
    });
  }

  #sweepNow(): void {
    const now = this.#clock.monotonic();
    let hasChanged = false;
    for (const [endpoint, record] of this.#records) {
      if (record.ejectedUntilMs > 0) {
        if (now < record.ejectedUntilMs) continue;
        record.ejectedUntilMs = 0;
        endpoint.isEjected = false;
        this.#ejectedCount--;
        hasChanged = true;
      } else if (record.ejections > 0) {
        record.ejections--;
      } else if (record.consecutive5xx + record.consecutiveLocal + record.consecutiveGateway === 0) {
        this.#records.delete(endpoint);
      }
    }
    if (hasChanged) this.#onChange();
    if (this.#records.size > 0) this.#scheduleSweep();
  }
}
