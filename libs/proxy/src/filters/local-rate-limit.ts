import { LocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit';
import { HeaderMap } from '../http/headers.ts';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';
import { compileLocalRateLimit, type LocalRateLimitPolicy } from './local-rate-limit-config.ts';
import type { LocalRateLimiter } from './local-rate-limiter.ts';
import { describeRequest } from './rate-limit-descriptors.ts';
import type { TokenBucket } from './token-bucket.ts';

export const localRateLimitFilter: HttpFilterKind = defineHttpFilter({
  schema: LocalRateLimitSchema,
  create: (message, field, environment) =>
    new LocalRateLimitFilter(compileLocalRateLimit(message, field, environment), environment.routeKey(LocalRateLimitSchema)),
  perRoute: { schema: LocalRateLimitSchema, compile: compileLocalRateLimit },
});

/** Lets only so many requests through, each proxy for itself. Source: Envoy, Local rate limit filter (1.40). */
class LocalRateLimitFilter implements HttpFilter {
  readonly #policy: LocalRateLimitPolicy;
  readonly #key: string;
  readonly #perConnection = new WeakMap<object, Map<LocalRateLimitPolicy, LocalRateLimiter>>();

  constructor(policy: LocalRateLimitPolicy, key: string) {
    this.#policy = policy;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const policy = stream.filterConfig<LocalRateLimitPolicy>(this.#key) ?? this.#policy;
    const { random } = stream.runtime.context;
    const { stats } = policy;
    if (random() >= policy.enabledRatio()) return 'continue';
    stats.enabled++;
    const limiter = policy.limiter ?? this.#limiterOf(stream.info.facts, policy);
    const { isAllowed, bucket } = limiter.allow(limiter.hasDescriptors ? describeRequest(stream, policy) : []);
    if (policy.tellsLimits && bucket !== undefined) stream.keep(this, bucket);
    if (isAllowed) {
      stats.ok++;
      return 'continue';
    }
    stats.rateLimited++;
    if (random() >= policy.enforcedRatio()) {
      policy.requestHeaders?.apply(stream.info.head.headers, stream.info);
      return 'continue';
    }
    stats.enforced++;
    refuse(policy, stream);
    return 'stop';
  }

  onResponse(stream: HttpStream, { headers }: ResponseHead): void {
    const bucket = stream.kept<TokenBucket>(this);
    if (bucket === undefined) return;
    // Source: draft-polli-ratelimit-headers-03.
    headers.set('x-ratelimit-limit', String(bucket.rate.maxTokens));
    headers.set('x-ratelimit-remaining', String(bucket.remaining));
    headers.set('x-ratelimit-reset', String(Math.ceil(bucket.untilNextMs / 1000)));
  }

  #limiterOf(connection: object, policy: LocalRateLimitPolicy): LocalRateLimiter {
    let limiters = this.#perConnection.get(connection);
    if (limiters === undefined) {
      limiters = new Map();
      this.#perConnection.set(connection, limiters);
    }
    let limiter = limiters.get(policy);
    if (limiter === undefined) {
      limiter = policy.newLimiter();
      limiters.set(policy, limiter);
    }
    return limiter;
  }
}

function refuse(policy: LocalRateLimitPolicy, stream: HttpStream): void {
  const headers = new HeaderMap();
  policy.responseHeaders?.apply(headers, stream.info);
  const reply = {
    status: policy.status,
    details: 'local_rate_limited',
    flag: 'rateLimited',
    body: 'local_rate_limited',
    headers: headers.names.map((name, index) => [name, headers.values[index] as string] as const),
  } as const;
  stream.reply(policy.grpcStatus === undefined ? reply : { ...reply, grpcStatus: policy.grpcStatus });
}
