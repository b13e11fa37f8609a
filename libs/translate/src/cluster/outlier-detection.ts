import type { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { type Init, optionalDuration, present } from '../messages.ts';
import type { PortPolicy } from './traffic-policy.ts';

type ClusterInit = Init<typeof ClusterSchema>;

/**
 * When an endpoint is ejected. Success rate never counts, and the panic threshold is what the rule says, 0 by default.
 * Source: istio pilot/pkg/networking/core/cluster_traffic_policy.go applyOutlierDetection (1.32 dev).
 */
export function outlierDetectionFields(outlier: PortPolicy['outlierDetection']): ClusterInit {
  if (outlier === undefined) return {};
  const isSplit = outlier.splitExternalLocalOriginErrors ?? false;
  const gatewayErrors = outlier.consecutiveGatewayErrors;
  const serverErrors = outlier.consecutive5xxErrors ?? outlier.consecutiveErrors;
  return {
    outlierDetection: present({
      enforcingSuccessRate: 0,
      interval: optionalDuration(outlier.interval),
      baseEjectionTime: optionalDuration(outlier.baseEjectionTime),
      maxEjectionPercent: outlier.maxEjectionPercent || undefined,
      consecutive5xx: serverErrors,
      // 0 switches a detector off, which Envoy says by not enforcing it.
      enforcingConsecutive5xx: serverErrors === undefined ? undefined : serverErrors > 0 ? 100 : 0,
      consecutiveGatewayFailure: gatewayErrors,
      enforcingConsecutiveGatewayFailure: gatewayErrors === undefined ? undefined : gatewayErrors > 0 ? 100 : 0,
      splitExternalLocalOriginErrors: isSplit || undefined,
      consecutiveLocalOriginFailure: isSplit ? outlier.consecutiveLocalOriginFailures : undefined,
      enforcingConsecutiveLocalOriginFailure: isSplit && outlier.consecutiveLocalOriginFailures !== undefined ? 100 : undefined,
      enforcingLocalOriginSuccessRate: isSplit ? 0 : undefined,
    }),
    commonLbConfig: { healthyPanicThreshold: { value: outlier.minHealthPercent ?? 0 } },
  };
}
