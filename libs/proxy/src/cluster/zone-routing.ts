import type { Random } from '@mizzen/core';
import type { Endpoint } from './endpoint.ts';

/** How much of the load stays in the zone of this proxy; in force where the bootstrap names the cluster of proxies like it. */
export interface ZoneChoice {
  /** Fewer healthy endpoints than this are used without regard to zones. */
  readonly minClusterSize: number;
  /** 0 to 100: the share of requests that regard zones at all. */
  readonly routingEnabledPercent: number;
}

/** Source: envoy docs, Cluster.CommonLbConfig.ZoneAwareLbConfig (1.40). */
export const DEFAULT_ZONE_CHOICE: ZoneChoice = { minClusterSize: 6, routingEnabledPercent: 100 };

export function compileZoneChoice(
  given: { readonly minClusterSize?: bigint | undefined; readonly routingEnabled?: { readonly value: number } | undefined } | undefined,
): ZoneChoice {
  return {
    minClusterSize: Number(given?.minClusterSize ?? DEFAULT_ZONE_CHOICE.minClusterSize),
    routingEnabledPercent: Math.round(given?.routingEnabled?.value ?? DEFAULT_ZONE_CHOICE.routingEnabledPercent),
  };
}

/** Where this proxy runs, and the proxies like it. */
export interface LocalZone {
  /** `region/zone/sub_zone` of the node; undefined where the bootstrap says none. */
  readonly locality: string | undefined;
  /** The cluster that `cluster_manager.local_cluster_name` names; undefined until it has its endpoints. */
  readonly proxies: () => LocalProxies | undefined;
}

export interface LocalProxies {
  /** Another number for each change of endpoints or of their health. */
  readonly revision: number;
  readonly localities: readonly ZoneHosts[];
}

export interface ZoneHosts {
  /** `region/zone/sub_zone`, or '' where none was given. */
  readonly locality: string;
  readonly endpoints: readonly Endpoint[];
}

export interface ZoneRoutingOptions {
  readonly zone: LocalZone;
  readonly choice: ZoneChoice;
  readonly panicThresholdPercent: number;
  readonly random: Random;
  readonly stats: ZoneStats;
}

export interface ZoneStats {
  lbRecalculateZoneStructures: number;
  lbLocalClusterNotOk: number;
  lbZoneClusterTooSmall: number;
  lbZoneRoutingAllDirectly: number;
  lbZoneRoutingSampled: number;
  lbZoneRoutingCrossZone: number;
  lbZoneNoCapacityLeft: number;
}

/** Where one request goes: the name of a locality, to any of them, or nowhere as the local proxies are in panic. */
export type ZonePick = { readonly locality: string } | 'anywhere' | 'localPanic';

type Plan =
  | { readonly kind: 'anywhere' }
  | { readonly kind: 'direct' }
  /** `capacities` are sums: what this locality and those before it can take beyond what their own proxies send them. */
  | { readonly kind: 'residual'; readonly localShare: number; readonly capacities: readonly number[] };

const WHOLE = 10_000;

/**
 * Keeps requests in the zone of this proxy as far as that leaves no zone with more than its share: a zone with a fifth of the proxies and a
 * fifth of the endpoints sends nothing elsewhere; one with more proxies than endpoints sends the rest to zones that have room.
 * Of the first priority only. Source: envoy ZoneAwareLoadBalancerBase::regenerateLocalityRoutingStructures (1.40).
 */
export class ZoneRouting {
  readonly #options: ZoneRoutingOptions;
  readonly #zones: readonly Zone[];
  readonly #localName: string | undefined;
  #proxies: LocalProxies | undefined;
  #revision = -1;
  #plan: Plan = { kind: 'anywhere' };
  #isLocalPanic = false;

  /** `upstream`: the endpoints of the first priority. */
  constructor(upstream: readonly ZoneHosts[], options: ZoneRoutingOptions) {
    this.#options = options;
    this.#localName = options.zone.locality;
    this.#zones = zonesOf(upstream, this.#localName);
  }

  pick(): ZonePick {
    this.#refresh();
    const { choice, random, stats } = this.#options;
    if (this.#plan.kind === 'anywhere' || random() * 100 >= choice.routingEnabledPercent) return 'anywhere';
    if (this.#isLocalPanic) {
      stats.lbLocalClusterNotOk++;
      return 'localPanic';
    }
    return this.#zones[this.#pickIndex(this.#plan)] as Zone;
  }

  #pickIndex(plan: Exclude<Plan, { kind: 'anywhere' }>): number {
    const { random, stats } = this.#options;
    if (plan.kind === 'direct') {
      stats.lbZoneRoutingAllDirectly++;
      return 0;
    }
    if (random() * WHOLE < plan.localShare) {
      stats.lbZoneRoutingSampled++;
      return 0;
    }
    stats.lbZoneRoutingCrossZone++;
    const total = plan.capacities[plan.capacities.length - 1] ?? 0;
    if (total === 0) {
      // Only what rounding leaves over.
      stats.lbZoneNoCapacityLeft++;
      return Math.floor(random() * plan.capacities.length);
    }
    const point = random() * total;
    return plan.capacities.findIndex((upTo) => point < upTo);
  }

  /** The local proxies change without this cluster's knowing. */
  #refresh(): void {
    const proxies = this.#options.zone.proxies();
    const revision = proxies?.revision ?? 0;
    if (proxies === this.#proxies && revision === this.#revision) return;
    this.#proxies = proxies;
    this.#revision = revision;
    this.#options.stats.lbRecalculateZoneStructures++;
    const local = zonesOf(proxies?.localities ?? [], this.#localName);
    this.#plan = this.#planFor(local);
    this.#isLocalPanic = isInPanic(local, this.#options.panicThresholdPercent);
  }

  #planFor(local: readonly Zone[]): Plan {
    const { choice, stats } = this.#options;
    const anywhere: Plan = { kind: 'anywhere' };
    if (this.#zones.length < 2 || local.length < 2) return anywhere;
    if (local[0]?.locality !== this.#localName) {
      stats.lbLocalClusterNotOk++;
      return anywhere;
    }
    if (healthyIn(this.#zones) < choice.minClusterSize) {
      stats.lbZoneClusterTooSmall++;
      return anywhere;
    }
    return planOf(this.#zones, local);
  }
}

interface Zone {
  readonly locality: string;
  readonly eligible: number;
  readonly healthy: number;
  readonly degraded: number;
}

/** By locality, the own one first. */
function zonesOf(groups: readonly ZoneHosts[], own: string | undefined): readonly Zone[] {
  const zones = new Map<string, { locality: string; eligible: number; healthy: number; degraded: number }>();
  for (const { locality, endpoints } of groups) {
    if (endpoints.length === 0) continue;
    const name = zoneName(locality);
    const zone = zones.get(name) ?? { locality: name, eligible: 0, healthy: 0, degraded: 0 };
    zones.set(name, zone);
    for (const { isExcluded, availability } of endpoints) {
      if (!isExcluded) zone.eligible++;
      if (availability === 'healthy') zone.healthy++;
      else if (availability === 'degraded') zone.degraded++;
    }
  }
  return [...zones.values()].sort((a, b) => Number(b.locality === own) - Number(a.locality === own) || (a.locality < b.locality ? -1 : 1));
}

/** Endpoints without a locality are in one whose parts are all empty. */
export function zoneName(locality: string): string {
  return locality === '' ? '//' : locality;
}

function healthyIn(zones: readonly Zone[]): number {
  return zones.reduce((sum, { healthy }) => sum + healthy, 0);
}

function isInPanic(zones: readonly Zone[], thresholdPercent: number): boolean {
  const eligible = zones.reduce((sum, zone) => sum + zone.eligible, 0);
  const available = zones.reduce((sum, zone) => sum + zone.healthy + zone.degraded, 0);
  return (eligible === 0 ? 0 : (100 * available) / eligible) < thresholdPercent;
}

/** The shares are whole numbers of ten thousand, rounded down as Envoy does. */
function planOf(upstream: readonly Zone[], local: readonly Zone[]): Plan {
  const share = (count: number, total: number): number => (total === 0 ? 0 : Math.floor((WHOLE * count) / total));
  const proxies = new Map(local.map(({ locality, healthy }) => [locality, healthy]));
  const [upstreamTotal, localTotal] = [healthyIn(upstream), healthyIn(local)];
  const shares = upstream.map(({ locality, healthy }) => ({
    upstream: share(healthy, upstreamTotal),
    local: healthy === 0 ? 0 : share(proxies.get(locality) ?? 0, localTotal),
  }));
  const own = upstream[0]?.locality === local[0]?.locality ? shares[0] : undefined;
  if (own !== undefined && own.upstream > 0 && own.upstream >= own.local) return { kind: 'direct' };
  const localShare = own === undefined || own.local === 0 ? 0 : Math.floor((own.upstream * WHOLE) / own.local);
  let upTo = 0;
  const capacities = shares.map((each) => {
    if (each !== own) upTo += Math.max(0, each.upstream - each.local);
    return upTo;
  });
  return { kind: 'residual', localShare, capacities };
}
