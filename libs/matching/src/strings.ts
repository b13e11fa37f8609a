import type { RegexMatchAndSubstitute, RegexMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/regex';
import type { StringMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/string';
import { RE2JS } from 're2js';
import { type Field, refuseFields } from './field.ts';

export type StringPredicate = (value: string) => boolean;

const META = /[\\^$.|?*+()[\]{}]/;
const MAX_PATTERN_LENGTH = 4096;

/**
 * A predicate that is true where the whole value matches, in time linear in the value (RE2). Literals and `literal.*` need no engine.
 * `.` does not match a line feed, as in Envoy.
 */
export function compileFullMatch(matcher: RegexMatcher | undefined, field: Field): StringPredicate {
  const pattern = matcher?.regex ?? '';
  if (!META.test(pattern)) return (value) => value === pattern;
  const literal = pattern.endsWith('.*') ? pattern.slice(0, -2) : undefined;
  if (literal !== undefined && !META.test(literal)) return (value) => value.startsWith(literal) && !value.includes('\n', literal.length);
  const compiled = compilePattern(pattern, field);
  return compiled === undefined ? () => false : (value) => compiled.matches(value);
}

/** Replaces every match; `\1` to `\9` stand for groups, `\\` for a backslash (RE2's rewrite syntax). */
export function compileSubstitution(rewrite: RegexMatchAndSubstitute, field: Field): (value: string) => string {
  const compiled = compilePattern(rewrite.pattern?.regex ?? '', field.child('pattern'));
  if (compiled === undefined) return (value) => value;
  const parts = parseSubstitution(rewrite.substitution);
  if (parts === undefined || parts.some((part) => typeof part === 'number' && part > compiled.groupCount())) {
    field.child('substitution').reject('refers to a group that the pattern does not have; groups are \\0 to \\9');
    return (value) => value;
  }
  return (value) => {
    const matcher = compiled.matcher(value);
    let result = '';
    let position = 0;
    while (matcher.find()) {
      result += value.slice(position, matcher.start());
      for (const part of parts) result += typeof part === 'string' ? part : (matcher.group(part) ?? '');
      position = matcher.end();
    }
    return result + value.slice(position);
  };
}

/** A predicate for envoy.type.matcher.v3.StringMatcher. `ignore_case` applies to all but regular expressions. */
export function compileStringMatcher(matcher: StringMatcher | undefined, field: Field): StringPredicate {
  const pattern = matcher?.matchPattern;
  const fold = matcher?.ignoreCase === true ? (text: string): string => text.toLowerCase() : (text: string): string => text;
  switch (pattern?.case) {
    case 'exact': {
      const wanted = fold(pattern.value);
      return (value) => fold(value) === wanted;
    }
    case 'prefix': {
      const wanted = fold(pattern.value);
      return (value) => fold(value).startsWith(wanted);
    }
    case 'suffix': {
      const wanted = fold(pattern.value);
      return (value) => fold(value).endsWith(wanted);
    }
    case 'contains': {
      const wanted = fold(pattern.value);
      return (value) => fold(value).includes(wanted);
    }
    case 'safeRegex':
      if (matcher?.ignoreCase) field.child('ignore_case').reject('has no effect on a regular expression; write (?i) into it');
      return compileFullMatch(pattern.value, field.child('safe_regex'));
    case 'custom':
      refuseFields(field, { custom: pattern.value }, ['custom']);
      return () => false;
    default:
      field.reject('needs a match pattern');
      return () => false;
  }
}

function compilePattern(pattern: string, field: Field): RE2JS | undefined {
  if (pattern.length > MAX_PATTERN_LENGTH) {
    field.reject(`the regular expression is longer than ${MAX_PATTERN_LENGTH} characters`);
    return undefined;
  }
  try {
    return RE2JS.compile(pattern);
  } catch (thrown) {
    field.reject(`is not a valid RE2 regular expression: ${(thrown as { message?: string }).message ?? String(thrown)}`);
    return undefined;
  }
}

function parseSubstitution(text: string): (string | number)[] | undefined {
  const parts: (string | number)[] = [];
  for (const [, literal, escaped] of text.matchAll(/([^\\]+)|\\([\s\S]?)/g)) {
    if (literal !== undefined) parts.push(literal);
    else if (escaped === '\\') parts.push('\\');
    else if (escaped !== undefined && /^\d$/.test(escaped)) parts.push(Number(escaped));
    else return undefined;
  }
  return parts;
}
