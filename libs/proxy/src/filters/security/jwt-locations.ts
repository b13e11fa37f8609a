import type { JwtProvider } from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import type { HttpStreamInfo } from '../../http/stream-info.ts';

/** A token where it was found. */
export interface FoundToken {
  readonly token: string;
  readonly location: JwtLocation;
}

/** One place in requests where providers look for their tokens. */
export interface JwtLocation {
  /** Issuers whose tokens may stand here; undefined: all. */
  readonly issuers: ReadonlySet<string> | undefined;
  /** Takes the token out of the request, so that it is not sent on. */
  remove(info: HttpStreamInfo): void;
}

/** Finds the tokens of a request. */
export type TokenFinder = (info: HttpStreamInfo) => FoundToken[];

interface Place {
  readonly kind: 'header' | 'parameter' | 'cookie';
  readonly name: string;
  readonly prefix: string;
  readonly issuers: Set<string>;
}

/**
 * Where the tokens of some providers stand, by default `authorization: Bearer …` and the query parameter `access_token`.
 * Source: envoy jwt_authn Extractor (1.40).
 */
export function compileTokenFinder(providers: readonly JwtProvider[]): TokenFinder {
  const places = new Map<string, Place>();
  const add = (kind: Place['kind'], issuer: string, at: { readonly name: string; readonly prefix?: string }): void => {
    const { name, prefix = '' } = at;
    const key = `${KIND_ORDER.indexOf(kind)}${name}${prefix}`;
    const place = places.get(key) ?? { kind, name, prefix, issuers: new Set<string>() };
    places.set(key, place);
    place.issuers.add(issuer);
  };
  for (const { issuer, fromHeaders, fromParams, fromCookies } of providers) {
    for (const { name, valuePrefix } of fromHeaders) add('header', issuer, { name: name.toLowerCase(), prefix: valuePrefix });
    for (const name of fromParams) add('parameter', issuer, { name });
    for (const name of fromCookies) add('cookie', issuer, { name });
    if (fromHeaders.length + fromParams.length + fromCookies.length > 0) continue;
    add('header', issuer, { name: 'authorization', prefix: 'Bearer ' });
    add('parameter', issuer, { name: 'access_token' });
  }
  const finders = [...places]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([, place]) => {
      // A provider without an issuer takes tokens of everybody.
      const issuers = place.issuers.has('') ? undefined : place.issuers;
      return MAKERS[place.kind](place, issuers);
    });
  return (info) => {
    const found: FoundToken[] = [];
    for (const find of finders) find(info, found);
    return found;
  };
}

const KIND_ORDER: readonly Place['kind'][] = ['header', 'parameter', 'cookie'];

type Finder = (info: HttpStreamInfo, found: FoundToken[]) => void;

const MAKERS: Readonly<Record<Place['kind'], (place: Place, issuers: ReadonlySet<string> | undefined) => Finder>> = {
  header({ name, prefix }, issuers) {
    const location: JwtLocation = { issuers, remove: (info) => info.head.headers.remove(name) };
    return (info, found) => {
      const { names, values } = info.head.headers;
      for (let index = 0; index < names.length; index++) {
        if (names[index] !== name) continue;
        const token = afterPrefix(values[index] as string, prefix);
        if (token !== undefined) found.push({ token, location });
      }
    };
  },
  parameter({ name }, issuers) {
    const location: JwtLocation = {
      issuers,
      remove(info) {
        info.path = withoutParameter(info.path, name);
        info.head.path = info.path;
      },
    };
    return (info, found) => {
      const token = parameterOf(info.path, name);
      if (token !== undefined) found.push({ token, location });
    };
  },
  cookie({ name }, issuers) {
    // Envoy leaves the cookie in the request as well.
    const location: JwtLocation = { issuers, remove: () => undefined };
    return (info, found) => {
      const token = cookieOf(info, name);
      if (token !== undefined) found.push({ token, location });
    };
  },
};

const NOT_IN_TOKEN = /^[^A-Za-z0-9\-_.]+/;

// The prefix may stand anywhere, and what is no letter of a token is skipped after it, as Envoy does.
function afterPrefix(value: string, prefix: string): string | undefined {
  if (prefix === '') return value;
  const at = value.indexOf(prefix);
  return at < 0 ? undefined : value.slice(at + prefix.length).replace(NOT_IN_TOKEN, '') || value;
}

function parameterOf(path: string, name: string): string | undefined {
  const query = queryOf(path);
  if (query === undefined) return undefined;
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=');
    if (decoded(equals < 0 ? pair : pair.slice(0, equals)) === name) return equals < 0 ? '' : decoded(pair.slice(equals + 1));
  }
  return undefined;
}

function withoutParameter(path: string, name: string): string {
  const query = queryOf(path);
  if (query === undefined) return path;
  const start = path.indexOf('?');
  const kept = query.split('&').filter((pair) => decoded(pair.split('=', 1)[0] as string) !== name);
  const fragment = path.slice(start + 1 + query.length);
  return `${path.slice(0, start)}${kept.length === 0 ? '' : `?${kept.join('&')}`}${fragment}`;
}

function queryOf(path: string): string | undefined {
  const start = path.indexOf('?');
  if (start < 0) return undefined;
  const fragment = path.indexOf('#', start);
  return path.slice(start + 1, fragment < 0 ? undefined : fragment);
}

function decoded(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function cookieOf(info: HttpStreamInfo, name: string): string | undefined {
  const { names, values } = info.head.headers;
  for (let index = 0; index < names.length; index++) {
    if (names[index] !== 'cookie') continue;
    for (const pair of (values[index] as string).split(';')) {
      const equals = pair.indexOf('=');
      if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  }
  return undefined;
}
