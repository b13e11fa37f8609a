import type { StringMatch } from '@mizzen/mesh-api';
import type { HttpMatch } from '@mizzen/model';
import type {
  HeaderMatcherSchema,
  QueryParameterMatcherSchema,
  RouteMatchSchema,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Init } from '../messages.ts';
import { isPresenceMatch, stringMatcher } from './string-match.ts';

export type RouteMatchInit = Init<typeof RouteMatchSchema>;
type HeaderMatcherInit = Init<typeof HeaderMatcherSchema>;

/** Keys that name pseudo-headers have fields of their own and are ignored among the headers. Source: istio.io, HTTPMatchRequest.headers. */
export const PSEUDO_HEADER_KEYS: ReadonlySet<string> = new Set(['uri', 'scheme', 'method', 'authority']);
const JWT_CLAIM_PREFIX = '@request.auth.claims';

/** Keys that ask for claims of a verified JWT. Nothing verifies one yet, so that a match with such a key can never hold. */
export function claimKeys(match: HttpMatch): { field: 'headers' | 'withoutHeaders'; key: string }[] {
  return (['headers', 'withoutHeaders'] as const).flatMap((field) =>
    Object.keys(match[field] ?? {})
      .filter((key) => key.startsWith(JWT_CLAIM_PREFIX))
      .map((key) => ({ field, key })),
  );
}

export const ANY_PATH: RouteMatchInit = { pathSpecifier: { case: 'prefix', value: '/' } };

/** One match of a rule; without one, everything. Source: istio pilot/pkg/networking/core/route/route.go TranslateRouteMatch (1.32 dev). */
export function routeMatch(match: HttpMatch | undefined): RouteMatchInit {
  if (match === undefined) return ANY_PATH;
  const headers = [
    ...headerMatches(match.headers, false),
    ...headerMatches(match.withoutHeaders, true),
    ...pseudoHeader(':method', match.method),
    ...pseudoHeader(':authority', match.authority),
    ...pseudoHeader(':scheme', match.scheme),
  ];
  return {
    pathSpecifier: pathSpecifier(match.uri),
    ...(match.ignoreUriCase && { caseSensitive: false }),
    ...(headers.length > 0 && { headers }),
    ...(match.queryParams && { queryParameters: Object.entries(match.queryParams).sort(byName).map(queryParameter) }),
  };
}

function pathSpecifier(uri: StringMatch | undefined): NonNullable<RouteMatchInit['pathSpecifier']> {
  if (uri?.exact !== undefined) return { case: 'path', value: uri.exact };
  if (uri?.regex !== undefined && uri.regex !== '*') return { case: 'safeRegex', value: { regex: uri.regex } };
  return { case: 'prefix', value: uri?.prefix || '/' };
}

/** A missing header counts as empty where its value is compared, so that `withoutHeaders` lets a request without it through. */
function headerMatches(headers: Readonly<Record<string, StringMatch>> | undefined, isInverted: boolean): HeaderMatcherInit[] {
  return Object.entries(headers ?? {})
    .filter(([name]) => !PSEUDO_HEADER_KEYS.has(name))
    .sort(byName)
    .map(([name, match]) => {
      const inverted = isInverted && { invertMatch: true };
      if (isPresenceMatch(match)) return { name, headerMatchSpecifier: { case: 'presentMatch', value: true }, ...inverted };
      const missing = isInverted && { treatMissingHeaderAsEmpty: true };
      return { name, headerMatchSpecifier: { case: 'stringMatch', value: stringMatcher(match) }, ...inverted, ...missing };
    });
}

function pseudoHeader(name: string, match: StringMatch | undefined): HeaderMatcherInit[] {
  return match === undefined || isPresenceMatch(match)
    ? []
    : [{ name, headerMatchSpecifier: { case: 'stringMatch', value: stringMatcher(match) } }];
}

function queryParameter([name, match]: [string, StringMatch]): Init<typeof QueryParameterMatcherSchema> {
  if (isPresenceMatch(match)) return { name, queryParameterMatchSpecifier: { case: 'presentMatch', value: true } };
  return { name, queryParameterMatchSpecifier: { case: 'stringMatch', value: stringMatcher(match) } };
}

function byName([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

/** Nothing after such a match can be reached. Source: istio route.go isCatchAllMatch (1.32 dev). */
export function isCatchAll(match: HttpMatch | undefined): boolean {
  if (match === undefined) return true;
  const { uri } = match;
  const isAnyPath = uri === undefined || uri.prefix === '/' || uri.regex === '*' || uri.regex === '.*';
  const conditions = [match.headers, match.withoutHeaders, match.queryParams, match.method, match.authority, match.scheme];
  const others = [match.sourceLabels, match.port, match.sourceNamespace, match.gateways];
  return isAnyPath && conditions.every(isEmpty) && others.every(isEmpty);
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === '' || value === 0) return true;
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

/** Every regular expression of a match, with the path that leads to it. */
export function regexesOf(match: HttpMatch): { path: (string | number)[]; regex: string }[] {
  const found: { path: (string | number)[]; regex: string }[] = [];
  const look = (path: (string | number)[], value: StringMatch | undefined): void => {
    if (value?.regex !== undefined && value.regex !== '*') found.push({ path: [...path, 'regex'], regex: value.regex });
  };
  for (const field of ['uri', 'scheme', 'method', 'authority'] as const) look([field], match[field]);
  for (const field of ['headers', 'withoutHeaders', 'queryParams'] as const)
    for (const [name, value] of Object.entries(match[field] ?? {})) look([field, name], value);
  return found;
}
