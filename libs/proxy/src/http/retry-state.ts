import type { Random } from '@mizzen/core';
import type { CompiledRetryPolicy } from '@mizzen/matching';
import type { UpstreamCluster, UpstreamEndpoint } from '../contract.ts';
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

/** Decides for one request whether another try is made. Source: Envoy, x-envoy-retry-on (1.40); RetryStateImpl. */
export class RetryState {
  readonly policy: CompiledRetryPolicy;
  readonly #cluster: UpstreamCluster;
  readonly #random: Random;
  readonly #tried = new Set<UpstreamEndpoint>();
  #remaining: number;
  #retries = 0;
  #holdsBudget = false;

  constructor(policy: CompiledRetryPolicy, options: { readonly cluster: UpstreamCluster; readonly random: Random }) {
    this.policy = policy;
    this.#cluster = options.cluster;
    this.#random = options.random;
    this.#remaining = policy.numRetries;
  }

  static for(
    policy: CompiledRetryPolicy | undefined,
    info: HttpStreamInfo,
    options: { readonly cluster: UpstreamCluster; readonly random: Random },
  ): RetryState | undefined {
    if (policy === undefined || policy.retryOn.size === 0) return undefined;
    const { retriableRequestHeaders } = policy;
    const isWanted =
      retriableRequestHeaders.length === 0 || retriableRequestHeaders.some((matches) => matches((name) => info.requestHeader(name)));
    return isWanted ? new RetryState(policy, options) : undefined;
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
    this.release();
    return this.#wouldRetryHead(head) ? this.#decide() : 'no';
  }

  /** `isSent`: bytes of the request may have reached the upstream. */
  onReset(reason: ResetReason, isSent: boolean): RetryDecision {
    this.release();
    return this.#wouldRetryReset(reason, isSent) ? this.#decide() : 'no';
  }

  onPerTryTimeout(): RetryDecision {
    this.release();
    const { retryOn } = this.policy;
    return retryOn.has('5xx') ||
      retryOn.has('gateway-error') ||
      retryOn.has('reset') ||
      (retryOn.has('retriable-status-codes') && this.policy.retriableStatusCodes.has(504))
      ? this.#decide()
      : 'no';
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
    return (reason === 'connection-failure' || reason === 'connection-timeout') && retryOn.has('connect-failure');
  }

  #decide(): RetryDecision {
    const { active, limits, stats } = this.#cluster;
    if (this.#remaining === 0) {
      stats.upstreamRqRetryLimitExceeded++;
      return 'limit-exceeded';
    }
    if (active.retries >= limits.maxRetries) {
      stats.upstreamRqRetryOverflow++;
      return 'overflow';
    }
    this.#remaining--;
    this.#retries++;
    this.#holdsBudget = true;
    active.retries++;
    stats.upstreamRqRetry++;
    return 'retry';
  }

  /** Exponential with full jitter. Source: envoy JitteredExponentialBackOffStrategy (1.40). */
  backOffMs(): number {
    const { baseMs, maxMs } = this.policy.backOff;
    return Math.min(baseMs * (2 ** Math.min(this.#retries, 30) - 1), maxMs) * this.#random();
  }

  /** Gives the cluster's retry budget back, once the retry is answered or given up. */
  release(): void {
    if (!this.#holdsBudget) return;
    this.#holdsBudget = false;
    this.#cluster.active.retries--;
  }
}
