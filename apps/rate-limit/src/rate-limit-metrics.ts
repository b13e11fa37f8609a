import { createMetricRegistry, type MetricRegistry } from '@mizzen/telemetry';
import type { Counters } from './counters.ts';

/** `unlimited`: no descriptor of the question said a limit. */
export type Outcome = 'ok' | 'over_limit' | 'unlimited';

export interface RateLimitMetrics {
  readonly registry: MetricRegistry;
  count(outcome: Outcome): void;
}

export function createRateLimitMetrics(counters: Counters): RateLimitMetrics {
  const registry = createMetricRegistry();
  const requests = registry.counter({
    name: 'mizzen_rate_limit_requests_total',
    help: 'Questions of proxies by answer.',
    labels: ['code'],
  });
  const kept = registry.gauge({ name: 'mizzen_rate_limit_counters', help: 'Counters that are kept.' }).series();
  const forgotten = registry
    .counter({ name: 'mizzen_rate_limit_forgotten_total', help: 'Counters given up while they counted, for want of room.' })
    .series();
  registry.onCollect(() => {
    kept.value = counters.size;
    forgotten.value = counters.forgotten;
  });
  const series = { ok: requests.series('ok'), over_limit: requests.series('over_limit'), unlimited: requests.series('unlimited') };
  return { registry, count: (outcome) => void series[outcome].value++ };
}
