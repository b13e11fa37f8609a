import type { IncomingMessage } from 'node:http';
import type { Running } from '@mizzen/core';
import { type HttpAnswer, serveHttp } from '@mizzen/telemetry';
import type { AppProber } from './app-prober.ts';
import { isFromLoopback } from './loopback.ts';
import type { MergedMetrics } from './merged-metrics.ts';

export interface StatusServerOptions {
  /** undefined: every address of this network namespace. */
  readonly host: string | undefined;
  /** 0 chooses a free one. */
  readonly port: number;
  /** Why the workload is not ready, or undefined where it is. */
  readonly notReadyReason: () => string | undefined;
  readonly metrics: MergedMetrics;
  readonly prober: AppProber;
  /** What the DNS proxy answers from, as JSON; undefined where there is nothing yet. */
  readonly nameTable: () => string | undefined;
  readonly onDrain: () => void;
  readonly onQuit: () => void;
}

const JSON_TYPE = 'application/json';

/**
 * The status port: readiness, merged metrics, the probes of the program, drain and quit. Resolves once it listens.
 * Paths as Istio's agent has them on 15020. Source: istio pilot/cmd/pilot-agent/status/server.go (1.32).
 */
export function serveStatus(options: StatusServerOptions): Promise<Running & { port: number }> {
  const { host, port } = options;
  return serveHttp({ host, port, what: 'the status port', answer: (request) => answer(request, options) });
}

/** Readiness alone: the kubelet's port, which is open to everybody. */
export function serveReadiness(
  options: Pick<StatusServerOptions, 'host' | 'port' | 'notReadyReason'>,
): Promise<Running & { port: number }> {
  const { host, port } = options;
  const only = async (request: IncomingMessage): Promise<HttpAnswer> =>
    pathOf(request) === '/healthz/ready' ? readiness(options) : { code: 404, body: 'not here; /healthz/ready is\n' };
  return serveHttp({ host, port, what: 'the readiness port', answer: only });
}

async function answer(request: IncomingMessage, options: StatusServerOptions): Promise<HttpAnswer> {
  const path = pathOf(request);
  if (path.startsWith('/app-health/') || path.startsWith('/app-lifecycle/')) return options.prober.probe(path, request);
  const isChange = path === '/quitquitquit' || path === '/drain';
  if (isChange && request.method !== 'POST') return { code: 405, body: `${path} takes POST\n` };
  if ((isChange || path === '/debug/ndsz') && !isFromLoopback(request)) return { code: 403, body: `${path} is for this machine only\n` };
  switch (path) {
    case '/healthz/ready':
    case '/ready':
      return readiness(options);
    case '/stats/prometheus':
    case '/metrics':
      return options.metrics.collect(request);
    case '/debug/ndsz': {
      const table = options.nameTable();
      return { code: table === undefined ? 404 : 200, body: table ?? '{}', contentType: JSON_TYPE };
    }
    case '/drain':
      options.onDrain();
      return { code: 200, body: 'draining\n' };
    case '/quitquitquit':
      options.onQuit();
      return { code: 200, body: 'quitting\n' };
    default:
      return { code: 404, body: 'not here; /healthz/ready, /stats/prometheus, POST /drain and POST /quitquitquit are\n' };
  }
}

function readiness({ notReadyReason }: Pick<StatusServerOptions, 'notReadyReason'>): HttpAnswer {
  const reason = notReadyReason();
  return reason === undefined ? { code: 200, body: 'ready\n' } : { code: 503, body: `${reason}\n` };
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?')[0] ?? '';
}
