import { compileStringMatcher } from '@mizzen/matching';
import type { StatsConfig, StatsMatcher } from '@mizzen/xds-api/envoy/config/metrics/v3/stats';
import { ConfigError, collected, within } from '../config/config-error.ts';
import type { StatTag } from './stat-registry.ts';

/** A statistic's name without what became labels, and the labels. */
export interface TaggedName {
  readonly name: string;
  readonly tags: readonly StatTag[];
}

/** Which statistics there are, what their labels are and where their buckets end, as `stats_config` of the bootstrap says. */
export interface StatsPolicy {
  /** Whether the statistic of this dotted name is shown at all. */
  includes(name: string): boolean;
  /** `known` are the tags that stand in the prefix of the name, by order. */
  split(name: string, known: readonly StatTag[]): TaggedName;
  /** Upper bounds for a histogram of this name; undefined for the default ones. */
  bucketsOf(name: string): readonly number[] | undefined;
}

interface Extractor {
  readonly tag: string;
  readonly pattern: RegExp;
}

// Parts of names that Envoy makes labels of wherever they stand. Source: envoy source/common/config/well_known_names.cc (1.40).
const NAME_EXTRACTORS: readonly Extractor[] = [
  { tag: 'envoy.response_code', pattern: /_rq(_(\d{3}))$/d },
  { tag: 'envoy.response_code_class', pattern: /_rq_((\d))xx$/d },
  { tag: 'envoy.ssl_cipher', pattern: /\.ssl\.ciphers(\.(.+))$/d },
  { tag: 'envoy.ssl_version', pattern: /\.ssl\.versions(\.(.+))$/d },
  { tag: 'envoy.ssl_curve', pattern: /\.ssl\.curves(\.(.+))$/d },
  { tag: 'envoy.ssl_sigalg', pattern: /\.ssl\.sigalgs(\.(.+))$/d },
];

/** Throws ConfigError for what this proxy cannot honour, with its path below `stats_config`. */
export function compileStatsPolicy(config: StatsConfig | undefined): StatsPolicy {
  const usesDefaults = config?.useAllDefaultTags ?? true;
  const fixed: StatTag[] = [];
  const custom: Extractor[] = [];
  const named = new Set<string>();
  config?.statsTags.forEach((specifier, index) => {
    const { tagName, tagValue } = specifier;
    if (tagValue.case === 'fixedValue') fixed.push([tagName, tagValue.value]);
    else if (tagValue.case === 'regex' && tagValue.value !== '')
      custom.push({ tag: tagName, pattern: compilePattern(tagValue.value, index) });
    else named.add(tagName);
  });
  const isDefault = (tag: string): boolean => usesDefaults || named.has(tag);
  const byName = NAME_EXTRACTORS.filter(({ tag }) => isDefault(tag));
  const extractors = [...byName, ...custom];
  const includes = within('stats_matcher', () => compileMatcher(config?.statsMatcher));
  const buckets = (config?.histogramBucketSettings ?? []).map((setting, index) => {
    const matches = collected((field) => compileStringMatcher(setting.match, field), `histogram_bucket_settings[${index}].match`);
    return { matches, bounds: [...setting.buckets] };
  });
  return {
    includes,
    split: (name, known) => splitName(name, { known, isShown: isDefault, extractors, fixed }),
    bucketsOf: (name) => {
      const bounds = buckets.find(({ matches }) => matches(name))?.bounds;
      return bounds === undefined || bounds.length === 0 ? undefined : bounds;
    },
  };
}

function compilePattern(regex: string, index: number): RegExp {
  try {
    return new RegExp(regex, 'd');
  } catch (thrown) {
    throw new ConfigError(`stats_tags[${index}].regex`, (thrown as Error).message);
  }
}

interface SplitOptions {
  readonly known: readonly StatTag[];
  readonly isShown: (tag: string) => boolean;
  readonly extractors: readonly Extractor[];
  readonly fixed: readonly StatTag[];
}

/**
 * The first group of an expression is taken out of the name, the second one (the first where there is none) is the value. All expressions
 * see the whole name; of two for the same tag the first counts. Source: envoy TagExtractorStdRegexImpl (1.40). Where an expression ends
 * in the middle of a value that the prefix is known to hold (a cluster's name with dots), that value is taken whole.
 */
function splitName(name: string, { known, isShown, extractors, fixed }: SplitOptions): TaggedName {
  const tags: StatTag[] = [];
  const cuts: (readonly [start: number, end: number])[] = [];
  const places: (readonly [start: number, value: string])[] = [];
  let from = 0;
  for (const [tag, value] of known) {
    const start = name.indexOf(`.${value}.`, from);
    if (start < 0) continue;
    from = start + value.length + 1;
    places.push([start + 1, value]);
    if (!isShown(tag)) continue;
    cuts.push([start, from]);
    tags.push([tag, value]);
  }
  for (const { tag, pattern } of extractors) {
    if (tags.some(([taken]) => taken === tag)) continue;
    const match = pattern.exec(name);
    const cut = match?.indices?.[1];
    if (match === null || cut === undefined) continue;
    const value = match[2] ?? match[1] ?? '';
    const whole = places.find(([start, text]) => start === cut[0] && text.length > value.length && text.startsWith(value));
    cuts.push(whole === undefined ? cut : [cut[0], cut[0] + whole[1].length + 1]);
    tags.push([tag, whole?.[1] ?? value]);
  }
  tags.push(...fixed);
  return { name: cuts.length === 0 ? name : without(name, cuts), tags };
}

function without(name: string, cuts: (readonly [start: number, end: number])[]): string {
  let text = '';
  let from = 0;
  for (const [start, end] of cuts.sort(([a], [b]) => a - b)) {
    if (start > from) text += name.slice(from, start);
    from = Math.max(from, end);
  }
  return text + name.slice(from);
}

function compileMatcher(matcher: StatsMatcher | undefined): (name: string) => boolean {
  const by = matcher?.statsMatcher;
  if (by === undefined || by.case === undefined) return () => true;
  if (by.case === 'rejectAll') return by.value ? () => false : () => true;
  const { patterns } = by.value;
  const path = by.case === 'inclusionList' ? 'inclusion_list' : 'exclusion_list';
  const matchers = collected(
    (field) => patterns.map((pattern, index) => compileStringMatcher(pattern, field.at(index))),
    `${path}.patterns`,
  );
  const isWanted = by.case === 'inclusionList';
  return (name) => matchers.some((matches) => matches(name)) === isWanted;
}
