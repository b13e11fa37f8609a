import type { HttpRetry } from '@mizzen/mesh-api';
import type { RetryPolicySchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { PreviousHostsPredicateSchema } from '@mizzen/xds-api/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts';
import { any, type Init, optionalDuration } from '../messages.ts';

type RetryPolicyInit = Init<typeof RetryPolicySchema>;

/**
 * What is retried where a rule does not say: only failures before the upstream can have acted. The list of status codes is empty.
 * Source: istio pilot/pkg/networking/core/route/retry/retry.go (1.32 dev).
 */
const DEFAULT_RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes';
const DEFAULT_ATTEMPTS = 2;
const HOST_RESELECTION_ATTEMPTS = 5n;

/**
 * The retry policy of a rule, or undefined where retries are switched off by `attempts: 0`.
 * Order: the rule, the mesh's `defaultHttpRetryPolicy`, Istio's default.
 */
export function retryPolicy(
  retries: HttpRetry | undefined,
  context: { meshDefault: HttpRetry | undefined; isConsistentHash: boolean },
): RetryPolicyInit | undefined {
  const settings = retries ?? context.meshDefault;
  const attempts = settings === undefined ? DEFAULT_ATTEMPTS : (settings.attempts ?? DEFAULT_ATTEMPTS);
  if (attempts <= 0) return undefined;
  const { retryOn, retriableStatusCodes } = parseRetryOn(settings?.retryOn);
  const perTryTimeout = optionalDuration(settings?.perTryTimeout);
  const backoff = optionalDuration(settings?.backoff);
  // Trying another host would break the affinity that a hash is for.
  const avoidsPrevious = settings?.retryIgnorePreviousHosts ?? !context.isConsistentHash;
  return {
    retryOn,
    numRetries: attempts,
    ...(retriableStatusCodes.length > 0 && { retriableStatusCodes }),
    ...(perTryTimeout && { perTryTimeout }),
    ...(backoff && { retryBackOff: { baseInterval: backoff } }),
    ...(avoidsPrevious && {
      retryHostPredicate: [
        {
          name: 'envoy.retry_host_predicates.previous_hosts',
          configType: { case: 'typedConfig', value: any(PreviousHostsPredicateSchema, {}) },
        },
      ],
      hostSelectionRetryMaxAttempts: HOST_RESELECTION_ATTEMPTS,
    }),
  };
}

/** Numbers in the list are status codes. */
function parseRetryOn(text: string | undefined): { retryOn: string; retriableStatusCodes: number[] } {
  if (text === undefined || text.trim() === '') return { retryOn: DEFAULT_RETRY_ON, retriableStatusCodes: [] };
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  const retriableStatusCodes = parts.filter((part) => /^\d+$/.test(part)).map(Number);
  const conditions = parts.filter((part) => !/^\d+$/.test(part));
  if (retriableStatusCodes.length > 0 && !conditions.includes('retriable-status-codes')) conditions.push('retriable-status-codes');
  return { retryOn: conditions.join(','), retriableStatusCodes };
}
