import type { MetadataMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/metadata';
import type { ValueMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/value';
import type { Field } from './field.ts';
import { compileStringMatcher } from './strings.ts';

/** A predicate over a JSON value; undefined stands for a value that is not there. */
export type ValuePredicate = (value: unknown) => boolean;

/** Reads the metadata of one namespace (a filter's name), undefined where nothing was said. */
export type MetadataReader = (namespace: string) => Readonly<Record<string, unknown>> | undefined;

/** A predicate for envoy.type.matcher.v3.MetadataMatcher. Source: envoy Matchers::MetadataMatcher (1.40). */
export function compileMetadataMatcher(matcher: MetadataMatcher, field: Field): (read: MetadataReader) => boolean {
  if (matcher.filter === '') field.child('filter').reject('is required: the namespace of the metadata');
  if (matcher.path.length === 0) field.child('path').reject('needs at least one key');
  const keys = matcher.path.map(({ segment }, index) => {
    if (segment.case !== 'key') field.child('path', index).reject('needs a key');
    return segment.value ?? '';
  });
  const matches = compileValueMatcher(matcher.value, field.child('value'));
  const { filter, invert } = matcher;
  return (read) => matches(valueAt(read(filter), keys)) !== invert;
}

/** The value below an object by its path of keys; undefined where a key is missing or something on the way is no object. */
export function valueAt(root: unknown, keys: readonly string[]): unknown {
  let value = root;
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/** A predicate for envoy.type.matcher.v3.ValueMatcher. */
function compileValueMatcher(matcher: ValueMatcher | undefined, field: Field): ValuePredicate {
  const pattern = matcher?.matchPattern;
  switch (pattern?.case) {
    case 'nullMatch':
      return (value) => value === null;
    case 'boolMatch':
      return (value) => value === pattern.value;
    case 'presentMatch':
      return (value) => (value !== undefined) === pattern.value;
    case 'stringMatch': {
      const matches = compileStringMatcher(pattern.value, field.child('string_match'));
      return (value) => typeof value === 'string' && matches(value);
    }
    case 'doubleMatch': {
      const { matchPattern } = pattern.value;
      if (matchPattern.case === 'exact') return (value) => value === matchPattern.value;
      if (matchPattern.case === 'range') {
        const { start, end } = matchPattern.value;
        return (value) => typeof value === 'number' && value >= start && value < end;
      }
      field.child('double_match').reject('needs exact or range');
      return () => false;
    }
    case 'listMatch': {
      if (pattern.value.matchPattern.case !== 'oneOf') field.child('list_match').reject('needs one_of');
      const matches = compileValueMatcher(pattern.value.matchPattern.value, field.child('list_match').child('one_of'));
      return (value) => Array.isArray(value) && value.some(matches);
    }
    case 'orMatch': {
      const any = pattern.value.valueMatchers.map((each, index) =>
        compileValueMatcher(each, field.child('or_match').child('value_matchers', index)),
      );
      return (value) => any.some((matches) => matches(value));
    }
    default:
      field.reject('needs a match pattern that this proxy knows');
      return () => false;
  }
}
