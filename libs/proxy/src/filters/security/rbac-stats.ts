import { defineStats, type StatRegistry, type StatTag } from '../../observe/stat-registry.ts';

export interface RbacStats {
  allowed: number;
  denied: number;
}

const RULES_STATS = defineStats({ counters: { allowed: 'allowed', denied: 'denied' } });
const SHADOW_STATS = defineStats({ counters: { allowed: 'shadow_allowed', denied: 'shadow_denied' } });

/** The counters of one RBAC filter: `<prefix>.rbac.<rulesPrefix>allowed`, `<prefix>.rbac.<shadowPrefix>shadow_allowed` and so on. */
export function rbacStats(
  registry: StatRegistry,
  names: { readonly prefix: string; readonly tags?: readonly StatTag[]; readonly rulesPrefix: string; readonly shadowPrefix: string },
): { readonly rules: RbacStats; readonly shadow: RbacStats } {
  const scope = (prefix: string): { prefix: string; tags: readonly StatTag[] } => ({
    prefix: withoutDot(`${withoutDot(names.prefix)}.rbac.${prefix}`),
    tags: names.tags ?? [],
  });
  return {
    rules: registry.counts(RULES_STATS, scope(names.rulesPrefix)),
    shadow: registry.counts(SHADOW_STATS, scope(names.shadowPrefix)),
  };
}

// A prefix is mostly written with the dot that follows it.
function withoutDot(prefix: string): string {
  return prefix.endsWith('.') ? prefix.slice(0, -1) : prefix;
}
