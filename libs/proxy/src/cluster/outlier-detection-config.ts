import { type OutlierDetection, OutlierDetectionSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/outlier_detection';
import { ConfigError } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';

/** One way to find an outlier: 0 to 100, how often what it finds is acted upon. */
export interface OutlierConfig {
  readonly consecutive5xx: Threshold;
  readonly consecutiveGatewayFailure: Threshold;
  readonly consecutiveLocalOriginFailure: Threshold;
  readonly splitsLocalOrigin: boolean;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  readonly maxEjectionJitterMs: number;
  readonly maxEjectionPercent: number;
  readonly alwaysEjectsOne: boolean;
  /** A check that passes lets an ejected endpoint back. */
  readonly checkUnejects: boolean;
  readonly successRate: StatisticalConfig & { readonly stdevFactor: number };
  readonly failurePercentage: StatisticalConfig & { readonly thresholdPercent: number };
}

export interface Threshold {
  readonly count: number;
  readonly enforcedPercent: number;
}

/** Detection over an interval: only of endpoints with enough requests, only where there are enough such endpoints. */
export interface StatisticalConfig {
  readonly minimumHosts: number;
  readonly requestVolume: number;
  readonly enforcedPercent: number;
  readonly enforcedLocalPercent: number;
}

export const SUPPORTED_OUTLIER_FIELDS = {
  [OutlierDetectionSchema.typeName]: OutlierDetectionSchema.fields.map(({ name }) => name).filter((name) => name !== 'monitors'),
};

/** Defaults are Envoy's. Source: envoy docs, OutlierDetection (1.40). Throws ConfigError. */
export function compileOutlierDetection(message: OutlierDetection): OutlierConfig {
  const baseEjectionMs = durationMs(message.baseEjectionTime, 30_000);
  const maxEjectionMs = durationMs(message.maxEjectionTime, Math.max(300_000, baseEjectionMs));
  if (maxEjectionMs < baseEjectionMs) throw new ConfigError('outlier_detection.max_ejection_time', 'must not be below base_ejection_time');
  for (const name of ['interval', 'baseEjectionTime', 'maxEjectionTime'] as const) {
    if (message[name] !== undefined && durationMs(message[name], 1) <= 0)
      throw new ConfigError(`outlier_detection.${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`, 'must be above 0');
  }
  return {
    consecutive5xx: { count: message.consecutive5xx ?? 5, enforcedPercent: message.enforcingConsecutive5xx ?? 100 },
    consecutiveGatewayFailure: {
      count: message.consecutiveGatewayFailure ?? 5,
      enforcedPercent: message.enforcingConsecutiveGatewayFailure ?? 0,
    },
    consecutiveLocalOriginFailure: {
      count: message.consecutiveLocalOriginFailure ?? 5,
      enforcedPercent: message.enforcingConsecutiveLocalOriginFailure ?? 100,
    },
    splitsLocalOrigin: message.splitExternalLocalOriginErrors,
    intervalMs: durationMs(message.interval, 10_000),
    baseEjectionMs,
    maxEjectionMs,
    maxEjectionJitterMs: durationMs(message.maxEjectionTimeJitter, 0),
    maxEjectionPercent: Math.min(100, message.maxEjectionPercent ?? 10),
    alwaysEjectsOne: message.alwaysEjectOneHost ?? false,
    checkUnejects: message.successfulActiveHealthCheckUnejectHost ?? true,
    successRate: {
      minimumHosts: message.successRateMinimumHosts ?? 5,
      requestVolume: message.successRateRequestVolume ?? 100,
      stdevFactor: (message.successRateStdevFactor ?? 1900) / 1000,
      enforcedPercent: message.enforcingSuccessRate ?? 100,
      enforcedLocalPercent: message.enforcingLocalOriginSuccessRate ?? 100,
    },
    failurePercentage: {
      minimumHosts: message.failurePercentageMinimumHosts ?? 5,
      requestVolume: message.failurePercentageRequestVolume ?? 50,
      thresholdPercent: message.failurePercentageThreshold ?? 85,
      enforcedPercent: message.enforcingFailurePercentage ?? 0,
      enforcedLocalPercent: message.enforcingFailurePercentageLocalOrigin ?? 0,
    },
  };
}
