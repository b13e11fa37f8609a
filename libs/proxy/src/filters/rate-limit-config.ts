import { compileHeaderMutations, durationMs, type Field, type HeaderMutations, refuseFields } from '@mizzen/matching';
import { ApiVersion } from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import type { RateLimit, RateLimitPerRoute } from '@mizzen/xds-api/envoy/extensions/filters/http/ratelimit/v3/rate_limit';
import { compileGrpcService, type GrpcTarget } from '../grpc/grpc-service.ts';
import { type VirtualHostRateLimits, virtualHostRateLimits } from './rate-limit-descriptors.ts';

/** The RateLimit message, checked and with its defaults filled in. */
export interface RateLimitConfig {
  readonly domain: string;
  readonly stage: number;
  readonly requests: 'internal' | 'external' | 'both';
  readonly timeoutMs: number;
  /** What cannot be asked is refused. */
  readonly deniesOnFailure: boolean;
  readonly status: number;
  readonly statusOnError: number;
  readonly grpcStatus: number | undefined;
  readonly tellsLimits: boolean;
  readonly tellsLimited: boolean;
  readonly responseHeaders: HeaderMutations | undefined;
  readonly service: GrpcTarget;
  /** Behind `ratelimit.` in the names of the counters, or ''. */
  readonly statPrefix: string;
}

export interface RateLimitOverride {
  /** '' for the filter's. */
  readonly domain: string;
  readonly virtualHost: VirtualHostRateLimits;
}

const DEFAULT_TIMEOUT_MS = 20;
const MAX_STAGE = 10;
const RESOURCE_EXHAUSTED = 8;

/** Source: envoy RateLimit FilterConfig (1.40). */
export function compileRateLimitConfig(message: RateLimit, field: Field): RateLimitConfig {
  if (message.domain === '') field.child('domain').reject('is required');
  if (message.stage > MAX_STAGE) field.child('stage').reject(`must be at most ${MAX_STAGE}`);
  const { requestType } = message;
  if (requestType !== '' && requestType !== 'internal' && requestType !== 'external' && requestType !== 'both')
    field.child('request_type').reject('must be internal, external or both');
  if (message.rateLimitService?.transportApiVersion === ApiVersion.V2)
    field.child('rate_limit_service').child('transport_api_version').reject('only V3 is supported');
  const status = message.rateLimitedStatus?.code ?? 429;
  return {
    service: compileGrpcService(message.rateLimitService?.grpcService, field.child('rate_limit_service').child('grpc_service')),
    domain: message.domain,
    stage: message.stage,
    requests: requestType === 'internal' || requestType === 'external' ? requestType : 'both',
    timeoutMs: durationMs(message.timeout) ?? DEFAULT_TIMEOUT_MS,
    deniesOnFailure: message.failureModeDeny,
    status: status >= 400 ? status : 429,
    statusOnError: message.statusOnError?.code ?? 500,
    grpcStatus: message.rateLimitedAsResourceExhausted ? RESOURCE_EXHAUSTED : undefined,
    tellsLimits: message.enableXRatelimitHeaders !== 0,
    tellsLimited: !message.disableXEnvoyRatelimitedHeader,
    responseHeaders: compileHeaderMutations(message.responseHeadersToAdd, [], {
      add: field.child('response_headers_to_add'),
      remove: field,
    }),
    statPrefix: message.statPrefix,
  };
}

export function compileRateLimitOverride(message: RateLimitPerRoute, field: Field): RateLimitOverride {
  refuseFields(field, message, ['overrideOption', 'rateLimits']);
  return { domain: message.domain, virtualHost: virtualHostRateLimits(message.vhRateLimits) };
}
