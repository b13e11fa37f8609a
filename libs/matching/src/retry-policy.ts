import { type RetryPolicy, RetryPolicy_ResetHeaderFormat } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { compileHeaderMatchers } from './conditions.ts';
import { durationMs } from './duration.ts';
import { type Field, refuseFields } from './field.ts';

/** Conditions of `retry_on` that this proxy knows. Source: Envoy, x-envoy-retry-on and x-envoy-retry-grpc-on (1.40). */
export const RETRY_CONDITIONS = [
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'envoy-ratelimited',
  'retriable-4xx',
  'refused-stream',
  'retriable-status-codes',
  'retriable-headers',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
] as const;
export type RetryCondition = (typeof RETRY_CONDITIONS)[number];

type HeaderLookup = (lowerCaseName: string) => string | undefined;

export interface CompiledRetryPolicy {
  readonly retryOn: ReadonlySet<RetryCondition>;
  /** Tries after the first one. */
  readonly numRetries: number;
  /** 0: none. */
  readonly perTryTimeoutMs: number;
  readonly perTryIdleTimeoutMs: number;
  readonly retriableStatusCodes: ReadonlySet<number>;
  readonly retriableHeaders: readonly ((lookup: HeaderLookup) => boolean)[];
  readonly retriableRequestHeaders: readonly ((lookup: HeaderLookup) => boolean)[];
  /** Back-off before retry n (from 1): uniform in [0, min(base * (2^n - 1), max)), as Envoy's jittered exponential back-off. */
  readonly backOff: { readonly baseMs: number; readonly maxMs: number };
  /** In the place of it, where the answer says in one of these headers when to come again. */
  readonly rateLimitedBackOff: RateLimitedBackOff | undefined;
  readonly skipsPreviousHosts: boolean;
  readonly hostSelectionAttempts: number;
}

/** Source: envoy RetryPolicy.RateLimitedRetryBackOff (1.40). */
export interface RateLimitedBackOff {
  /** In order; the first one that is there and not above `maxMs` counts. `unix`: a time in seconds since 1970. */
  readonly headers: readonly { readonly name: string; readonly format: 'seconds' | 'unix' }[];
  readonly maxMs: number;
}

const DEFAULT_BASE_BACK_OFF_MS = 25;
const DEFAULT_RETRIES = 1;
const DEFAULT_MAX_RATE_LIMITED_BACK_OFF_MS = 300_000;
const PREVIOUS_HOSTS = 'envoy.retry_host_predicates.previous_hosts';

export function compileRetryPolicy(policy: RetryPolicy | undefined, field: Field): CompiledRetryPolicy | undefined {
  if (policy === undefined) return undefined;
  refuseFields(field, policy, ['retryPriority', 'retryOptionsPredicates']);
  policy.retryHostPredicate.forEach((predicate, index) => {
    const name = predicate.configType.case === 'typedConfig' ? predicate.configType.value.typeUrl : predicate.name;
    if (predicate.name !== PREVIOUS_HOSTS && !name.endsWith('PreviousHostsPredicate')) {
      field.child('retry_host_predicate', index).reject('only previous_hosts is supported');
    }
  });
  const baseMs = durationMs(policy.retryBackOff?.baseInterval) ?? DEFAULT_BASE_BACK_OFF_MS;
  const maxMs = durationMs(policy.retryBackOff?.maxInterval) ?? baseMs * 10;
  if (policy.retryBackOff !== undefined && (baseMs <= 0 || maxMs < baseMs)) {
    field.child('retry_back_off').reject('base_interval must be above 0 and not above max_interval');
  }
  return {
    retryOn: parseRetryOn(policy.retryOn, field.child('retry_on')),
    numRetries: policy.numRetries ?? DEFAULT_RETRIES,
    perTryTimeoutMs: durationMs(policy.perTryTimeout) ?? 0,
    perTryIdleTimeoutMs: durationMs(policy.perTryIdleTimeout) ?? 0,
    retriableStatusCodes: new Set(policy.retriableStatusCodes),
    retriableHeaders: compileHeaderMatchers(policy.retriableHeaders, field.child('retriable_headers')),
    retriableRequestHeaders: compileHeaderMatchers(policy.retriableRequestHeaders, field.child('retriable_request_headers')),
    backOff: { baseMs, maxMs },
    rateLimitedBackOff: compileRateLimitedBackOff(policy.rateLimitedRetryBackOff, field.child('rate_limited_retry_back_off')),
    skipsPreviousHosts: policy.retryHostPredicate.length > 0,
    hostSelectionAttempts: Math.max(1, Number(policy.hostSelectionRetryMaxAttempts)),
  };
}

/** What headers of a request ask for where its route has no retry policy. */
export const NO_RETRIES: CompiledRetryPolicy = {
  retryOn: new Set(),
  numRetries: DEFAULT_RETRIES,
  perTryTimeoutMs: 0,
  perTryIdleTimeoutMs: 0,
  retriableStatusCodes: new Set(),
  retriableHeaders: [],
  retriableRequestHeaders: [],
  backOff: { baseMs: DEFAULT_BASE_BACK_OFF_MS, maxMs: DEFAULT_BASE_BACK_OFF_MS * 10 },
  rateLimitedBackOff: undefined,
  skipsPreviousHosts: false,
  hostSelectionAttempts: 1,
};

function compileRateLimitedBackOff(policy: RetryPolicy['rateLimitedRetryBackOff'], field: Field): RateLimitedBackOff | undefined {
  if (policy === undefined) return undefined;
  if (policy.resetHeaders.length === 0) field.child('reset_headers').reject('needs at least one header');
  return {
    headers: policy.resetHeaders.map(({ name, format }, index) => {
      if (name === '') field.child('reset_headers', index).child('name').reject('is required');
      return { name: name.toLowerCase(), format: format === RetryPolicy_ResetHeaderFormat.UNIX_TIMESTAMP ? 'unix' : 'seconds' };
    }),
    maxMs: durationMs(policy.maxInterval) ?? DEFAULT_MAX_RATE_LIMITED_BACK_OFF_MS,
  };
}

function parseRetryOn(text: string, field: Field): ReadonlySet<RetryCondition> {
  const conditions = new Set<RetryCondition>();
  for (const word of text.split(',').map((part) => part.trim())) {
    if (word === '') continue;
    const known = RETRY_CONDITIONS.find((condition) => condition === word);
    // Envoy ignores words that it does not know; a typing error that silently switches retries off helps nobody.
    if (known === undefined) field.reject(`"${word}" is not a retry condition; the conditions are ${RETRY_CONDITIONS.join(', ')}`);
    else conditions.add(known);
  }
  return conditions;
}
