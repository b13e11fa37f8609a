import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { RouteMatchSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { array, boolean, constantFrom, assert as hold, integer, property, record } from 'fast-check';
import { Field } from './field.ts';
import { compilePathMatch, type PathMatch } from './path-match.ts';
import { RouteIndex } from './route-index.ts';

interface Given {
  readonly kind: 'prefix' | 'path' | 'pathSeparatedPrefix' | 'safeRegex';
  readonly text: string;
  readonly caseSensitive: boolean;
  /** Below this number the route does not take a request. */
  readonly from: number;
}

function compile({ kind, text, caseSensitive }: Given): PathMatch {
  const value = kind === 'safeRegex' ? { regex: text.replaceAll('/', '/+') } : text;
  const message = create(RouteMatchSchema, { caseSensitive, pathSpecifier: { case: kind, value } as never });
  return compilePathMatch(message, new Field('', []));
}

const PATHS = ['/', '/a', '/A', '/a/b', '/ab', '/a/b/c', '/b', '/b/', '/B/x', '', '/abc/d'];

describe('RouteIndex', () => {
  it('finds what a look through the list finds', () => {
    const route = record({
      kind: constantFrom('prefix', 'path', 'pathSeparatedPrefix', 'safeRegex') as never,
      text: constantFrom('/', '/a', '/A', '/a/b', '/ab', '/b', ''),
      caseSensitive: boolean(),
      from: integer({ min: 0, max: 3 }),
    });
    hold(
      property(
        array(route, { minLength: 0, maxLength: 40 }),
        constantFrom(...PATHS),
        integer({ min: 0, max: 3 }),
        (given, path, number) => {
          const routes = (given as Given[]).map((each) => ({ path: compile(each), from: each.from }));
          const expected = routes.find((each) => each.path.matches(path) && each.from <= number);
          expect(new RouteIndex(routes).find(path, number, ({ from }, asked) => from <= asked)).toBe(expected);
        },
      ),
      { numRuns: 2000, seed: 7 },
    );
  });

  it('asks a thousand routes no more often than it must', () => {
    const routes = Array.from({ length: 1000 }, (_, index) => ({
      path: compile({ kind: 'prefix', text: `/version-${index}/`, caseSensitive: true, from: 0 }),
    }));
    let asked = 0;
    const found = new RouteIndex(routes).find('/version-999/x', undefined, () => {
      asked++;
      return true;
    });
    expect([found, asked]).toEqual([routes[999], 1]);
  });
});
