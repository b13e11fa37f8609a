import type { Clock, Random } from '@mizzen/core';
import type { CompiledRetryPolicy } from '@mizzen/matching';
import type { UpstreamCluster, UpstreamEndpoint } from '../contract.ts';
import type { HeaderMap } from './headers.ts';
import { withRetryHeaders } from './retry-headers.ts';
import type { RouteStats } from './router-stats.ts';
import type { ResetReason, ResponseHead } from './stream.ts';
import type { HttpStreamInfo } from './stream-info.ts';

export type RetryDecision = 'retry' | 'no' | 'overflow' | 'limit-exceeded';

const GRPC_CONDITIONS = {
  '1': 'cancelled',
  '4': 'deadline-exceeded',
  '8': 'resource-exhausted',
  '13': 'internal',
  '14': 'unavailable',
} as const;

interface RetryContext {
  readonly cluster: UpstreamCluster;
  /** Of the route, beside the cluster's. */
  readonly counts: readonly RouteStats[];
  readonly random: Random;
  /** Its time of day is what a header that says when to come again is compared with. */
  readonly clock: Pick<Clock, 'now'>;
}

/** Decides for one request whether another try is made. Source: Envoy, x-envoy-retry-on (1.40); RetryStateImpl. */
export class RetryState {
  readonly policy: CompiledRetryPolicy;
  readonly #context: RetryContext;
  readonly #tried = new Set<UpstreamEndpoint>();
  #remaining: number;
  #retries = 0;
  #holdsBudget = false;
  /** When the last answer said that it may be asked again. */
  #askedDelayMs = 0;

  constructor(policy: CompiledRetryPolicy, context: RetryContext) {
    this.policy = policy;
    this.#context = context;
    this.#remaining = policy.numRetries;
  }

  /** undefined: no try after the first. Headers of the request that ask for retries are heard and taken away. */
  static for(policy: CompiledRetryPolicy | undefined, info: HttpStreamInfo, context: RetryContext): RetryState | undefined {
    const merged = withRetryHeaders(policy, info);
    if (merged === undefined || merged.retryOn.size === 0) return undefined;
    const { retriableRequestHeaders } = merged;
    const isWanted =
      retriableRequestHeaders.length === 0 || retriableRequestHeaders.some((matches) => matches((name) => info.requestHeader(name)));
    return isWanted ? new RetryState(merged, context) : undefined;
  }

  get hasRetried(): boolean {
    return this.#retries > 0;
  }

  remember(endpoint: UpstreamEndpoint): void {
    if (this.policy.skipsPreviousHosts) this.#tried.add(endpoint);
  }

  /** For the load balancer; undefined where any endpoint will do. */
  get isExcluded(): ((endpoint: UpstreamEndpoint) => boolean) | undefined {
    return this.#tried.size === 0 ? undefined : (endpoint) => this.#tried.has(endpoint);
  }

  onHead(head: ResponseHead): RetryDecision {
    const isWanted = this.#wouldRetryHead(head);
    if (isWanted) this.#askedDelayMs = this.#readAskedDelay(head.headers);
    return this.#decide(isWanted);
  }

  /** `isSent`: bytes of the request may have reached the upstream. */
  onReset(reason: ResetReason, isSent: boolean): RetryDecision {
    return this.#decide(this.#wouldRetryReset(reason, isSent));
  }

  #wouldRetryHead({ status, headers }: ResponseHead): boolean {
    const { retryOn, retriableStatusCodes, retriableHeaders } = this.policy;
    if (headers.has('x-envoy-ratelimited')) return retryOn.has('envoy-ratelimited');
    if (status >= 500 && retryOn.has('5xx')) return true;
    if (status >= 502 && status <= 504 && retryOn.has('gateway-error')) return true;
    if (status === 409 && retryOn.has('retriable-4xx')) return true;
    if (retryOn.has('retriable-status-codes') && retriableStatusCodes.has(status)) return true;
    if (
      retryOn.has('retriable-headers') &&
      retriableHeaders.some((matches) => matches((name) => (name === ':status' ? String(status) : headers.get(name))))
    )
      return true;
    const condition = GRPC_CONDITIONS[headers.get('grpc-status') as keyof typeof GRPC_CONDITIONS];
    return condition !== undefined && retryOn.has(condition);
  }

  #wouldRetryReset(reason: ResetReason, isSent: boolean): boolean {
    const { retryOn } = this.policy;
    // An overloaded upstream is not helped by more requests.
    if (reason === 'overflow') return false;
    if (retryOn.has('5xx') || retryOn.has('gateway-error') || retryOn.has('reset')) return true;
    if (!isSent && retryOn.has('reset-before-request')) return true;
    if (reason === 'remote-refused') return retryOn.has('refused-stream');
    return (reason === 'connection-failure' || reason === 'connection-timeout') && retryOn.has('connect-failure');
  }

  #decide(isWanted: boolean): RetryDecision {
    const { active } = this.#context.cluster;
    if (this.#holdsBudget && !isWanted) this.#count('upstreamRqRetrySuccess');
    this.release();
    if (!isWanted) return 'no';
    if (this.#remaining === 0) {
      this.#count('upstreamRqRetryLimitExceeded');
      return 'limit-exceeded';
    }
    this.#remaining--;
    if (active.retries >= retryLimit(this.#context.cluster)) {
      this.#count('upstreamRqRetryOverflow');
      return 'overflow';
    }
    this.#retries++;
    this.#holdsBudget = true;
    active.retries++;
    this.#count('upstreamRqRetry');
    return 'retry';
  }

  #count(name: 'upstreamRqRetry' | 'upstreamRqRetrySuccess' | 'upstreamRqRetryOverflow' | 'upstreamRqRetryLimitExceeded'): void {
    this.#context.cluster.stats[name]++;
    for (const stats of this.#context.counts) stats[name]++;
  }

  #readAskedDelay(headers: HeaderMap): number {
    const { rateLimitedBackOff } = this.policy;
    if (rateLimitedBackOff === undefined) return 0;
    for (const { name, format } of rateLimitedBackOff.headers) {
      const text = headers.get(name);
      if (text === undefined || !/^\d{1,15}$/.test(text)) continue;
      const delayMs = format === 'seconds' ? Number(text) * 1000 : Number(text) * 1000 - this.#context.clock.now();
      if (delayMs > 1 && delayMs <= rateLimitedBackOff.maxMs) return delayMs;
    }
    return 0;
  }

  /**
   * How long to wait before the next try: what the answer asked for and up to half as much again, or exponential with full jitter.
   * Source: envoy JitteredLowerBoundBackOffStrategy and JitteredExponentialBackOffStrategy (1.40).
   */
  backOffMs(): number {
    const { random, cluster } = this.#context;
    if (this.#askedDelayMs > 0) {
      cluster.stats.upstreamRqRetryBackoffRatelimited++;
      const delayMs = this.#askedDelayMs * (1 + random() / 2);
      this.#askedDelayMs = 0;
      return delayMs;
    }
    cluster.stats.upstreamRqRetryBackoffExponential++;
    const { baseMs, maxMs } = this.policy.backOff;
    return Math.min(baseMs * (2 ** Math.min(this.#retries, 30) - 1), maxMs) * random();
  }

  /** Gives the cluster's retry budget back, once the retry is answered or given up. */
  release(): void {
    if (!this.#holdsBudget) return;
    this.#holdsBudget = false;
    this.#context.cluster.active.retries--;
  }
}

/** How many retries the cluster may have under way: a number, or a share of its requests. Source: envoy RetryBudgetImpl::max (1.40). */
function retryLimit({ active, limits }: UpstreamCluster): number {
  const { retryBudget } = limits;
  if (retryBudget === undefined) return limits.maxRetries;
  const current = active.requests + active.pendingRequests;
  return Math.max(Math.floor(current * retryBudget.ratio), retryBudget.minConcurrency);
}
