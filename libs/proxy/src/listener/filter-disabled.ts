import type { ListenerFilterChainMatchPredicate } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { ConfigError, within } from '../config/config-error.ts';

/** Whether a listener filter is left out for connections to a port: the one that the client wanted, where that is known. */
export type DisabledAt = (port: number) => boolean;

const NEVER: DisabledAt = () => false;

/** Throws ConfigError. Source: Envoy, ListenerFilterChainMatchPredicate (1.40). */
export function compileFilterDisabled(predicate: ListenerFilterChainMatchPredicate | undefined): DisabledAt {
  if (predicate === undefined) return NEVER;
  return within('filter_disabled', () => compile(predicate));
}

function compile({ rule }: ListenerFilterChainMatchPredicate): DisabledAt {
  switch (rule.case) {
    case 'destinationPortRange': {
      const { start, end } = rule.value;
      if (end <= start) throw new ConfigError('destination_port_range', `the end ${end} must be above the start ${start}`);
      return (port) => port >= start && port < end;
    }
    case 'orMatch': {
      const rules = rule.value.rules.map((each, index) => within(`or_match.rules[${index}]`, () => compile(each)));
      return (port) => rules.some((matches) => matches(port));
    }
    case 'andMatch': {
      const rules = rule.value.rules.map((each, index) => within(`and_match.rules[${index}]`, () => compile(each)));
      return (port) => rules.every((matches) => matches(port));
    }
    case 'notMatch': {
      const matches = within('not_match', () => compile(rule.value));
      return (port) => !matches(port);
    }
    case 'anyMatch':
      return () => rule.value;
    case undefined:
      throw new ConfigError('rule', 'is required');
  }
}
