import type { RegexMatchAndSubstitute } from '@mizzen/xds-api/envoy/type/matcher/v3/regex';
import type { Field } from './field.ts';
import type { PathMatch } from './path-match.ts';
import { pathOnly } from './request.ts';
import { compileSubstitution } from './strings.ts';

/** The new path, query included. */
export type PathRewrite = (path: string) => string;

/**
 * `prefix_rewrite` puts a text where the matched prefix was, or in place of the whole path where the route matched by path or regex;
 * `regex_rewrite` substitutes in the path. The query stays. Source: Envoy, RouteAction.prefix_rewrite and regex_rewrite (1.40).
 */
export function compilePathRewrite(
  rewrite: { prefix: string; regex: RegexMatchAndSubstitute | undefined },
  match: PathMatch,
  field: Field,
): PathRewrite | undefined {
  const { prefix, regex } = rewrite;
  if (prefix !== '' && regex !== undefined) field.reject('has both prefix_rewrite and regex_rewrite; only one may be given');
  if (regex !== undefined) {
    const substitute = compileSubstitution(regex, field.child('regex_rewrite'));
    return (path) => withQueryOf(path, substitute(pathOnly(path)));
  }
  if (prefix === '') return undefined;
  if (match.kind === 'prefix' || match.kind === 'path-separated-prefix') {
    const { length } = match.text;
    return (path) => prefix + path.slice(length);
  }
  return (path) => withQueryOf(path, prefix);
}

export function withQueryOf(path: string, newPath: string): string {
  return newPath + path.slice(pathOnly(path).length);
}
