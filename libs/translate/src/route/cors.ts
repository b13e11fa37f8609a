import type { Any } from '@bufbuild/protobuf/wkt';
import type { CorsPolicy } from '@mizzen/mesh-api';
import { CorsPolicySchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { FractionalPercent_DenominatorType } from '@mizzen/xds-api/envoy/type/v3/percent';
import { any, parseDuration } from '../messages.ts';
import { stringMatcher } from './string-match.ts';

export const CORS_FILTER = 'envoy.filters.http.cors';

/** The CORS policy of a rule for the CORS filter. Source: istio route.go TranslateCORSPolicy (1.32 dev). */
export function corsConfig(policy: CorsPolicy | undefined): Any | undefined {
  if (policy === undefined) return undefined;
  const maxAgeMs = parseDuration(policy.maxAge);
  const origins = policy.allowOrigins ?? (policy.allowOrigin ?? []).map((exact) => ({ exact }));
  return any(CorsPolicySchema, {
    filterEnabled: { defaultValue: { numerator: 100, denominator: FractionalPercent_DenominatorType.HUNDRED } },
    allowOriginStringMatch: origins.map((origin) => stringMatcher(origin)),
    allowMethods: (policy.allowMethods ?? []).join(','),
    allowHeaders: (policy.allowHeaders ?? []).join(','),
    exposeHeaders: (policy.exposeHeaders ?? []).join(','),
    ...(maxAgeMs !== undefined && { maxAge: String(Math.floor(maxAgeMs / 1000)) }),
    ...(policy.allowCredentials !== undefined && { allowCredentials: policy.allowCredentials }),
    ...(policy.unmatchedPreflights &&
      policy.unmatchedPreflights !== 'UNSPECIFIED' && { forwardNotMatchingPreflights: policy.unmatchedPreflights === 'FORWARD' }),
  });
}
