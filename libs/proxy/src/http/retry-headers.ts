import { type CompiledRetryPolicy, NO_RETRIES, RETRY_CONDITIONS, type RetryCondition } from '@mizzen/matching';
import { type HeaderMap, SEEN } from './headers.ts';
import { takeNumber } from './router-timeouts.ts';
import type { HttpStreamInfo } from './stream-info.ts';

const NO_NAMES: readonly string[] = [];

/**
 * The route's policy and what headers of the request add to it; the headers go. Only callers inside of the mesh get so far with them.
 * A word that is no condition is passed over, as Envoy does. Source: envoy RetryStateImpl::create and its constructor (1.40).
 */
export function withRetryHeaders(policy: CompiledRetryPolicy | undefined, info: HttpStreamInfo): CompiledRetryPolicy | undefined {
  const { headers } = info.head;
  if ((headers.seen & SEEN.envoyInternal) === 0) return policy;
  const conditions = [...takeWords(headers, 'x-envoy-retry-on'), ...takeWords(headers, 'x-envoy-retry-grpc-on')].filter(isCondition);
  const maxRetries = takeNumber(headers, 'x-envoy-max-retries');
  const statusCodes = takeWords(headers, 'x-envoy-retriable-status-codes').filter((word) => /^\d+$/.test(word));
  const names = takeWords(headers, 'x-envoy-retriable-header-names').map((name) => name.toLowerCase());
  headers.remove('x-envoy-hedge-on-per-try-timeout');
  if (conditions.length === 0 && (policy === undefined || policy.retryOn.size === 0)) return policy;
  const base = policy ?? NO_RETRIES;
  return {
    ...base,
    retryOn: new Set([...base.retryOn, ...conditions]),
    numRetries: maxRetries ?? base.numRetries,
    retriableStatusCodes: new Set([...base.retriableStatusCodes, ...statusCodes.map(Number)]),
    retriableHeaders: [
      ...base.retriableHeaders,
      ...names.map((name) => (lookup: (name: string) => string | undefined) => lookup(name) !== undefined),
    ],
  };
}

function takeWords(headers: HeaderMap, name: string): readonly string[] {
  const text = headers.get(name);
  if (text === undefined) return NO_NAMES;
  headers.remove(name);
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

function isCondition(word: string): word is RetryCondition {
  return RETRY_CONDITIONS.some((condition) => condition === word);
}
