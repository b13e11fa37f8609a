import type { StringMatch } from '@mizzen/mesh-api';
import type { StringMatcherSchema } from '@mizzen/xds-api/envoy/type/matcher/v3/string';
import type { Init } from '../messages.ts';

/** An empty matcher, or the regex `*`, asks only whether something is there. Source: istio route.go isCatchAllStringMatch (1.32 dev). */
export function isPresenceMatch(match: StringMatch): boolean {
  return match.regex === '*' || (match.exact === undefined && match.prefix === undefined && match.regex === undefined);
}

export function stringMatcher(match: StringMatch): Init<typeof StringMatcherSchema> {
  if (match.exact !== undefined) return { matchPattern: { case: 'exact', value: match.exact } };
  // Envoy refuses an empty prefix; every value starts with it.
  if (match.prefix === '') return { matchPattern: { case: 'safeRegex', value: { regex: '.*' } } };
  if (match.prefix !== undefined) return { matchPattern: { case: 'prefix', value: match.prefix } };
  return { matchPattern: { case: 'safeRegex', value: { regex: match.regex ?? '.*' } } };
}
