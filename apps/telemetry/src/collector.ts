import { type Clock, CloseStack, type Logger, type Running } from '@mizzen/core';
import { startApiServer } from './api-server.ts';
import { GRAPH_METRICS } from './graph.ts';
import { Ingest } from './ingest.ts';
import { MetricsStore } from './metrics-store.ts';
import { startOtlpGrpcServer } from './otlp-grpc-server.ts';
import { startOtlpHttpServer } from './otlp-http-server.ts';
import { SpanStore } from './span-store.ts';

export interface CollectorOptions {
  /** Address that all three ports listen on. */
  readonly host: string;
  /** 0 means any free port, as for the next two. */
  readonly apiPort: number;
  readonly otlpGrpcPort: number;
  readonly otlpHttpPort: number;
  /** How far back windows may reach. */
  readonly historyMs: number;
  readonly seriesExpiryMs: number;
  readonly maxSeries: number;
  readonly maxSpans: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface Collector extends Running {
  readonly apiPort: number;
  readonly otlpGrpcPort: number;
  readonly otlpHttpPort: number;
}

/** Composes and starts the collector. Nothing is left open when one of its ports cannot be had. */
export async function startCollector(options: CollectorOptions): Promise<Collector> {
  const { clock, host, historyMs, logger } = options;
  const metrics = new MetricsStore({
    clock,
    historyMs,
    expiryMs: options.seriesExpiryMs,
    maxSeries: options.maxSeries,
    windowMetrics: GRAPH_METRICS,
  });
  const spans = new SpanStore({ maxSpans: options.maxSpans });
  const ingest = new Ingest({ metrics, spans });
  const running = new CloseStack();
  try {
    const api = running.use(await startApiServer({ metrics, spans, ingest, clock, historyMs, host, port: options.apiPort }));
    const grpc = running.use(await startOtlpGrpcServer({ ingest, host, port: options.otlpGrpcPort }));
    const http = running.use(await startOtlpHttpServer({ ingest, host, port: options.otlpHttpPort }));
    const ports = { apiPort: api.port, otlpGrpcPort: grpc.port, otlpHttpPort: http.port };
    logger.info({ host, ...ports }, 'collecting');
    return { ...ports, close: () => running.close() };
  } catch (thrown) {
    await running.close();
    throw thrown;
  }
}
