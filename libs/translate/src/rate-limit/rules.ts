import type { RateLimitRule, Resource, StringMatch } from '@mizzen/mesh-api';
import { isGlobal } from '@mizzen/model';
import { regexProblem } from '../regex.ts';

/** Rate limit filters tell their limits apart by a number. Source: Envoy, RateLimit.stage. */
export type RateLimitStage = 0 | 1 | 2;
export const LOCAL_STAGE = 0;
/** Counted by the service; where it cannot be asked, the request goes on. */
export const GLOBAL_STAGE = 1;
/** Counted by the service; where it cannot be asked, the request is refused. */
export const GUARDED_STAGE = 2;

/** One rule with the name that its counters go by in all proxies. */
export interface NamedRule {
  readonly id: string;
  readonly rule: RateLimitRule;
  readonly stage: RateLimitStage;
}

/** The rules of RateLimits in order, without those that proxies could not read (`badRegexes` says which). */
export function rulesOf(limits: readonly Resource<'RateLimit'>[]): NamedRule[] {
  return limits.flatMap(({ metadata, spec }) =>
    spec.rules
      .filter((rule) => badRegexes(rule).length === 0)
      .map((rule) => ({ id: `${metadata.namespace}/${metadata.name}/${rule.name}`, rule, stage: stageOf(rule) })),
  );
}

function stageOf(rule: RateLimitRule): RateLimitStage {
  if (!isGlobal(rule)) return LOCAL_STAGE;
  return rule.denyOnFailure ? GUARDED_STAGE : GLOBAL_STAGE;
}

/** Regular expressions of a rule that RE2 refuses, with the path below the rule and the reason. */
export function badRegexes({ match }: RateLimitRule): { path: (string | number)[]; problem: string }[] {
  const written: [path: (string | number)[], value: StringMatch | undefined][] = [
    [['match', 'path'], match?.path],
    ...Object.entries(match?.headers ?? {}).map(([name, value]): [string[], StringMatch] => [['match', 'headers', name], value]),
  ];
  return written.flatMap(([path, value]) => {
    const problem = value?.regex === undefined || value.regex === '*' ? '' : regexProblem(value.regex);
    return problem === '' ? [] : [{ path: [...path, 'regex'], problem }];
  });
}
