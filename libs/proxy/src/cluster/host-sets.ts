import type { LoadBalancerContext } from '../contract.ts';
import { EdfScheduler } from './edf-scheduler.ts';
import type { Endpoint } from './endpoint.ts';
import type { HostChoice } from './lb-policy.ts';
import {
  createHashBalancer,
  createLoadBalancer,
  type LoadBalancer,
  type LoadBalancerTools,
  type WeightedHost,
  wideHash,
} from './load-balancers.ts';
import { type PriorityHealth, type PriorityLoad, priorityLoads } from './priority-loads.ts';
import { type LocalZone, ZoneRouting, type ZoneStats, zoneName } from './zone-routing.ts';

/** The endpoints of one locality in one priority. */
export interface HostLocality {
  readonly priority: number;
  /** `region/zone/sub_zone`, or ''. */
  readonly locality: string;
  /** 0 where none was given: under locality weights it then gets nothing. */
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
}

export interface HostSetsOptions extends LoadBalancerTools {
  readonly choice: HostChoice;
  readonly panicThresholdPercent: number;
  readonly overprovisioningPercent: number;
  /** Priorities are judged by the weights of their endpoints, not their numbers. */
  readonly isHealthWeighted: boolean;
  /** How often an endpoint that is not wanted is passed over. */
  readonly maxReselections: number;
  readonly stats: { lbHealthyPanic: number } & ZoneStats;
  /** undefined where requests go to any zone. */
  readonly zone?: LocalZone | undefined;
}

type Availability = 'healthy' | 'degraded' | 'all';

/**
 * Endpoints by priority, health and locality, and the choice among them: first the priority by its share of the load, then the locality by
 * its weight, then the endpoint by the policy. Immutable but for the turns of its balancers: a change of health makes another one.
 * Source: envoy ZoneAwareLoadBalancerBase::hostSourceToUse, ThreadAwareLoadBalancerBase (1.40).
 */
export class HostSets {
  readonly #options: HostSetsOptions;
  readonly #isHashed: boolean;
  /** In the order in which the load is given away; the last one ends at 100. */
  readonly #shares: readonly LoadShare[];

  constructor(localities: readonly HostLocality[], options: HostSetsOptions) {
    this.#options = options;
    this.#isHashed = options.choice.policy.kind === 'ringHash' || options.choice.policy.kind === 'maglev';
    const count = localities.reduce((most, { priority }) => Math.max(most, priority + 1), 0);
    const priorities = Array.from({ length: count }, (_, priority) => {
      const ofPriority = count === 1 ? localities : localities.filter((each) => each.priority === priority);
      return new PriorityHosts(ofPriority, options, priority === 0 ? this.#zoneRouting(ofPriority) : undefined);
    });
    const loads = priorityLoads(
      priorities.map((priority) => priority.health(options.isHealthWeighted)),
      options,
    );
    this.#shares = loadShares(priorities, loads);
  }

  #zoneRouting(localities: readonly HostLocality[]): ZoneRouting | undefined {
    const { zone, choice, ...tools } = this.#options;
    if (zone === undefined || this.#isHashed) return undefined;
    return new ZoneRouting(localities, { ...tools, zone, choice: choice.zone });
  }

  /** undefined where the chosen priority has nothing that may be used. */
  choose(context: LoadBalancerContext): Endpoint | undefined {
    if (this.#shares.length === 0) return undefined;
    const { choice, maxReselections, stats } = this.#options;
    let endpoint: Endpoint | undefined;
    let share = this.#shareFor(this.#isHashed ? context.hash : undefined);
    for (let attempt = 0; attempt <= maxReselections; attempt++) {
      // A hash stays in its priority.
      if (attempt > 0 && !this.#isHashed) share = this.#shareFor(undefined);
      if (share.availability === 'all') {
        stats.lbHealthyPanic++;
        if (choice.failsTrafficOnPanic) return undefined;
      }
      endpoint = share.hosts.choose(share.availability, context, attempt);
      if (endpoint === undefined || context.isExcluded === undefined || !context.isExcluded(endpoint)) return endpoint;
    }
    return endpoint;
  }

  #shareFor(hash: number | bigint | undefined): LoadShare {
    const shares = this.#shares;
    if (shares.length === 1) return shares[0] as LoadShare;
    const point = hash === undefined ? Math.floor(this.#options.random() * 100) + 1 : Number(wideHash(hash) % 100n) + 1;
    return shares.find(({ upTo }) => point <= upTo) ?? (shares[shares.length - 1] as LoadShare);
  }
}

interface LoadShare {
  readonly hosts: PriorityHosts;
  readonly availability: Availability;
  /** This share and those before it, in percent. */
  readonly upTo: number;
}

/** First what healthy endpoints take, then degraded ones. */
function loadShares(priorities: readonly PriorityHosts[], loads: readonly PriorityLoad[]): readonly LoadShare[] {
  const shares: LoadShare[] = [];
  let upTo = 0;
  const take = (index: number, percent: number, availability: Availability): void => {
    if (percent === 0) return;
    upTo += percent;
    shares.push({ hosts: priorities[index] as PriorityHosts, availability: loads[index]?.isPanic === true ? 'all' : availability, upTo });
  };
  for (const [index, { healthyPercent }] of loads.entries()) take(index, healthyPercent, 'healthy');
  for (const [index, { degradedPercent }] of loads.entries()) take(index, degradedPercent, 'degraded');
  return shares;
}

/** The endpoints of one priority. Balancers are made when they are first asked. */
class PriorityHosts {
  readonly #localities: readonly HostLocality[];
  readonly #options: HostSetsOptions;
  readonly #zones: ZoneRouting | undefined;
  readonly #sources = new Map<Availability, Source>();

  constructor(localities: readonly HostLocality[], options: HostSetsOptions, zones: ZoneRouting | undefined) {
    this.#localities = localities;
    this.#options = options;
    this.#zones = zones;
  }

  health(isWeighted: boolean): PriorityHealth {
    const counts = { hosts: 0, healthy: 0, degraded: 0, hostCount: 0, healthyCount: 0, degradedCount: 0 };
    for (const { endpoints } of this.#localities) {
      for (const endpoint of endpoints) {
        if (endpoint.isExcluded) continue;
        const weight = isWeighted ? endpoint.weight : 1;
        counts.hosts += weight;
        counts.hostCount++;
        const { availability } = endpoint;
        if (availability === 'healthy') {
          counts.healthy += weight;
          counts.healthyCount++;
        } else if (availability === 'degraded') {
          counts.degraded += weight;
          counts.degradedCount++;
        }
      }
    }
    return counts;
  }

  choose(availability: Availability, context: LoadBalancerContext, attempt: number): Endpoint | undefined {
    let source = this.#sources.get(availability);
    if (source === undefined) {
      source = createSource(this.#localities, availability, { ...this.#options, zones: this.#zones });
      this.#sources.set(availability, source);
    }
    return source.choose(context, attempt);
  }
}

interface Source {
  choose(context: LoadBalancerContext, attempt: number): Endpoint | undefined;
}

const NOTHING: Source = { choose: () => undefined };

function createSource(
  localities: readonly HostLocality[],
  availability: Availability,
  options: HostSetsOptions & { readonly zones: ZoneRouting | undefined },
): Source {
  const { policy, isLocalityWeighted } = options.choice;
  const available = localities.map(({ endpoints, weight, locality }) => ({
    weight,
    locality,
    all: endpoints,
    endpoints: availability === 'all' ? endpoints : endpoints.filter((endpoint) => endpoint.availability === availability),
  }));
  const isByLocality = isLocalityWeighted && available.some(({ weight }) => weight > 0);
  if (policy.kind === 'ringHash' || policy.kind === 'maglev') {
    const hosts = isByLocality
      ? weightedByLocality(available)
      : shares(
          available.flatMap(({ endpoints }) => endpoints),
          1,
        );
    return hosts.length === 0 ? NOTHING : createHashBalancer(hosts, policy, options);
  }
  // Panic knows no localities.
  if (!isByLocality || availability === 'all') {
    const endpoints =
      available.length === 1 ? (available[0] as (typeof available)[0]).endpoints : available.flatMap((locality) => locality.endpoints);
    const anywhere = endpoints.length === 0 ? NOTHING : createLoadBalancer(endpoints, policy, options);
    if (options.zones === undefined || availability === 'all') return anywhere;
    const ofZone = (name: string): readonly Endpoint[] =>
      available.flatMap((locality) => (zoneName(locality.locality) === name ? locality.endpoints : []));
    return new ZoneSource(options.zones, anywhere, {
      failsTrafficOnPanic: options.choice.failsTrafficOnPanic,
      balancerOf: (name) => {
        const hosts = ofZone(name);
        return hosts.length === 0 ? NOTHING : createLoadBalancer(hosts, policy, options);
      },
    });
  }
  const weighted = available
    .map((locality) => ({ ...locality, effective: effectiveWeight(locality, options.overprovisioningPercent) }))
    .filter(({ effective }) => effective > 0)
    .map(({ endpoints, effective }): { weight: number; balancer: LoadBalancer } => ({
      weight: effective,
      balancer: createLoadBalancer(endpoints, policy, options),
    }));
  if (weighted.length === 0) return NOTHING;
  const scheduler = new EdfScheduler(weighted, ({ weight }) => weight, options.random);
  return { choose: (context, attempt) => scheduler.pick().balancer.choose(context, attempt) };
}

interface ZoneSourceOptions {
  readonly failsTrafficOnPanic: boolean;
  readonly balancerOf: (locality: string) => Source;
}

/** The zone first, then the endpoint by the policy. */
class ZoneSource implements Source {
  readonly #zones: ZoneRouting;
  readonly #anywhere: Source;
  readonly #options: ZoneSourceOptions;
  /** By locality; made when one is first chosen. */
  readonly #sources = new Map<string, Source>();

  constructor(zones: ZoneRouting, anywhere: Source, options: ZoneSourceOptions) {
    this.#zones = zones;
    this.#anywhere = anywhere;
    this.#options = options;
  }

  choose(context: LoadBalancerContext, attempt: number): Endpoint | undefined {
    const pick = this.#zones.pick();
    if (pick === 'localPanic' && this.#options.failsTrafficOnPanic) return undefined;
    if (pick === 'anywhere' || pick === 'localPanic') return this.#anywhere.choose(context, attempt);
    let source = this.#sources.get(pick.locality);
    if (source === undefined) {
      source = this.#options.balancerOf(pick.locality);
      this.#sources.set(pick.locality, source);
    }
    return source.choose(context, attempt);
  }
}

/** A locality with few healthy endpoints gets less. Source: envoy LocalityWrr::effectiveLocalityWeight (1.40). */
function effectiveWeight(
  { all, endpoints, weight }: { readonly all: readonly Endpoint[]; readonly endpoints: readonly Endpoint[]; readonly weight: number },
  overprovisioningPercent: number,
): number {
  const eligible = all.reduce((count, endpoint) => count + (endpoint.isExcluded ? 0 : 1), 0);
  if (eligible === 0 || endpoints.length === 0) return 0;
  return weight * Math.min(1, (overprovisioningPercent / 100) * (endpoints.length / eligible));
}

function shares(endpoints: readonly Endpoint[], whole: number): readonly WeightedHost[] {
  const total = endpoints.reduce((sum, endpoint) => sum + endpoint.weight, 0);
  return endpoints.map((endpoint) => ({ endpoint, weight: (endpoint.weight * whole) / total }));
}

function weightedByLocality(
  localities: readonly { readonly weight: number; readonly endpoints: readonly Endpoint[] }[],
): readonly WeightedHost[] {
  const total = localities.reduce((sum, { weight }) => sum + weight, 0);
  return localities.flatMap(({ weight, endpoints }) => (weight === 0 ? [] : shares(endpoints, weight / total)));
}
