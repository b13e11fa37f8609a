import { type Clock, errorMessage, joinHostPort, listenError, parseDurationMs, type Running } from '@mizzen/core';
import { type FastifyInstance, fastify } from 'fastify';
import { boundPort } from './bound-port.ts';
import { buildGraph } from './graph.ts';
import type { Ingest } from './ingest.ts';
import type { MetricsStore } from './metrics-store.ts';
import { renderGraphPage } from './page.ts';
import { toPrometheusText } from './prometheus-text.ts';
import type { SpanStore } from './span-store.ts';

export interface ApiServerOptions {
  readonly metrics: MetricsStore;
  readonly spans: SpanStore;
  readonly ingest: Ingest;
  readonly clock: Clock;
  /** Longest window that may be asked for. */
  readonly historyMs: number;
  readonly host: string;
  /** 0 means any free port. */
  readonly port: number;
}

export interface ApiServer extends Running {
  readonly port: number;
}

const DEFAULT_WINDOW = '1m';
const MIN_WINDOW_MS = 1_000;
const DEFAULT_TRACES = 20;
const MAX_TRACES = 1_000;

/** The API that answers queries, and the page. Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS when it cannot listen. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const server = fastify({ forceCloseConnections: true });
  addGraph(server, options);
  addTraces(server, options.spans);
  server.get('/metrics', async (_request, reply) =>
    reply.type('text/plain; version=0.0.4').send(toPrometheusText([...options.metrics.families(), ...options.ingest.families()])),
  );
  server.get('/healthz', async (_request, reply) => reply.type('text/plain').send('ok'));
  await server.listen({ host: options.host, port: options.port }).catch((error: unknown) => {
    throw listenError(error, joinHostPort(options.host, options.port), 'the API');
  });
  return { port: boundPort(server), close: () => server.close() };
}

type GraphRequest = { Querystring: { window?: string } };

function addGraph(server: FastifyInstance, { metrics, clock, historyMs }: ApiServerOptions): void {
  const graphOf = (window: string): ReturnType<typeof buildGraph> =>
    buildGraph(metrics, { windowMs: parseWindowMs(window, historyMs), nowMs: clock.now() });

  server.get<GraphRequest>('/api/graph', async (request, reply) => {
    try {
      return graphOf(request.query.window ?? DEFAULT_WINDOW);
    } catch (thrown) {
      return reply.code(400).send({ error: errorMessage(thrown) });
    }
  });

  server.get<GraphRequest>('/', async (request, reply) => {
    const window = request.query.window ?? DEFAULT_WINDOW;
    try {
      const page = renderGraphPage({ graph: graphOf(window), window });
      return reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(page);
    } catch (thrown) {
      return reply.code(400).type('text/plain').send(errorMessage(thrown));
    }
  });
}

function addTraces(server: FastifyInstance, spans: SpanStore): void {
  server.get<{ Querystring: { limit?: string } }>('/api/traces', async (request, reply) => {
    const { limit = String(DEFAULT_TRACES) } = request.query;
    if (!/^\d{1,6}$/.test(limit) || Number(limit) < 1 || Number(limit) > MAX_TRACES) {
      return reply.code(400).send({ error: `limit must be a number between 1 and ${MAX_TRACES}, not "${limit}"` });
    }
    return { traces: spans.newest(Number(limit)) };
  });

  server.get<{ Params: { traceId: string } }>('/api/traces/:traceId', async (request, reply) => {
    const { traceId } = request.params;
    const found = spans.find(traceId.toLowerCase());
    return found ? { traceId: traceId.toLowerCase(), spans: found } : reply.code(404).send({ error: `no trace ${traceId} is kept` });
  });
}

/** Throws an `Error` for people when the window is no duration or out of bounds. */
function parseWindowMs(window: string, historyMs: number): number {
  let windowMs: number;
  try {
    windowMs = parseDurationMs(window);
  } catch (thrown) {
    throw new Error(`window ${errorMessage(thrown)}, not "${window}"`);
  }
  if (windowMs < MIN_WINDOW_MS || windowMs > historyMs) {
    throw new Error(`window must be between ${MIN_WINDOW_MS / 1_000}s and ${historyMs / 1_000}s, not "${window}"`);
  }
  return windowMs;
}
