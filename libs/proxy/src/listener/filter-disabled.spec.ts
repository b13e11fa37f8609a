import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import {
  type ListenerFilterChainMatchPredicate,
  ListenerFilterChainMatchPredicateSchema,
} from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { compileFilterDisabled } from './filter-disabled.ts';

function range(start: number, end = start + 1): ListenerFilterChainMatchPredicate {
  return create(ListenerFilterChainMatchPredicateSchema, { rule: { case: 'destinationPortRange', value: { start, end } } });
}

function predicate(rule: ListenerFilterChainMatchPredicate['rule']): ListenerFilterChainMatchPredicate {
  return create(ListenerFilterChainMatchPredicateSchema, { rule } as never);
}

function set(...rules: ListenerFilterChainMatchPredicate[]) {
  return { $typeName: 'envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet', rules } as const;
}

describe('filter_disabled', () => {
  it.each([
    ['nothing', undefined, []],
    ['a port', range(3306), [3306]],
    ['a range, without its end', range(3306, 3308), [3306, 3307]],
    ['any of several', predicate({ case: 'orMatch', value: set(range(3306), range(3308)) }), [3306, 3308]],
    ['all of several', predicate({ case: 'andMatch', value: set(range(3306, 3308), range(3307, 3309)) }), [3307]],
    ['all but', predicate({ case: 'notMatch', value: range(3307) }), [3306, 3308]],
    ['everything', predicate({ case: 'anyMatch', value: true }), [3306, 3307, 3308]],
  ])('holds for %s', (_, rule, expected) => {
    const isDisabledAt = compileFilterDisabled(rule);
    expect([3306, 3307, 3308].filter(isDisabledAt)).toEqual(expected);
  });

  it.each([
    ['a range that is empty', range(3307, 3307), 'filter_disabled.destination_port_range'],
    ['no rule', predicate({ case: undefined }), 'filter_disabled.rule'],
    ['no rule among several', predicate({ case: 'orMatch', value: set(predicate({ case: undefined })) }), 'or_match.rules[0].rule'],
  ])('refuses %s', (_, rule, place) => {
    expect(() => compileFilterDisabled(rule)).toThrow(place);
  });
});
