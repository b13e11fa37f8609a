import type { RuntimeFractionalPercent } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type {
  HeaderMatcher,
  QueryParameterMatcher,
  RouteMatch_TlsContextMatchOptions,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { MetadataMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/metadata';
import { type FractionalPercent, FractionalPercent_DenominatorType } from '@mizzen/xds-api/envoy/type/v3/percent';
import type { Field } from './field.ts';
import { compileMetadataMatcher } from './metadata-matcher.ts';
import type { RequestView } from './request.ts';
import { compileFullMatch, compileStringMatcher, type StringPredicate } from './strings.ts';

export type RequestCondition = (request: RequestView) => boolean;
type HeaderLookup = (lowerCaseName: string) => string | undefined;

/**
 * Header matchers, ANDed. An absent header fails every matcher (inverted or not) except a presence match, unless it is to be treated as
 * empty; several values of a header are one, joined by commas. Source: envoy HeaderUtility::HeaderData (1.40).
 */
export function compileHeaderMatchers(matchers: readonly HeaderMatcher[], field: Field): ((lookup: HeaderLookup) => boolean)[] {
  return matchers.map((matcher, index) => compileHeaderMatcher(matcher, field.child('headers', index)));
}

/** The same for a request: `:method`, `:path`, `:authority` and `:scheme` name its parts. */
export function compileRequestHeaders(matchers: readonly HeaderMatcher[], field: Field): RequestCondition[] {
  return matchers.map((matcher, index) => {
    const matches = compileHeaderMatcher(matcher, field.child('headers', index));
    const read = pseudoHeader(matcher.name);
    if (read !== undefined) return (request) => matches(() => read(request));
    return (request) => matches((name) => request.header(name));
  });
}

function pseudoHeader(name: string): ((request: RequestView) => string | undefined) | undefined {
  switch (name.toLowerCase()) {
    case ':method':
      return (request) => request.method;
    case ':path':
      return (request) => (request.path === '' ? undefined : request.path);
    case ':authority':
    case 'host':
      return (request) => request.authority;
    case ':scheme':
      return (request) => request.scheme;
    default:
      return undefined;
  }
}

function compileHeaderMatcher(matcher: HeaderMatcher, field: Field): (lookup: HeaderLookup) => boolean {
  if (matcher.name === '') field.child('name').reject('is required');
  const name = matcher.name.toLowerCase();
  const specifier = matcher.headerMatchSpecifier;
  const isInverted = matcher.invertMatch;
  if (specifier.case === undefined) return (lookup) => (lookup(name) !== undefined) !== isInverted;
  if (specifier.case === 'presentMatch') {
    const wanted = specifier.value !== isInverted;
    return (lookup) => (lookup(name) !== undefined) === wanted;
  }
  const matches = compileHeaderValue(specifier, field);
  const missing = matcher.treatMissingHeaderAsEmpty ? '' : undefined;
  return (lookup) => {
    const value = lookup(name) ?? missing;
    return value !== undefined && matches(value) !== isInverted;
  };
}

type ValueSpecifier = Exclude<HeaderMatcher['headerMatchSpecifier'], { case: 'presentMatch' } | { case: undefined }>;

function compileHeaderValue(specifier: ValueSpecifier, field: Field): StringPredicate {
  switch (specifier.case) {
    case 'exactMatch':
      return (value) => value === specifier.value;
    case 'prefixMatch':
      return (value) => value.startsWith(specifier.value);
    case 'suffixMatch':
      return (value) => value.endsWith(specifier.value);
    case 'containsMatch':
      return (value) => value.includes(specifier.value);
    case 'safeRegexMatch':
      return compileFullMatch(specifier.value, field.child('safe_regex_match'));
    case 'stringMatch':
      return compileStringMatcher(specifier.value, field.child('string_match'));
    case 'rangeMatch': {
      const { start, end } = specifier.value;
      return (value) => /^[+-]?\d{1,19}$/.test(value) && BigInt(value.replace('+', '')) >= start && BigInt(value.replace('+', '')) < end;
    }
  }
}

/** Query parameter matchers: the first value of a parameter counts, percent-encoding is left as it came. */
export function compileQueryParameters(matchers: readonly QueryParameterMatcher[], field: Field): RequestCondition[] {
  return matchers.map((matcher, index) => {
    const at = field.child('query_parameters', index);
    const { name } = matcher;
    const specifier = matcher.queryParameterMatchSpecifier;
    if (name === '') at.child('name').reject('is required');
    if (specifier.case === 'stringMatch') {
      const matches = compileStringMatcher(specifier.value, at.child('string_match'));
      return (request) => {
        const value = queryParameter(request.path, name);
        return value !== undefined && matches(value);
      };
    }
    const wanted = specifier.case === 'presentMatch' ? specifier.value : true;
    return (request) => (queryParameter(request.path, name) !== undefined) === wanted;
  });
}

/** The first value of a query parameter, '' where it stands without one. */
export function queryParameter(path: string, name: string): string | undefined {
  const start = path.indexOf('?');
  if (start < 0) return undefined;
  const fragment = path.indexOf('#', start);
  for (const pair of path.slice(start + 1, fragment < 0 ? undefined : fragment).split('&')) {
    const equals = pair.indexOf('=');
    if ((equals < 0 ? pair : pair.slice(0, equals)) === name) return equals < 0 ? '' : pair.slice(equals + 1);
  }
  return undefined;
}

/** Whether the client showed a certificate, and one that we believe; a certificate that is not believed ends the handshake. */
export function compileTlsContext(options: RouteMatch_TlsContextMatchOptions | undefined): RequestCondition[] {
  const wanted = [options?.presented, options?.validated].filter((value) => value !== undefined);
  return wanted.map((isWanted) => (request) => (request.isDownstreamMtls ?? false) === isWanted);
}

/** Metadata matchers, ANDed: what filters before the (second) choice of the route have said. */
export function compileDynamicMetadata(matchers: readonly MetadataMatcher[], field: Field): RequestCondition[] {
  return matchers.map((matcher, index) => {
    const matches = compileMetadataMatcher(matcher, field.child('dynamic_metadata', index));
    return (request) => matches((namespace) => request.dynamicMetadata?.get(namespace));
  });
}

const DENOMINATOR: Readonly<Record<number, number>> = {
  [FractionalPercent_DenominatorType.HUNDRED]: 100,
  [FractionalPercent_DenominatorType.TEN_THOUSAND]: 10_000,
  [FractionalPercent_DenominatorType.MILLION]: 1_000_000,
};

/** A share between 0 and 1. */
export function fractionOf(percent: FractionalPercent | undefined): number {
  return percent === undefined ? 0 : Math.min(1, percent.numerator / (DENOMINATOR[percent.denominator] ?? 100));
}

/** Like {@link fractionOf}; runtime keys have no overrides in this proxy, so the default value is in force. Absent means always. */
export function runtimeFractionOf(fraction: RuntimeFractionalPercent | undefined): number {
  return fraction === undefined ? 1 : fraction.defaultValue === undefined ? 0 : fractionOf(fraction.defaultValue);
}
