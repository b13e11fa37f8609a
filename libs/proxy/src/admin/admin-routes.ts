import type { Clock, Logger } from '@mizzen/core';
import type { MetricRegistry } from '@mizzen/telemetry';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { ClusterManager } from '../cluster/cluster-manager.ts';
import type { RuntimeValues } from '../config/runtime-values.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import type { AccessLogs } from '../observe/access-logs.ts';
import { HistogramIntervals } from '../observe/histogram-intervals.ts';
import type { StatRegistry } from '../observe/stat-registry.ts';
import type { StatsPolicy } from '../observe/stat-tags.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import type { ProxyResources } from '../xds/proxy-resources.ts';
import { type Answer, badRequest, JSON_TYPE, jsonAnswer, OK } from './answer.ts';
import { answerLogging } from './log-levels.ts';
import { heapDump, Profiles } from './profiles.ts';
import { answerPrometheus, answerStats, resetCounters } from './stats-endpoint.ts';

export interface AdminOptions {
  readonly bootstrap: Bootstrap;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  readonly registry: MetricRegistry;
  readonly stats: StatRegistry;
  readonly statsPolicy: StatsPolicy;
  readonly runtime: RuntimeValues;
  readonly resources: ProxyResources;
  readonly clusters: ClusterManager;
  readonly listeners: ListenerManager;
  readonly secrets: SecretStore;
  readonly accessLogs: Pick<AccessLogs, 'reopen'>;
  /** What another process must have too that takes the place of this one, or `disabled`. */
  readonly hotRestartVersion: string;
  /** When the first of the processes started that handed their listeners on to this one. */
  readonly firstStartedMs?: number | undefined;
  readonly state: () => 'LIVE' | 'DRAINING' | 'INITIALIZING';
  readonly drain: (options: { readonly inboundOnly: boolean }) => void;
  readonly stopAccepting: (options: { readonly inboundOnly: boolean }) => void;
  /** Brings in what other event loops counted. */
  readonly collect: () => Promise<void>;
  /** How long a graceful drain leaves listeners open. */
  readonly drainTimeMs: number;
  /** /healthcheck/fail and /healthcheck/ok. */
  readonly setHealthy: (isHealthy: boolean) => void;
  readonly quit: () => void;
  /** Has the other event loops do the same. */
  readonly tellOtherLoops: (path: string, query: URLSearchParams) => void;
}

export interface AdminParam {
  readonly name: string;
  readonly help: string;
  /** It says something by being there, whatever its value. */
  readonly isFlag?: boolean;
}

/** One path of the admin interface. */
export interface AdminRoute {
  readonly help: string;
  readonly params?: readonly AdminParam[];
  /** It changes something, so that only POST is taken. */
  readonly isChange?: boolean;
  readonly takesForm?: boolean;
  /** Each event loop has what it changes. */
  readonly isForAllLoops?: boolean;
  readonly handle: (query: URLSearchParams) => Answer | Promise<Answer>;
}

const FILTER = { name: 'filter', help: 'Regular expression (RE2) on the name' };
const FORMAT = { name: 'format', help: 'One of (text, json)' };
const ENABLE = [{ name: 'enable', help: 'One of (y, n)' }];
const STATS_PARAMS = [
  { name: 'usedonly', help: 'Only what is not 0', isFlag: true },
  FILTER,
  { name: 'invert_filter', help: 'Invert the filter', isFlag: true },
];

/** Every path but `/` and `/help`. Source: envoy docs, "Administration interface" (1.40). */
export function defineAdminRoutes(options: AdminOptions & { readonly startedMs: number }): Readonly<Record<string, AdminRoute>> {
  return { ...stateRoutes(options), ...statsRoutes(options), ...changeRoutes(options), ...profileRoutes() };
}

function stateRoutes(options: AdminOptions & { readonly startedMs: number }): Readonly<Record<string, AdminRoute>> {
  // What is asked for by people is loaded when they ask.
  const status = () => import('./status.ts');
  const isJson = (query: URLSearchParams): boolean => query.get('format') === 'json';
  return {
    '/ready': {
      help: 'print server state, return 200 if LIVE, otherwise return 503',
      handle: () => ({ status: options.state() === 'LIVE' ? 200 : 503, body: `${options.state()}\n` }),
    },
    '/config_dump': {
      help: 'dump current configuration',
      params: [
        { name: 'resource', help: 'The list to dump: dynamic_listeners, dynamic_active_clusters, …' },
        { name: 'mask', help: 'A field mask: only these fields of the dump, or of each element of resource' },
        { name: 'name_regex', help: 'Only configurations whose names match (RE2)' },
        { name: 'include_eds', help: 'Endpoints too', isFlag: true },
      ],
      handle: async (query) => dumpAnswer(await import('./config-dump.ts'), query, options),
    },
    '/clusters': {
      help: 'upstream cluster status',
      params: [FORMAT, FILTER],
      handle: async (query) => {
        const text = (await status()).describeClusters(options, { isJson: isJson(query), filter: query.get('filter') ?? '' });
        return text === undefined
          ? badRequest('filter is not a valid RE2 expression\n')
          : { ...(isJson(query) ? { type: JSON_TYPE } : {}), body: text };
      },
    },
    '/listeners': {
      help: 'print listener info',
      params: [FORMAT],
      handle: async (query) =>
        isJson(query)
          ? { type: JSON_TYPE, body: (await status()).listenersJson(options) }
          : { body: (await status()).listenersText(options) },
    },
    '/certs': {
      help: 'print certs in use',
      handle: async () => ({ type: JSON_TYPE, body: (await status()).certsJson(options) }),
    },
    '/server_info': {
      help: 'print server version/status information',
      handle: async () => ({ type: JSON_TYPE, body: (await status()).serverInfoJson(options) }),
    },
    '/memory': {
      help: 'print current allocation/heap usage',
      handle: async () => ({ type: JSON_TYPE, body: (await status()).memoryJson() }),
    },
    '/init_dump': {
      help: 'what listeners and clusters wait for',
      handle: () => jsonAnswer(initDump(options)),
    },
    '/hot_restart_version': { help: 'print the hot restart compatibility version', handle: () => ({ body: options.hotRestartVersion }) },
    '/contention': {
      help: 'lock contention (there are no locks)',
      handle: () => ({ body: 'Mutex contention tracing is not enabled: this proxy has no mutexes.\n' }),
    },
    '/runtime': { help: 'print runtime values', handle: () => jsonAnswer(options.runtime.describe()) },
  };
}

const NO_LOOKUPS: Answer = { status: 501, body: 'recent lookups are not supported by this proxy: its statistics have no symbol table\n' };

function statsRoutes(options: AdminOptions): Readonly<Record<string, AdminRoute>> {
  const { stats, statsPolicy: policy, registry, clock } = options;
  const from = { stats, policy, registry, clock, intervals: new HistogramIntervals(stats) };
  return {
    '/stats': {
      help: 'print server stats',
      params: [
        ...STATS_PARAMS,
        { name: 'format', help: 'One of (text, json, prometheus)' },
        { name: 'type', help: 'One of (All, Counters, Histograms, Gauges, TextReadouts)' },
        { name: 'histogram_buckets', help: 'One of (cumulative, disjoint, detailed, summary)' },
      ],
      handle: async (query) => {
        await options.collect();
        return answerStats(query, from);
      },
    },
    '/stats/prometheus': {
      help: 'print server stats in prometheus format',
      params: [...STATS_PARAMS, { name: 'histogram_buckets', help: 'One of (cumulative, summary)' }],
      handle: async (query) => {
        await options.collect();
        return answerPrometheus(query, from);
      },
    },
    '/stats/recentlookups': { help: 'not kept: names of statistics are made when somebody looks', handle: () => NO_LOOKUPS },
    '/stats/recentlookups/enable': { help: 'not kept', isChange: true, handle: () => NO_LOOKUPS },
    '/stats/recentlookups/disable': { help: 'not kept', isChange: true, handle: () => NO_LOOKUPS },
    '/stats/recentlookups/clear': { help: 'not kept', isChange: true, handle: () => NO_LOOKUPS },
    '/reset_counters': {
      help: 'reset all counters to zero',
      isChange: true,
      isForAllLoops: true,
      handle: () => resetCounters(options.stats),
    },
  };
}

function changeRoutes(options: AdminOptions): Readonly<Record<string, AdminRoute>> {
  return {
    '/logging': {
      help: 'query/change logging levels',
      isChange: true,
      isForAllLoops: true,
      takesForm: true,
      params: [
        { name: 'level', help: 'Level of all loggers: trace, debug, info, warning, error, critical, off' },
        { name: 'paths', help: 'name1:level1,name2:level2' },
      ],
      handle: (query) => answerLogging(query, options.logger),
    },
    '/drain_listeners': {
      help: 'drain listeners',
      isChange: true,
      takesForm: true,
      params: [
        { name: 'graceful', help: 'Leave listeners open for the drain time', isFlag: true },
        { name: 'skip_exit', help: 'Drain connections and never close listeners', isFlag: true },
        { name: 'inboundonly', help: 'Only listeners whose traffic_direction is INBOUND', isFlag: true },
      ],
      handle: (query) => {
        const inboundOnly = query.has('inboundonly');
        options.drain({ inboundOnly });
        if (query.has('skip_exit')) return OK;
        if (query.has('graceful')) options.clock.after(options.drainTimeMs, () => options.stopAccepting({ inboundOnly }));
        else options.stopAccepting({ inboundOnly });
        return OK;
      },
    },
    '/healthcheck/fail': {
      help: 'cause the server to fail health checks',
      isChange: true,
      handle: () => {
        options.setHealthy(false);
        return OK;
      },
    },
    '/healthcheck/ok': {
      help: 'cause the server to pass health checks',
      isChange: true,
      handle: () => {
        options.setHealthy(true);
        return OK;
      },
    },
    '/reopen_logs': {
      help: 'reopen access logs',
      isChange: true,
      handle: () => {
        options.accessLogs.reopen();
        return OK;
      },
    },
    '/runtime_modify': {
      help: 'add or change runtime values (?key1=value1&key2=value2); an empty value takes an override away',
      isChange: true,
      takesForm: true,
      isForAllLoops: true,
      handle: (query) => modifyRuntime(query, options.runtime),
    },
    '/quitquitquit': {
      help: 'exit the server',
      isChange: true,
      handle: () => {
        setImmediate(options.quit);
        return OK;
      },
    },
  };
}

function profileRoutes(): Readonly<Record<string, AdminRoute>> {
  const profiles = new Profiles();
  return {
    '/cpuprofiler': {
      help: 'enable/disable the CPU profiler; disabling answers with the profile',
      isChange: true,
      takesForm: true,
      params: ENABLE,
      handle: (query) => profiles.cpu(query.get('enable')),
    },
    '/heapprofiler': {
      help: 'enable/disable the heap profiler; disabling answers with the profile',
      isChange: true,
      takesForm: true,
      params: ENABLE,
      handle: (query) => profiles.heap(query.get('enable')),
    },
    '/heap_dump': { help: 'all objects of the process as a heap snapshot', isChange: true, handle: heapDump },
  };
}

function modifyRuntime(query: URLSearchParams, runtime: RuntimeValues): Answer {
  if (query.size === 0) {
    return badRequest(
      'usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       or send the parameters as form values\n' +
        'use an empty value to remove a previously added override\n',
    );
  }
  return runtime.modify(query) ? OK : { status: 503, body: 'No admin layer specified' };
}

/** Source: envoy admin.v3.UnreadyTargetsDumps. */
function initDump({ listeners, clusters }: AdminOptions): object {
  const waiting = [
    ...listeners
      .list()
      .flatMap(({ name, isWarming }) => (isWarming ? [{ name: `listener ${name}`, target_names: ['routes or secrets'] }] : [])),
    ...clusters.warming().map(({ name }) => ({ name: `cluster ${name}`, target_names: ['endpoints or secrets'] })),
  ];
  return waiting.length === 0 ? {} : { unready_targets_dumps: waiting };
}

function dumpAnswer(
  dump: typeof import('./config-dump.ts'),
  query: URLSearchParams,
  options: AdminOptions & { readonly startedMs: number },
): Answer {
  const result = dump.configDump(options, {
    includesEndpoints: query.has('include_eds'),
    resource: query.get('resource') || undefined,
    mask: query.get('mask') || undefined,
    nameRegex: query.get('name_regex') || undefined,
    startedMs: options.startedMs,
  });
  return 'error' in result ? { status: result.status, body: `${result.error}\n` } : { type: JSON_TYPE, body: result.json };
}

/** `  /path (POST): help` a line, parameters below. */
export function helpText(routes: ReadonlyMap<string, AdminRoute>): string {
  let text = 'admin commands are:\n';
  for (const [path, { help, isChange, params = [] }] of routes) {
    text += `  ${path}${isChange === true ? ' (POST)' : ''}: ${help}\n`;
    for (const { name, help: meaning } of params) text += `      ${name}: ${meaning}\n`;
  }
  return text;
}
