import type { Resource } from '@mizzen/mesh-api';
import { byAge, Derived } from './age.ts';
import { resolveShortName } from './host.ts';
import type { Labels } from './labels.ts';
import { labelsKey } from './labels.ts';
import { parseVisibility, type Visibility } from './visibility.ts';

type Spec = Resource<'VirtualService'>['spec'];
export type HttpRule = NonNullable<Spec['http']>[number];
export type HttpMatch = NonNullable<HttpRule['match']>[number];
export type TcpRule = NonNullable<Spec['tcp']>[number];
export type TlsRule = NonNullable<Spec['tls']>[number];
export type Destination = NonNullable<NonNullable<HttpRule['route']>[number]['destination']>;

/** The reserved gateway name that stands for all sidecars. */
export const MESH_GATEWAY = 'mesh';

/** A VirtualService with its names resolved. A delegate has no hosts and is only used through its root. */
export interface VirtualServiceConfig {
  readonly resource: Resource<'VirtualService'>;
  readonly namespace: string;
  readonly name: string;
  readonly hosts: readonly string[];
  /** `mesh`, or `<namespace>/<name>`. */
  readonly gateways: readonly string[];
  readonly visibility: Visibility;
  /** With delegates merged in. */
  readonly http: readonly HttpRule[];
  readonly tcp: readonly TcpRule[];
  readonly tls: readonly TlsRule[];
  /** Rules of delegates that are left out, because their matches contradict those of the rule that delegates. */
  readonly contradictions: readonly { readonly delegate: Resource<'VirtualService'>; readonly index: number }[];
  /** Sets of source labels that its matches ask for: what makes its routes differ between clients. */
  readonly sourceSelectors: readonly Labels[];
}

export interface VirtualServiceContext {
  readonly domain: string;
  readonly defaultExportTo: readonly string[] | undefined;
}

const derived = new Derived<Resource<'VirtualService'>, VirtualServiceConfig>();

/** All VirtualServices with hosts, oldest first. */
export function buildVirtualServices(
  resources: readonly Resource<'VirtualService'>[],
  context: VirtualServiceContext,
): VirtualServiceConfig[] {
  const delegates = new Map<string, Resource<'VirtualService'>>();
  for (const resource of resources)
    if (isDelegate(resource)) delegates.set(`${resource.metadata.namespace}/${resource.metadata.name}`, resource);
  return byAge(resources)
    .filter((resource) => !isDelegate(resource))
    .map((resource) => {
      const used = (resource.spec.http ?? []).flatMap((rule) =>
        rule.delegate ? [delegates.get(delegateKey(rule, resource.metadata.namespace))] : [],
      );
      const stamp = used.map(
        (delegate) => `${delegate?.metadata.namespace}/${delegate?.metadata.name}@${delegate === undefined ? '' : identityOf(delegate)}`,
      );
      const key = JSON.stringify([context.domain, context.defaultExportTo ?? null, stamp]);
      return derived.of(resource, key, () => buildVirtualService(resource, { ...context, delegates }));
    });
}

function isDelegate(resource: Resource<'VirtualService'>): boolean {
  return (resource.spec.hosts ?? []).length === 0;
}

const identities = new WeakMap<object, number>();
let nextIdentity = 1;

// Tells two versions of a delegate apart without reading it.
function identityOf(object: object): number {
  let identity = identities.get(object);
  if (identity === undefined) {
    identity = nextIdentity++;
    identities.set(object, identity);
  }
  return identity;
}

function delegateKey(rule: HttpRule, namespace: string): string {
  return `${rule.delegate?.namespace ?? namespace}/${rule.delegate?.name ?? ''}`;
}

function buildVirtualService(
  resource: Resource<'VirtualService'>,
  context: VirtualServiceContext & { delegates: ReadonlyMap<string, Resource<'VirtualService'>> },
): VirtualServiceConfig {
  const { spec, metadata } = resource;
  const { name, namespace } = metadata;
  const contradictions: { delegate: Resource<'VirtualService'>; index: number }[] = [];
  const http = (spec.http ?? []).flatMap((rule) => {
    if (rule.delegate === undefined) return [rule];
    const delegate = context.delegates.get(delegateKey(rule, namespace));
    if (delegate === undefined) return [];
    return mergeDelegate(rule, delegate, { domain: context.domain, leftOut: (index) => contradictions.push({ delegate, index }) });
  });
  return {
    resource,
    namespace,
    name,
    hosts: (spec.hosts ?? []).map((host) => resolveShortName(host, { namespace, domain: context.domain })),
    gateways:
      spec.gateways && spec.gateways.length > 0 ? spec.gateways.map((gateway) => resolveGatewayName(gateway, namespace)) : [MESH_GATEWAY],
    visibility: parseVisibility(spec.exportTo, { namespace, fallback: context.defaultExportTo }),
    http,
    tcp: spec.tcp ?? [],
    tls: spec.tls ?? [],
    contradictions,
    sourceSelectors: sourceSelectors([...http, ...(spec.tcp ?? []), ...(spec.tls ?? [])]),
  };
}

export function resolveGatewayName(gateway: string, namespace: string): string {
  return gateway === MESH_GATEWAY || gateway.includes('/') ? gateway : `${namespace}/${gateway}`;
}

function sourceSelectors(rules: readonly { match?: readonly { sourceLabels?: Labels }[] }[]): Labels[] {
  const found = new Map<string, Labels>();
  for (const rule of rules)
    for (const match of rule.match ?? []) if (match.sourceLabels) found.set(labelsKey(match.sourceLabels), match.sourceLabels);
  return [...found.values()];
}

/**
 * The rules of a delegate as children of the root rule that names it. A child whose match is not narrower than the root's is dropped;
 * empty fields are inherited. One level.
 * Source: istio pilot/pkg/model/virtualservice.go mergeHTTPRoutes (1.32 dev).
 */
function mergeDelegate(
  root: HttpRule,
  delegate: Resource<'VirtualService'>,
  { domain, leftOut }: { domain: string; leftOut: (index: number) => void },
): HttpRule[] {
  const { delegate: _, match: _rootMatch, ...inherited } = root;
  const { namespace } = delegate.metadata;
  return (delegate.spec.http ?? []).flatMap((child, index) => {
    const match = mergeMatches(root.match, child.match);
    if (match === undefined) {
      leftOut(index);
      return [];
    }
    const rule = { ...inherited, ...qualifyDestinations(child, { namespace, domain }) };
    if (match.length > 0) Object.assign(rule, { match });
    if (root.name !== undefined && child.name !== undefined) Object.assign(rule, { name: `${root.name}-${child.name}` });
    return [rule];
  });
}

// Short names of a delegate are meant in its own namespace, the rest of the pipeline reads them in the root's.
function qualifyDestinations(rule: HttpRule, scope: { namespace: string; domain: string }): HttpRule {
  const qualify = <D extends { host: string }>(destination: D): D => ({ ...destination, host: resolveShortName(destination.host, scope) });
  return {
    ...rule,
    ...(rule.route && { route: rule.route.map((route) => ({ ...route, destination: qualify(route.destination) })) }),
    ...(rule.mirror && { mirror: qualify(rule.mirror) }),
    ...(rule.mirrors && { mirrors: rule.mirrors.map((mirror) => ({ ...mirror, destination: qualify(mirror.destination) })) }),
  };
}

function mergeMatches(root: readonly HttpMatch[] | undefined, child: readonly HttpMatch[] | undefined): HttpMatch[] | undefined {
  if (root === undefined || root.length === 0) return [...(child ?? [])];
  if (child === undefined || child.length === 0) return [...root];
  const merged = root.flatMap((outer) => child.flatMap((inner) => mergeMatch(outer, inner) ?? []));
  return merged.length === 0 ? undefined : merged;
}

const TEXT_FIELDS = ['uri', 'scheme', 'method', 'authority'] as const;
const CONDITION_MAPS = ['headers', 'queryParams'] as const;
const MAP_FIELDS = ['headers', 'withoutHeaders', 'queryParams', 'sourceLabels'] as const;

/** Both conditions together, or undefined where the child's contradict the root's. */
function mergeMatch(outer: HttpMatch, inner: HttpMatch): HttpMatch | undefined {
  for (const field of TEXT_FIELDS) {
    const [wide, narrow] = [outer[field], inner[field]];
    if (wide !== undefined && narrow !== undefined && !isNarrower(narrow, wide)) return undefined;
  }
  if (outer.port !== undefined && inner.port !== undefined && outer.port !== inner.port) return undefined;
  if (outer.sourceNamespace !== undefined && inner.sourceNamespace !== undefined && outer.sourceNamespace !== inner.sourceNamespace)
    return undefined;
  // One key holds one condition: where the child's does not imply the root's, laying it over would let more through than the root does.
  for (const field of CONDITION_MAPS)
    for (const [key, narrow] of Object.entries(inner[field] ?? {})) {
      const wide = outer[field]?.[key];
      if (wide !== undefined && !isNarrower(narrow, wide)) return undefined;
    }
  for (const [key, narrow] of Object.entries(inner.withoutHeaders ?? {})) {
    const wide = outer.withoutHeaders?.[key];
    if (wide !== undefined && !isNarrower(wide, narrow)) return undefined;
  }
  for (const [key, value] of Object.entries(inner.sourceLabels ?? {})) if ((outer.sourceLabels?.[key] ?? value) !== value) return undefined;
  const match: Record<string, unknown> = { ...outer, ...inner };
  for (const field of MAP_FIELDS) if (outer[field] || inner[field]) match[field] = { ...outer[field], ...inner[field] };
  if (outer.name !== undefined && inner.name !== undefined) match['name'] = `${outer.name}-${inner.name}`;
  return match as HttpMatch;
}

type StringMatch = { exact?: string; prefix?: string; regex?: string };

function isNarrower(narrow: StringMatch, wide: StringMatch): boolean {
  if (wide.exact !== undefined) return narrow.exact === wide.exact;
  if (wide.prefix !== undefined) return (narrow.exact ?? narrow.prefix)?.startsWith(wide.prefix) ?? false;
  return narrow.regex === wide.regex;
}
