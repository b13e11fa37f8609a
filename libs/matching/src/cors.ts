import type { CorsPolicy as RouteCorsPolicy } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { CorsPolicy as FilterCorsPolicy } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { runtimeFractionOf } from './conditions.ts';
import type { Field } from './field.ts';
import { compileStringMatcher, type StringPredicate } from './strings.ts';

export interface CompiledCors {
  readonly allowOrigins: readonly StringPredicate[];
  /** Header values as they are sent; '' for none. */
  readonly allowMethods: string;
  readonly allowHeaders: string;
  readonly exposeHeaders: string;
  readonly maxAge: string;
  readonly allowCredentials: boolean | undefined;
  readonly enabledRatio: number;
  /** Where it is not in force: how often origins are looked at for the counters alone. */
  readonly shadowRatio: number;
  readonly allowPrivateNetwork: boolean | undefined;
  /** undefined: true. */
  readonly forwardNotMatchingPreflights: boolean | undefined;
}

/** The filter's own policy and the older one inside a route say the same. */
export function compileCors(policy: RouteCorsPolicy | FilterCorsPolicy, field: Field): CompiledCors {
  const enabled = 'enabledSpecifier' in policy ? policy.enabledSpecifier.value : policy.filterEnabled;
  return {
    allowOrigins: policy.allowOriginStringMatch.map((matcher, index) =>
      compileStringMatcher(matcher, field.child('allow_origin_string_match', index)),
    ),
    allowMethods: policy.allowMethods,
    allowHeaders: policy.allowHeaders,
    exposeHeaders: policy.exposeHeaders,
    maxAge: policy.maxAge,
    allowCredentials: policy.allowCredentials,
    enabledRatio: runtimeFractionOf(enabled),
    shadowRatio: policy.shadowEnabled === undefined ? 0 : runtimeFractionOf(policy.shadowEnabled),
    allowPrivateNetwork: policy.allowPrivateNetworkAccess,
    forwardNotMatchingPreflights: policy.forwardNotMatchingPreflights,
  };
}

/** One policy of those of several levels, the least specific first: whether it is in force says the most specific one, each part the most specific that has it. */
export function mergeCors(levels: readonly CompiledCors[]): CompiledCors | undefined {
  return levels.reduce<CompiledCors | undefined>((outer, inner) => (outer === undefined ? inner : merged(outer, inner)), undefined);
}

// Source: envoy CorsFilter::allowOrigins and its like (1.40).
function merged(outer: CompiledCors, inner: CompiledCors): CompiledCors {
  return {
    ...inner,
    allowOrigins: inner.allowOrigins.length > 0 ? inner.allowOrigins : outer.allowOrigins,
    allowMethods: inner.allowMethods || outer.allowMethods,
    allowHeaders: inner.allowHeaders || outer.allowHeaders,
    exposeHeaders: inner.exposeHeaders || outer.exposeHeaders,
    maxAge: inner.maxAge || outer.maxAge,
    allowCredentials: inner.allowCredentials ?? outer.allowCredentials,
    allowPrivateNetwork: inner.allowPrivateNetwork ?? outer.allowPrivateNetwork,
    forwardNotMatchingPreflights: inner.forwardNotMatchingPreflights ?? outer.forwardNotMatchingPreflights,
  };
}
