/** What the spread over priorities is calculated from: counts of endpoints, or sums of weights. */
export interface PriorityHealth {
  readonly hosts: number;
  readonly healthy: number;
  readonly degraded: number;
  /** As the three above, but always counts: what panic is judged by. */
  readonly hostCount: number;
  readonly healthyCount: number;
  readonly degradedCount: number;
}

/** Percentages of the load; those of all priorities, healthy and degraded, add up to 100 (0 where there is no priority). */
export interface PriorityLoad {
  readonly healthyPercent: number;
  readonly degradedPercent: number;
  readonly isPanic: boolean;
}

export interface PriorityLoadOptions {
  /** Percent, 140 unless the load assignment says otherwise: at 72 % healthy endpoints a priority still takes all. */
  readonly overprovisioningPercent: number;
  readonly panicThresholdPercent: number;
}

/**
 * How much of the load each priority gets: as much as its available endpoints can take, the rest spills over to the next; and where so
 * few are available that all its endpoints are used. Source: envoy LoadBalancerBase (1.40); docs "Priority levels", "Panic threshold".
 */
export function priorityLoads(priorities: readonly PriorityHealth[], options: PriorityLoadOptions): readonly PriorityLoad[] {
  const availability = (available: number, { hosts }: PriorityHealth): number =>
    hosts === 0 ? 0 : Math.min(100, Math.floor((options.overprovisioningPercent * available) / hosts));
  const healthy = priorities.map((priority) => availability(priority.healthy, priority));
  const degraded = priorities.map((priority) => availability(priority.degraded, priority));
  const total = Math.min(100, sum(healthy) + sum(degraded));
  if (total === 0 && options.panicThresholdPercent === 0)
    return priorities.map((_, index) => ({ healthyPercent: index === 0 ? 100 : 0, degradedPercent: 0, isPanic: false }));
  const isPanic = priorities.map((priority) => total !== 100 && isInPanic(priority, options.panicThresholdPercent));
  if (isPanic.every(Boolean)) return totalPanicLoads(priorities);
  const toHealthy = distribute(healthy, 100, total);
  const toDegraded = distribute(degraded, toHealthy.left, total);
  // What is left is rounding: it goes to the first that takes anything.
  const [firstHealthy, firstDegraded] = [healthy.findIndex((value) => value > 0), degraded.findIndex((value) => value > 0)];
  if (firstHealthy >= 0) (toHealthy.loads[firstHealthy] as number) += toDegraded.left;
  else if (firstDegraded >= 0) (toDegraded.loads[firstDegraded] as number) += toDegraded.left;
  return priorities.map((_, index) => ({
    healthyPercent: toHealthy.loads[index] as number,
    degradedPercent: toDegraded.loads[index] as number,
    isPanic: isPanic[index] as boolean,
  }));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function distribute(availability: readonly number[], load: number, total: number): { readonly loads: number[]; readonly left: number } {
  let left = load;
  const loads = availability.map((available) => {
    const given = Math.min(left, Math.floor((available * 100) / total));
    left -= given;
    return given;
  });
  return { loads, left };
}

function isInPanic({ hostCount, healthyCount, degradedCount }: PriorityHealth, thresholdPercent: number): boolean {
  const available = hostCount === 0 ? 0 : (100 * (healthyCount + degradedCount)) / hostCount;
  return available < thresholdPercent;
}

/** Nobody is well anywhere: in proportion to the numbers of endpoints. */
function totalPanicLoads(priorities: readonly PriorityHealth[]): readonly PriorityLoad[] {
  const total = sum(priorities.map(({ hostCount }) => hostCount));
  const loads = priorities.map(({ hostCount }, index) => (total === 0 ? (index === 0 ? 100 : 0) : Math.floor((100 * hostCount) / total)));
  const first = priorities.findIndex(({ hostCount }) => hostCount > 0);
  if (first >= 0) (loads[first] as number) += 100 - sum(loads);
  return loads.map((healthyPercent) => ({ healthyPercent, degradedPercent: 0, isPanic: true }));
}
