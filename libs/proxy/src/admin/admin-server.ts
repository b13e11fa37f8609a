import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Clock, errorMessage, LOG_LEVELS, type Logger, listenError } from '@mizzen/core';
import { type MetricRegistry, PROMETHEUS_TYPE } from '@mizzen/telemetry';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import type { Address } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { ClusterManager } from '../cluster/cluster-manager.ts';
import { addressText, compileAddress } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import type { AccessLogs } from '../observe/access-logs.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import type { ProxyResources } from '../xds/proxy-resources.ts';
import { exportProxyStats, proxyStatsText } from './proxy-stats.ts';

export interface AdminOptions {
  readonly bootstrap: Bootstrap;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  readonly registry: MetricRegistry;
  readonly resources: ProxyResources;
  readonly clusters: ClusterManager;
  readonly listeners: ListenerManager;
  readonly secrets: SecretStore;
  readonly accessLogs: AccessLogs;
  readonly state: () => 'LIVE' | 'DRAINING' | 'INITIALIZING';
  readonly drain: (options: { readonly inboundOnly: boolean }) => void;
  readonly stopAccepting: (options: { readonly inboundOnly: boolean }) => void;
  readonly quit: () => void;
}

/** What a handler answers; a string is text/plain with 200. */
interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly body: string;
}

interface Route {
  readonly method: 'GET' | 'POST';
  readonly help: string;
  readonly handle: (query: URLSearchParams) => Answer | Promise<Answer>;
}

const JSON_TYPE = 'application/json';

/** Envoy's admin interface. Source: envoy docs, "Administration interface" (1.40). What changes something is POST. */
export class AdminServer {
  readonly #options: AdminOptions;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #startedMs: number;
  #server: Server | undefined;
  #address: SocketAddress | undefined;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#startedMs = options.clock.now();
    this.#routes = new Map(Object.entries(this.#defineRoutes()));
  }

  /** Where it listens, or undefined. */
  get address(): SocketAddress | undefined {
    return this.#address;
  }

  async start(message: Address): Promise<void> {
    const address = compileAddress(message);
    if (address.kind === 'internal') throw new Error('admin.address cannot be an internal address');
    const server = createServer((request, response) => void this.#answer(request, response));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (thrown) => reject(listenError(thrown, addressText(address), 'the admin interface')));
      server.once('listening', resolve);
      if (address.kind === 'pipe') server.listen(address.path);
      else server.listen(address.port, address.host);
    });
    const bound = server.address();
    this.#address = bound !== null && typeof bound === 'object' ? { kind: 'ip', host: bound.address, port: bound.port } : address;
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#dispatch(request);
    } catch (thrown) {
      answer = { status: 500, body: `${errorMessage(thrown)}\n` };
    }
    response.writeHead(answer.status ?? 200, {
      'content-type': answer.type ?? 'text/plain; charset=UTF-8',
      'cache-control': 'no-cache, max-age=0',
      'x-content-type-options': 'nosniff',
    });
    response.end(answer.body);
  }

  #dispatch(request: IncomingMessage): Answer | Promise<Answer> {
    const url = URL.parse(request.url ?? '/', 'http://admin');
    const route = this.#routes.get(url?.pathname ?? '');
    if (url === null || route === undefined) return { status: 404, body: `no such path; these exist:\n${this.#help()}` };
    // A page in a browser can send GET requests here, and nothing that GET does may matter.
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (method !== route.method) return { status: 405, body: `use ${route.method}\n` };
    return route.handle(url.searchParams);
  }

  #help(): string {
    return [...this.#routes].map(([path, route]) => `  ${path}${route.method === 'POST' ? ' (POST)' : ''}: ${route.help}\n`).join('');
  }

  #defineRoutes(): Readonly<Record<string, Route>> {
    const options = this.#options;
    const get = (help: string, handle: Route['handle']): Route => ({ method: 'GET', help, handle });
    const post = (help: string, handle: Route['handle']): Route => ({ method: 'POST', help, handle });
    return {
      '/': get('this text', () => ({ body: this.#help() })),
      '/help': get('this text', () => ({ body: this.#help() })),
      '/ready': get('LIVE with 200, anything else with 503', () => ({
        status: options.state() === 'LIVE' ? 200 : 503,
        body: `${options.state()}\n`,
      })),
      '/config_dump': get('configuration in force (?include_eds, ?resource=, ?name_regex=)', async (query) =>
        this.#dump(await import('./config-dump.ts'), query),
      ),
      '/clusters': get('clusters and their endpoints (?format=json)', async (query) => {
        const status = await import('./status.ts');
        return query.get('format') === 'json'
          ? { type: JSON_TYPE, body: status.clustersJson(options) }
          : { body: status.clustersText(options) };
      }),
      '/listeners': get('listeners and their addresses (?format=json)', async (query) => {
        const status = await import('./status.ts');
        return query.get('format') === 'json'
          ? { type: JSON_TYPE, body: status.listenersJson(options) }
          : { body: status.listenersText(options) };
      }),
      '/certs': get('certificates in use', async () => ({ type: JSON_TYPE, body: (await import('./status.ts')).certsJson(options) })),
      '/server_info': get('version, state, node', async () => ({
        type: JSON_TYPE,
        body: (await import('./status.ts')).serverInfoJson({ ...options, startedMs: this.#startedMs }),
      })),
      '/memory': get('memory of the process', async () => ({ type: JSON_TYPE, body: (await import('./status.ts')).memoryJson() })),
      '/stats': get('counters (?format=prometheus|json, ?filter=)', (query) => this.#stats(query)),
      '/stats/prometheus': get('counters as Prometheus reads them', () => this.#prometheus()),
      '/logging': post('log level (?level=)', (query) => this.#logging(query)),
      '/drain_listeners': post('drains (?inboundonly, ?graceful, ?skip_exit)', (query) => {
        const inboundOnly = query.has('inboundonly');
        options.drain({ inboundOnly });
        if (!query.has('graceful')) options.stopAccepting({ inboundOnly });
        return { body: 'OK\n' };
      }),
      '/reopen_logs': post('opens access log files anew', () => {
        options.accessLogs.reopen();
        return { body: 'OK\n' };
      }),
      '/quitquitquit': post('ends the process', () => {
        setImmediate(options.quit);
        return { body: 'OK\n' };
      }),
    };
  }

  #dump(dump: typeof import('./config-dump.ts'), query: URLSearchParams): Answer {
    const result = dump.configDump(this.#options, {
      includesEndpoints: query.has('include_eds'),
      resource: query.get('resource') ?? undefined,
      nameRegex: query.get('name_regex') ?? undefined,
      startedMs: this.#startedMs,
    });
    return 'error' in result ? { status: 400, body: `${result.error}\n` } : { type: JSON_TYPE, body: result.json };
  }

  #stats(query: URLSearchParams): Answer {
    if (query.get('format') === 'prometheus') return this.#prometheus();
    const filter = query.get('filter');
    const rows = proxyStatsText(this.#options).filter(([name]) => filter === null || name.includes(filter));
    if (query.get('format') === 'json')
      return { type: JSON_TYPE, body: JSON.stringify({ stats: rows.map(([name, value]) => ({ name, value })) }) };
    return { body: rows.map(([name, value]) => `${name}: ${value}\n`).join('') };
  }

  #prometheus(): Answer {
    return { type: PROMETHEUS_TYPE, body: this.#options.registry.renderPrometheus() + exportProxyStats(this.#options) };
  }

  // Envoy sets the level of each component; here there is one logger.
  #logging(query: URLSearchParams): Answer {
    const asked = query.get('level') ?? [...query.values()][0];
    const level = asked === 'warning' ? 'warn' : asked === 'critical' ? 'fatal' : asked === 'off' ? 'silent' : asked;
    if (level !== undefined) {
      const known = LOG_LEVELS.find((candidate) => candidate === level);
      if (known === undefined) return { status: 400, body: `unknown level ${level}; use one of ${LOG_LEVELS.join(', ')}\n` };
      this.#options.logger.level = known;
    }
    return { body: `active loggers:\n  proxy: ${this.#options.logger.level}\n` };
  }
}
