import type { CorsPolicy as RouteCorsPolicy } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { CorsPolicy as FilterCorsPolicy } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { runtimeFractionOf } from './conditions.ts';
import { type Field, refuseFields } from './field.ts';
import { compileStringMatcher, type StringPredicate } from './strings.ts';

export interface CompiledCors {
  readonly allowOrigins: readonly StringPredicate[];
  /** Header values as they are sent; '' for none. */
  readonly allowMethods: string;
  readonly allowHeaders: string;
  readonly exposeHeaders: string;
  readonly maxAge: string;
  readonly allowCredentials: boolean;
  readonly enabledRatio: number;
  readonly forwardNotMatchingPreflights: boolean;
}

/** The filter's own policy and the older one inside a route say the same. */
export function compileCors(policy: RouteCorsPolicy | FilterCorsPolicy, field: Field): CompiledCors {
  refuseFields(field, policy, ['shadowEnabled', 'allowPrivateNetworkAccess']);
  const enabled = 'enabledSpecifier' in policy ? policy.enabledSpecifier.value : policy.filterEnabled;
  return {
    allowOrigins: policy.allowOriginStringMatch.map((matcher, index) =>
      compileStringMatcher(matcher, field.child('allow_origin_string_match', index)),
    ),
    allowMethods: policy.allowMethods,
    allowHeaders: policy.allowHeaders,
    exposeHeaders: policy.exposeHeaders,
    maxAge: policy.maxAge,
    allowCredentials: policy.allowCredentials ?? false,
    enabledRatio: runtimeFractionOf(enabled),
    forwardNotMatchingPreflights: policy.forwardNotMatchingPreflights ?? true,
  };
}
