import { type RateLimitResponse_DescriptorStatus, RateLimitResponse_RateLimit_Unit } from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';

const WINDOW_SECONDS: Readonly<Record<number, number>> = {
  [RateLimitResponse_RateLimit_Unit.SECOND]: 1,
  [RateLimitResponse_RateLimit_Unit.MINUTE]: 60,
  [RateLimitResponse_RateLimit_Unit.HOUR]: 3600,
  [RateLimitResponse_RateLimit_Unit.DAY]: 86_400,
  [RateLimitResponse_RateLimit_Unit.MONTH]: 2_592_000,
  [RateLimitResponse_RateLimit_Unit.YEAR]: 31_536_000,
};

/** x-ratelimit-… of the limit that is nearest, with all of them as the policy. Source: draft-polli-ratelimit-headers-03; envoy XRateLimitHeaderUtils (1.40). */
export function limitHeaders(statuses: readonly RateLimitResponse_DescriptorStatus[]): [name: string, value: string][] {
  let nearest: RateLimitResponse_DescriptorStatus | undefined;
  let policy = '';
  for (const status of statuses) {
    const { currentLimit: limit } = status;
    if (limit === undefined) continue;
    if (nearest === undefined || status.limitRemaining < nearest.limitRemaining) nearest = status;
    const window = WINDOW_SECONDS[limit.unit];
    if (window === undefined) continue;
    policy += `, ${limit.requestsPerUnit};w=${window}`;
    if (limit.name !== '') policy += `;name="${limit.name}"`;
  }
  if (nearest?.currentLimit === undefined) return [];
  return [
    ['x-ratelimit-limit', `${nearest.currentLimit.requestsPerUnit}${policy}`],
    ['x-ratelimit-remaining', String(nearest.limitRemaining)],
    ['x-ratelimit-reset', String(nearest.durationUntilReset?.seconds ?? 0)],
  ];
}
