import { create } from '@bufbuild/protobuf';
import {
  type RateLimitRequest,
  type RateLimitResponse,
  RateLimitResponse_Code,
  RateLimitResponseSchema,
} from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';
import type { Counters, Standing } from './counters.ts';
import { limitOf, UNITS } from './limit.ts';
import type { RateLimitMetrics } from './rate-limit-metrics.ts';

/**
 * Answers one question of a proxy: over the limit if any of its descriptors is. A descriptor without a limit is not limited.
 * Source: envoy/service/ratelimit/v3/rls.proto.
 */
export function answer(request: RateLimitRequest, counters: Counters, metrics: RateLimitMetrics): RateLimitResponse {
  const hits = request.hitsAddend || 1;
  const limits = request.descriptors.map((descriptor) => limitOf(request.domain, descriptor));
  const standings = counters.decide(limits.flatMap((limit) => (limit === undefined ? [] : { limit, hits })));
  const isOver = standings.some((standing) => standing.isOver);
  metrics.count(isOver ? 'over_limit' : standings.length > 0 ? 'ok' : 'unlimited');
  let next = 0;
  return create(RateLimitResponseSchema, {
    overallCode: isOver ? RateLimitResponse_Code.OVER_LIMIT : RateLimitResponse_Code.OK,
    statuses: limits.map((limit) => (limit === undefined ? { code: RateLimitResponse_Code.OK } : statusOf(standings[next++] as Standing))),
  });
}

function statusOf({ limit, isOver, remaining, untilFreeMs }: Standing) {
  const milliseconds = Math.max(0, Math.ceil(untilFreeMs));
  const seconds = Math.floor(milliseconds / 1000);
  return {
    code: isOver ? RateLimitResponse_Code.OVER_LIMIT : RateLimitResponse_Code.OK,
    currentLimit: { requestsPerUnit: limit.requests, unit: UNITS[limit.unit].message },
    limitRemaining: remaining,
    durationUntilReset: { seconds: BigInt(seconds), nanos: (milliseconds - seconds * 1000) * 1_000_000 },
  };
}
