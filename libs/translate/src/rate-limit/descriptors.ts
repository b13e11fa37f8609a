import type { RateLimitRule, Resource } from '@mizzen/mesh-api';
import {
  RateLimit_Action_MetaData_Source,
  type RateLimit_ActionSchema,
  type RateLimitSchema,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Init } from '../messages.ts';
import { conditionsOf } from './conditions.ts';
import { LOCAL_STAGE, type NamedRule, rulesOf } from './rules.ts';

export type RateLimitInit = Init<typeof RateLimitSchema>;
type ActionInit = Init<typeof RateLimit_ActionSchema>;
type Dimension = NonNullable<RateLimitRule['by']>[number];

/** Entries of descriptors; apps/rate-limit reads the first two (docs/adr/0017). */
export const RULE_KEY = 'rule';
const LIMIT_KEY = 'limit';
/** Where values that tell counters apart are put before they are counted. */
export const BY_METADATA = 'mizzen.rate_limit';
/** Stands for a value that is not there: requests without it count together. */
const ABSENT = 'none';

/** What is counted of every request to a virtual host: the rules that name no routes. */
export function hostLimits(limits: readonly Resource<'RateLimit'>[]): RateLimitInit[] {
  return rulesOf(limits).flatMap((named) => (named.rule.match?.routes === undefined ? [rateLimit(named)] : []));
}

/** What is counted besides of requests to a route: the rules that name it, by the name of the VirtualService's rule. */
export function routeLimits(limits: readonly Resource<'RateLimit'>[], routeName: string): RateLimitInit[] {
  return rulesOf(limits).flatMap((named) => (isOfRoute(named, routeName) ? [rateLimit(named)] : []));
}

// The matches of a rule that have names add those to the route's: `rule.match`.
function isOfRoute({ rule }: NamedRule, routeName: string): boolean {
  return rule.match?.routes?.some((name) => routeName === name || routeName.startsWith(`${name}.`)) ?? false;
}

/** A descriptor of the entries rule, limit, and one for each dimension. Source: Envoy, config.route.v3.RateLimit. */
function rateLimit(named: NamedRule): RateLimitInit {
  const { rule, stage } = named;
  if (stage === LOCAL_STAGE) return { actions: [ruleAction(named)] };
  const { requests, unit = 'SECOND' } = rule.limit;
  const limit: ActionInit = {
    actionSpecifier: { case: 'genericKey', value: { descriptorKey: LIMIT_KEY, descriptorValue: `${requests}/${unit}` } },
  };
  return { stage, actions: [ruleAction(named), limit, ...(rule.by ?? []).map(dimensionAction)] };
}

/** Makes no descriptor at all of requests that the rule does not match. */
function ruleAction({ id, rule }: NamedRule): ActionInit {
  const headers = conditionsOf(rule.match);
  const entry = { descriptorKey: RULE_KEY, descriptorValue: id };
  return {
    actionSpecifier:
      headers.length === 0 ? { case: 'genericKey', value: entry } : { case: 'headerValueMatch', value: { ...entry, headers } },
  };
}

function dimensionAction(dimension: Dimension): ActionInit {
  if (dimension.attribute === 'CLIENT_ADDRESS') return { actionSpecifier: { case: 'remoteAddress', value: {} } };
  const key = dimensionKey(dimension);
  return {
    actionSpecifier: {
      case: 'metadata',
      value: {
        descriptorKey: key,
        metadataKey: { key: BY_METADATA, path: [{ segment: { case: 'key', value: key } }] },
        defaultValue: ABSENT,
        source: RateLimit_Action_MetaData_Source.DYNAMIC,
      },
    },
  };
}

/** `caller`, `header:x-user`. */
export function dimensionKey({ header, attribute }: Dimension): string {
  return header === undefined ? String(attribute).toLowerCase() : `header:${header.toLowerCase()}`;
}
