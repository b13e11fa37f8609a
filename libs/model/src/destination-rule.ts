import type { Resource } from '@mizzen/mesh-api';
import { byAge } from './age.ts';
import { compareHostSpecificity, HostIndex, isHostWithin, resolveShortName } from './host.ts';
import { type Labels, labelsKey, selects } from './labels.ts';
import { isVisibleIn, parseVisibility, type Visibility, visibilityKey } from './visibility.ts';

type Spec = Resource<'DestinationRule'>['spec'];
export type TrafficPolicy = NonNullable<Spec['trafficPolicy']>;
export type Subset = NonNullable<Spec['subsets']>[number];

/** What applies to one host: one DestinationRule, or several of the same host merged. */
export interface DestinationRuleConfig {
  readonly host: string;
  readonly namespace: string;
  readonly trafficPolicy: TrafficPolicy | undefined;
  readonly subsets: readonly Subset[];
  readonly workloadSelector: Labels | undefined;
  readonly visibility: Visibility;
  /** Oldest first. */
  readonly sources: readonly Resource<'DestinationRule'>[];
}

export interface DestinationRuleIndex {
  readonly rootNamespace: string;
  readonly byNamespace: ReadonlyMap<string, NamespaceRules>;
}

interface NamespaceRules {
  /** Without selector, all of the namespace: what clients of the same namespace see. */
  readonly local: HostIndex<DestinationRuleConfig>;
  /** With selector: only for clients of the same namespace. Most specific host first. */
  readonly selecting: DestinationRuleConfig[];
  readonly all: DestinationRuleConfig[];
}

const merged = new WeakMap<Resource<'DestinationRule'>, DestinationRuleConfig>();

/** Merges rules of the same host, selector and visibility in a namespace: subsets are united, the oldest top-level policy wins. */
export function buildDestinationRuleIndex(
  resources: readonly Resource<'DestinationRule'>[],
  context: { domain: string; rootNamespace: string; defaultExportTo: readonly string[] | undefined },
): DestinationRuleIndex {
  const groups = new Map<string, Resource<'DestinationRule'>[]>();
  for (const resource of byAge(resources)) {
    const { spec, metadata } = resource;
    const host = resolveShortName(spec.host, { namespace: metadata.namespace, domain: context.domain });
    const visibility = parseVisibility(spec.exportTo, { namespace: metadata.namespace, fallback: context.defaultExportTo });
    const key = JSON.stringify([metadata.namespace, host, visibilityKey(visibility), labelsKey(spec.workloadSelector?.matchLabels)]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [resource]);
    else group.push(resource);
  }
  const byNamespace = new Map<string, NamespaceRules>();
  for (const group of groups.values()) {
    const rule = mergeRules(group, context);
    const rules = byNamespace.get(rule.namespace) ?? { local: new HostIndex(), selecting: [], all: [] };
    byNamespace.set(rule.namespace, rules);
    rules.all.push(rule);
    if (rule.workloadSelector === undefined) rules.local.add(rule.host, rule);
    else rules.selecting.push(rule);
  }
  for (const rules of byNamespace.values()) rules.selecting.sort((a, b) => compareHostSpecificity(a.host, b.host));
  return { rootNamespace: context.rootNamespace, byNamespace };
}

function mergeRules(
  sources: readonly Resource<'DestinationRule'>[],
  context: { domain: string; defaultExportTo: readonly string[] | undefined },
): DestinationRuleConfig {
  const [oldest] = sources as [Resource<'DestinationRule'>];
  const { namespace } = oldest.metadata;
  const host = resolveShortName(oldest.spec.host, { namespace, domain: context.domain });
  const visibility = parseVisibility(oldest.spec.exportTo, { namespace, fallback: context.defaultExportTo });
  const known = merged.get(oldest);
  if (
    known !== undefined &&
    known.host === host &&
    visibilityKey(known.visibility) === visibilityKey(visibility) &&
    sameItems(known.sources, sources)
  )
    return known;
  const subsets = new Map<string, Subset>();
  for (const { spec } of sources) for (const subset of spec.subsets ?? []) if (!subsets.has(subset.name)) subsets.set(subset.name, subset);
  const rule: DestinationRuleConfig = {
    host,
    namespace,
    trafficPolicy: sources.find(({ spec }) => spec.trafficPolicy !== undefined)?.spec.trafficPolicy,
    subsets: [...subsets.values()],
    workloadSelector: oldest.spec.workloadSelector?.matchLabels,
    visibility,
    sources,
  };
  merged.set(oldest, rule);
  return rule;
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

/** Who asks for a rule, and for which service. */
export interface DestinationRuleQuery {
  readonly host: string;
  readonly serviceNamespace: string | undefined;
  readonly clientNamespace: string;
  readonly clientLabels: Labels;
}

/**
 * The client's namespace before the service's before the root namespace; within one, the most specific host.
 * Source: istio pilot/pkg/model/push_context.go destinationRule (1.32 dev).
 */
export function findDestinationRule(index: DestinationRuleIndex, query: DestinationRuleQuery): DestinationRuleConfig | undefined {
  const { clientNamespace, serviceNamespace } = query;
  if (clientNamespace !== index.rootNamespace) {
    const local = findLocalRule(index.byNamespace.get(clientNamespace), query);
    if (local !== undefined) return local;
  }
  for (const namespace of [serviceNamespace, index.rootNamespace]) {
    if (namespace === undefined || (namespace === clientNamespace && namespace !== index.rootNamespace)) continue;
    const rule =
      namespace === clientNamespace
        ? findLocalRule(index.byNamespace.get(namespace), query)
        : findExportedRule(index.byNamespace.get(namespace), query);
    if (rule !== undefined) return rule;
  }
  return undefined;
}

function findLocalRule(rules: NamespaceRules | undefined, query: DestinationRuleQuery): DestinationRuleConfig | undefined {
  if (rules === undefined) return undefined;
  const plain = rules.local.find(query.host);
  const selecting = rules.selecting.find(
    (rule) => isHostWithin(query.host, rule.host) && selects(rule.workloadSelector, query.clientLabels),
  );
  if (selecting === undefined) return plain;
  return plain === undefined || compareHostSpecificity(selecting.host, plain.host) <= 0 ? selecting : plain;
}

function findExportedRule(rules: NamespaceRules | undefined, query: DestinationRuleQuery): DestinationRuleConfig | undefined {
  if (rules === undefined) return undefined;
  const mostSpecific = rules.local.find(query.host);
  if (mostSpecific === undefined || isVisibleIn(mostSpecific.visibility, query.clientNamespace)) return mostSpecific;
  return rules.all
    .filter(
      (rule) =>
        rule.workloadSelector === undefined && isHostWithin(query.host, rule.host) && isVisibleIn(rule.visibility, query.clientNamespace),
    )
    .sort((a, b) => compareHostSpecificity(a.host, b.host))[0];
}

/** Selectors of a namespace's rules: together with the labels of a client they decide which rules it is given. */
export function clientSelectorsOf(index: DestinationRuleIndex, namespace: string): readonly Labels[] {
  return (index.byNamespace.get(namespace)?.selecting ?? []).map((rule) => rule.workloadSelector ?? {});
}
