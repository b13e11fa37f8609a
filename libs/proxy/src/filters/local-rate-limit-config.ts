import { compileHeaderMutations, type Field, type HeaderMutations, refuseFields } from '@mizzen/matching';
import type { LocalRateLimit } from '@mizzen/xds-api/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit';
import type { RouteFilterEnvironment } from '../http/http-filter.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { LocalRateLimiter } from './local-rate-limiter.ts';
import { type VirtualHostRateLimits, virtualHostRateLimits } from './rate-limit-descriptors.ts';
import { runtimeRatio } from './runtime-switches.ts';
import { compileTokenRate } from './token-bucket.ts';

const LOCAL_RATE_LIMIT_STATS = defineStats({
  counters: { enabled: 'enabled', enforced: 'enforced', rateLimited: 'rate_limited', ok: 'ok' },
});

/** The LocalRateLimit message of a filter or a route, with its buckets. */
export interface LocalRateLimitPolicy {
  readonly status: number;
  readonly grpcStatus: number | undefined;
  enabledRatio(): number;
  enforcedRatio(): number;
  /** For the process, or one for each downstream connection: made by `newLimiter`. */
  readonly limiter: LocalRateLimiter | undefined;
  newLimiter(): LocalRateLimiter;
  readonly requestHeaders: HeaderMutations | undefined;
  readonly responseHeaders: HeaderMutations | undefined;
  readonly tellsLimits: boolean;
  readonly stage: number;
  readonly virtualHost: VirtualHostRateLimits;
  readonly stats: Counts<typeof LOCAL_RATE_LIMIT_STATS>;
}

const RESOURCE_EXHAUSTED = 8;

/** Source: envoy local_ratelimit FilterConfig (1.40). */
export function compileLocalRateLimit(message: LocalRateLimit, field: Field, environment: RouteFilterEnvironment): LocalRateLimitPolicy {
  refuseFields(field, message, ['localClusterRateLimit']);
  if (message.statPrefix === '') field.child('stat_prefix').reject('is required');
  const { context } = environment;
  const bucket = message.tokenBucket && compileTokenRate(message.tokenBucket, field.child('token_bucket'));
  const descriptors = message.descriptors.map((descriptor, index) => {
    const at = field.child('descriptors', index);
    descriptor.entries.forEach(({ key, value }, position) => {
      if (key === '') at.child('entries', position).child('key').reject('is required');
      if (value === '') at.child('entries', position).child('value').reject('is required; descriptors for any value are not supported');
    });
    return { entries: descriptor.entries, rate: compileTokenRate(descriptor.tokenBucket, at.child('token_bucket')) };
  });
  const limits = { bucket, descriptors, alwaysTakesDefault: message.alwaysConsumeDefaultTokenBucket ?? true };
  const newLimiter = (): LocalRateLimiter => new LocalRateLimiter(limits, context.clock, context.share);
  const status = message.status?.code ?? 429;
  const none = field.child('request_headers_to_remove');
  return {
    status: status >= 400 ? status : 429,
    grpcStatus: message.rateLimitedAsResourceExhausted ? RESOURCE_EXHAUSTED : undefined,
    enabledRatio: runtimeRatio(message.filterEnabled, context.runtimeValues, 0),
    enforcedRatio: runtimeRatio(message.filterEnforced, context.runtimeValues, 0),
    limiter: message.localRateLimitPerDownstreamConnection ? undefined : newLimiter(),
    newLimiter,
    requestHeaders: compileHeaderMutations(message.requestHeadersToAddWhenNotEnforced, [], {
      add: field.child('request_headers_to_add_when_not_enforced'),
      remove: none,
    }),
    responseHeaders: compileHeaderMutations(message.responseHeadersToAdd, [], {
      add: field.child('response_headers_to_add'),
      remove: none,
    }),
    tellsLimits: message.enableXRatelimitHeaders !== 0,
    stage: message.stage,
    virtualHost: virtualHostRateLimits(message.vhRateLimits),
    stats: context.stats.counts(LOCAL_RATE_LIMIT_STATS, {
      prefix: `${message.statPrefix}.http_local_rate_limit`,
      tags: [['envoy.local_http_ratelimit_prefix', message.statPrefix]],
    }),
  };
}
