import { type MetricRegistry, PROMETHEUS_TYPE } from '@mizzen/telemetry';
import { RE2JS } from 're2js';
import type { HistogramIntervals } from '../observe/histogram-intervals.ts';
import type { StatRegistry } from '../observe/stat-registry.ts';
import type { StatsPolicy } from '../observe/stat-tags.ts';
import {
  type HistogramView,
  readStats,
  type StatKind,
  type StatsQuery,
  statsJson,
  statsPrometheus,
  statsText,
} from '../observe/stats-view.ts';
import { type Answer, badRequest, JSON_TYPE, OK } from './answer.ts';

export interface StatsEndpointOptions {
  readonly stats: StatRegistry;
  readonly policy: StatsPolicy;
  /** What histograms recorded of late; see its head. */
  readonly intervals: HistogramIntervals;
  readonly clock: { monotonic(): number };
  /** Istio's metrics, beside Envoy's. */
  readonly registry: MetricRegistry;
}

const KINDS: Readonly<Record<string, readonly StatKind[] | undefined>> = {
  all: undefined,
  counters: ['counter'],
  gauges: ['gauge'],
  histograms: ['histogram'],
  textreadouts: [],
};

const VIEWS: Readonly<Record<string, HistogramView>> = {
  '': 'quantiles',
  none: 'quantiles',
  summary: 'quantiles',
  detailed: 'detailed',
  cumulative: 'cumulative',
  disjoint: 'disjoint',
};

/** GET /stats. Source: envoy docs, "Administration interface" (1.40). */
export function answerStats(query: URLSearchParams, options: StatsEndpointOptions): Answer {
  const format = query.get('format') ?? 'text';
  if (format === 'prometheus') return answerPrometheus(query, options);
  const asked = compileQuery(query);
  if (typeof asked === 'string') return badRequest(asked);
  const view = VIEWS[query.get('histogram_buckets') ?? ''];
  if (view === undefined) return badRequest('usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n');
  if (format !== 'text' && format !== 'json') return badRequest('usage: /stats?format=(text|json|prometheus)\n');
  const stats = readStats(options.stats, options.policy, asked);
  const recent = options.intervals.look(options.clock.monotonic());
  if (format === 'json') {
    const json = statsJson(stats, view, recent);
    return { type: JSON_TYPE, body: query.has('pretty') ? JSON.stringify(json, undefined, 1) : JSON.stringify(json) };
  }
  return { body: statsText(stats, view, recent) };
}

/** GET /stats/prometheus: Envoy's statistics and Istio's metrics. */
export function answerPrometheus(query: URLSearchParams, options: StatsEndpointOptions): Answer {
  const asked = compileQuery(query);
  if (typeof asked === 'string') return badRequest(asked);
  const buckets = query.get('histogram_buckets') ?? '';
  if (!['', 'cumulative', 'summary'].includes(buckets))
    return badRequest('usage: /stats/prometheus?histogram_buckets=(cumulative|summary)\n');
  const istio = options.registry.renderPrometheus(asked.matches);
  const stats = readStats(options.stats, options.policy, asked);
  return { type: PROMETHEUS_TYPE, body: istio + statsPrometheus(stats, options.policy, buckets === 'summary') };
}

/** POST /reset_counters. */
export function resetCounters(stats: StatRegistry): Answer {
  for (const { names, values, clearMore } of stats.scopes()) {
    const fields = values as Record<string, unknown>;
    for (const field in names.counters) {
      // What is computed when somebody looks cannot be set.
      if (Object.getOwnPropertyDescriptor(fields, field)?.writable === true) fields[field] = 0;
    }
    clearMore?.();
  }
  return OK;
}

/** A text is what is wrong with the query. */
function compileQuery(query: URLSearchParams): StatsQuery | string {
  const type = (query.get('type') ?? 'all').toLowerCase();
  if (!Object.hasOwn(KINDS, type)) return 'invalid &type= param\n';
  const filter = query.get('filter') ?? '';
  let matches: ((name: string) => boolean) | undefined;
  if (filter !== '') {
    // In linear time, whatever is asked for.
    let pattern: RE2JS;
    try {
      pattern = RE2JS.compile(filter);
    } catch (thrown) {
      return `Invalid re2 regex: ${(thrown as Error).message}\n`;
    }
    const found = (name: string): boolean => pattern.matcher(name).find();
    matches = query.has('invert_filter') ? (name) => !found(name) : found;
  }
  return { kinds: KINDS[type], usedOnly: query.has('usedonly'), matches };
}
