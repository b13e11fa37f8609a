import type { RateLimitRule, Resource } from '@mizzen/mesh-api';
import { byAge } from './age.ts';
import { type Labels, selects } from './labels.ts';

/** The name of the service that counts for the whole mesh, in the root namespace. */
const RATE_LIMIT_SERVICE = 'mizzen-rate-limit';

/** Host and port of the rate limit service: a service of the mesh like any other. */
export interface RateLimitService {
  readonly host: string;
  readonly port: number;
}

export const RATE_LIMIT_PORT = 8081;

export function rateLimitService(mesh: { readonly rootNamespace: string; readonly domain: string }): RateLimitService {
  return { host: `${RATE_LIMIT_SERVICE}.${mesh.rootNamespace}.svc.${mesh.domain}`, port: RATE_LIMIT_PORT };
}

/** All RateLimits, oldest first, ready to be asked for one workload's. */
export interface RateLimitIndex {
  readonly byNamespace: ReadonlyMap<string, readonly Resource<'RateLimit'>[]>;
  readonly rootNamespace: string;
}

export function buildRateLimitIndex(resources: readonly Resource<'RateLimit'>[], rootNamespace: string): RateLimitIndex {
  const byNamespace = new Map<string, Resource<'RateLimit'>[]>();
  for (const resource of byAge(resources)) {
    const { namespace } = resource.metadata;
    const known = byNamespace.get(namespace);
    if (known === undefined) byNamespace.set(namespace, [resource]);
    else known.push(resource);
  }
  return { byNamespace, rootNamespace };
}

const NONE: readonly Resource<'RateLimit'>[] = [];

/**
 * Every RateLimit that is for a workload: those of its namespace and those of the root namespace that select it. All of them hold
 * together, since each limit says what it counts.
 */
export function rateLimitsOf(
  { byNamespace, rootNamespace }: RateLimitIndex,
  workload: { readonly namespace: string; readonly labels: Labels },
): readonly Resource<'RateLimit'>[] {
  const namespaces = new Set([rootNamespace, workload.namespace]);
  const found = [...namespaces].flatMap((namespace) =>
    (byNamespace.get(namespace) ?? NONE).filter(({ spec }) => selects(spec.selector?.matchLabels, workload.labels)),
  );
  return found.length === 0 ? NONE : found;
}

/** Whether the whole mesh counts together; by default each proxy counts for itself. */
export function isGlobal(rule: RateLimitRule): boolean {
  return rule.scope === 'GLOBAL';
}

export function hasGlobalRule(limits: readonly Resource<'RateLimit'>[]): boolean {
  return limits.some(({ spec }) => spec.rules.some(isGlobal));
}
