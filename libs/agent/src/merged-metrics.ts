import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { type HttpAnswer, PROMETHEUS_TYPE } from '@mizzen/telemetry';
import type { AgentMetrics } from './agent-metrics.ts';
import { type GetResponse, sendGet } from './http-get.ts';
import type { PrometheusTarget } from './options.ts';

export interface MergedMetricsOptions {
  /** Where the proxy's admin port answers. */
  readonly admin: { readonly host: string; readonly port: number };
  readonly metrics: AgentMetrics;
  /** The program's own metrics; undefined where it has none to be merged. */
  readonly app: PrometheusTarget | undefined;
}

const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * The metrics of agent, proxy and program as one text. Whatever cannot be scraped is counted, and the rest is served: a program that is
 * away must not take the proxy's metrics along. Source: istio pilot/cmd/pilot-agent/status/server.go handleStats (1.32).
 */
export class MergedMetrics {
  readonly #options: MergedMetricsOptions;

  constructor(options: MergedMetricsOptions) {
    this.#options = options;
  }

  async collect(request: Pick<IncomingMessage, 'url' | 'headers'>): Promise<HttpAnswer> {
    const { admin, metrics, app } = this.#options;
    metrics.countScrape();
    const [proxy, program] = await Promise.all([
      this.#scrape('envoy', { ...admin, path: `/stats/prometheus${queryOf(request)}` }, request.headers),
      app && this.#scrape('application', { host: '127.0.0.1', port: app.port, path: app.path }, request.headers),
    ]);
    // The program's come last: in OpenMetrics they end with "# EOF", which ends everything.
    const body = metrics.registry.renderPrometheus() + (proxy?.body ?? '') + (program?.body ?? '');
    return { code: 200, body, contentType: contentTypeOf(program) };
  }

  /** The proxy's alone. */
  async collectProxy(request: Pick<IncomingMessage, 'url' | 'headers'>): Promise<HttpAnswer> {
    const { admin } = this.#options;
    const path = `/stats/prometheus${queryOf(request)}`;
    const { code, body } = await sendGet({ ...admin, path, timeoutMs: timeoutOf(request.headers) });
    return { code, body };
  }

  async #scrape(
    type: 'envoy' | 'application',
    target: { host: string; port: number; path: string },
    headers: IncomingHttpHeaders,
  ): Promise<GetResponse | undefined> {
    try {
      const response = await sendGet({ ...target, headers: forwarded(headers), timeoutMs: timeoutOf(headers) });
      if (response.code === 200) return response.body.endsWith('\n') ? response : { ...response, body: `${response.body}\n` };
    } catch {
      // Counted below: who looks at metrics sees it there.
    }
    this.#options.metrics.countScrapeFailure(type);
    return undefined;
  }
}

function queryOf({ url = '' }: Pick<IncomingMessage, 'url'>): string {
  const at = url.indexOf('?');
  return at === -1 ? '' : url.slice(at);
}

function forwarded(headers: IncomingHttpHeaders): Record<string, string> {
  const { accept, 'user-agent': userAgent, 'x-prometheus-scrape-timeout-seconds': timeout } = headers;
  return {
    ...(accept !== undefined && { accept }),
    ...(userAgent !== undefined && { 'user-agent': userAgent }),
    ...(typeof timeout === 'string' && { 'x-prometheus-scrape-timeout-seconds': timeout }),
  };
}

function timeoutOf(headers: IncomingHttpHeaders): number {
  const seconds = Number(headers['x-prometheus-scrape-timeout-seconds']);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, 60_000) : DEFAULT_TIMEOUT_MS;
}

function contentTypeOf(program: GetResponse | undefined): string {
  const type = program?.headers['content-type'] ?? '';
  return type.startsWith('application/openmetrics-text') ? type : PROMETHEUS_TYPE;
}
