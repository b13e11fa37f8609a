import { type Clock, CloseStack, type Logger, type Running } from '@mizzen/core';
import { serveHealthEndpoints } from '@mizzen/telemetry';
import { Counters } from './counters.ts';
import { serveRateLimits } from './grpc-server.ts';
import { createRateLimitMetrics } from './rate-limit-metrics.ts';
import { answer } from './rate-limit-service.ts';

export interface RateLimiterOptions {
  /** Address that both ports listen on. */
  readonly host: string;
  /** 0 means any free port, as for the next one. */
  readonly port: number;
  readonly httpPort: number;
  readonly maxCounters: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface RateLimiter extends Running {
  readonly port: number;
  readonly httpPort: number;
}

/** Composes and starts the service. Nothing is left open when one of its ports cannot be had. */
export async function startRateLimiter(options: RateLimiterOptions): Promise<RateLimiter> {
  const { clock, host, logger, maxCounters } = options;
  const counters = new Counters({ clock, maxCounters });
  const metrics = createRateLimitMetrics(counters);
  const running = new CloseStack();
  try {
    const grpc = running.use(
      await serveRateLimits({ host, port: options.port, clock, answer: (request) => answer(request, counters, metrics) }),
    );
    const http = running.use(
      await serveHealthEndpoints({
        host,
        port: options.httpPort,
        what: 'the rate limit service',
        registry: metrics.registry,
        notReadyBecause: () => undefined,
      }),
    );
    logger.info({ host, port: grpc.port, httpPort: http.port }, 'counting');
    return { port: grpc.port, httpPort: http.port, close: () => running.close() };
  } catch (thrown) {
    await running.close();
    throw thrown;
  }
}
