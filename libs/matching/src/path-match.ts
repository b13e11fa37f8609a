import type { RouteMatch } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { type Field, refuseFields } from './field.ts';
import { compileFullMatch, type StringPredicate } from './strings.ts';

/** How a route looks at the path. Query and fragment never take part. */
export interface PathMatch {
  readonly kind: 'prefix' | 'path' | 'path-separated-prefix' | 'regex' | 'connect';
  readonly text: string;
  /** Of regular expressions that they know themselves. */
  readonly isCaseSensitive: boolean;
  readonly matches: StringPredicate;
}

/** Of a match that was rejected. */
export const NO_PATH_MATCH: PathMatch = { kind: 'path', text: '', isCaseSensitive: true, matches: () => false };

export function compilePathMatch(match: RouteMatch, field: Field): PathMatch {
  const specifier = match.pathSpecifier;
  const isCaseSensitive = match.caseSensitive ?? true;
  switch (specifier.case) {
    case 'prefix':
      return { kind: 'prefix', text: specifier.value, isCaseSensitive, matches: prefixPredicate(specifier.value, isCaseSensitive) };
    case 'path': {
      const wanted = specifier.value;
      const folded = wanted.toLowerCase();
      return {
        kind: 'path',
        text: wanted,
        isCaseSensitive,
        matches: isCaseSensitive ? (path) => path === wanted : (path) => path.toLowerCase() === folded,
      };
    }
    case 'pathSeparatedPrefix': {
      const prefix = specifier.value;
      if (prefix.endsWith('/') || /[?#]/.test(prefix))
        field.child('path_separated_prefix').reject('must not end with / nor contain ? or #');
      const startsWith = prefixPredicate(prefix, isCaseSensitive);
      const matches: StringPredicate = (path) =>
        startsWith(path) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f);
      return { kind: 'path-separated-prefix', text: prefix, isCaseSensitive, matches };
    }
    case 'safeRegex':
      return {
        kind: 'regex',
        text: specifier.value.regex,
        isCaseSensitive,
        matches: compileFullMatch(specifier.value, field.child('safe_regex')),
      };
    case 'connectMatcher':
      return { kind: 'connect', text: '', isCaseSensitive, matches: () => true };
    case 'pathMatchPolicy':
      refuseFields(field, { pathMatchPolicy: specifier.value }, ['pathMatchPolicy']);
      return NO_PATH_MATCH;
    default:
      field.reject('needs one of prefix, path, safe_regex, path_separated_prefix, connect_matcher');
      return NO_PATH_MATCH;
  }
}

function prefixPredicate(prefix: string, isCaseSensitive: boolean): StringPredicate {
  if (isCaseSensitive) return prefix === '/' ? (path) => path.charCodeAt(0) === 0x2f : (path) => path.startsWith(prefix);
  const folded = prefix.toLowerCase();
  return (path) => path.slice(0, folded.length).toLowerCase() === folded;
}
