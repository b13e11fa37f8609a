import type { RateLimitMatch, StringMatch } from '@mizzen/mesh-api';
import type { HeaderMatcherSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Init } from '../messages.ts';
import { isPresenceMatch, stringMatcher } from '../route/string-match.ts';

type HeaderMatcherInit = Init<typeof HeaderMatcherSchema>;

export const CERTIFICATE_HEADER = 'x-forwarded-client-cert';
const SPIFFE = 'spiffe://';

/**
 * What a rule asks of a request, as matchers of headers: all of them must hold. Routes are not among them: they stand at the routes.
 * Who calls is read from the header that the proxy itself writes: it is taken away from whoever proved nothing, and the last entry is the
 * peer's (Envoy, forward_client_cert_details).
 */
export function conditionsOf(match: RateLimitMatch | undefined): HeaderMatcherInit[] {
  if (match === undefined) return [];
  const { path, methods, headers, principals } = match;
  return [
    ...(path === undefined || isPresenceMatch(path) ? [] : [textMatch(':path', pathRegex(path))]),
    ...(methods === undefined ? [] : [textMatch(':method', anyOf(methods.map(quoted)))]),
    ...(principals === undefined ? [] : [textMatch(CERTIFICATE_HEADER, principalRegex(principals))]),
    ...Object.keys(headers ?? {})
      .sort()
      .map((name) => headerMatch(name, headers?.[name] ?? {})),
  ];
}

function headerMatch(name: string, match: StringMatch): HeaderMatcherInit {
  if (isPresenceMatch(match)) return { name, headerMatchSpecifier: { case: 'presentMatch', value: true } };
  return { name, headerMatchSpecifier: { case: 'stringMatch', value: stringMatcher(match) } };
}

function textMatch(name: string, regex: string): HeaderMatcherInit {
  return { name, headerMatchSpecifier: { case: 'stringMatch', value: { matchPattern: { case: 'safeRegex', value: { regex } } } } };
}

/** `:path` has the query with it, which is not looked at. */
function pathRegex({ exact, prefix, regex }: StringMatch): string {
  if (exact !== undefined) return `${quoted(exact)}(?:[?].*)?`;
  return prefix === undefined ? `(?:${regex ?? '.*'})(?:[?].*)?` : `${quoted(prefix)}.*`;
}

/** The last URI after which nothing is quoted belongs to the last entry: its subject, always quoted, stands before. */
function principalRegex(principals: readonly string[]): string {
  return `(?:.*[;,])?URI=${quoted(SPIFFE)}${anyOf(principals.map(principalPattern))}(?:;[^"]*)?`;
}

/** `*` at the start or the end stands for anything. Source: istio.io, AuthorizationPolicy source.principals. */
function principalPattern(principal: string): string {
  const bare = principal.startsWith(SPIFFE) ? principal.slice(SPIFFE.length) : principal;
  if (bare === '*') return '[^;,"]+';
  const start = bare.startsWith('*') ? '[^;,"]*' : '';
  const end = bare.endsWith('*') ? '[^;,"]*' : '';
  return `${start}${quoted(bare.slice(start === '' ? 0 : 1, end === '' ? undefined : -1))}${end}`;
}

function anyOf(patterns: readonly string[]): string {
  return `(?:${patterns.join('|')})`;
}

/** The text itself, in RE2's syntax. */
function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
