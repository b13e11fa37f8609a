import { type App, settings, systemClock } from '@mizzen/core';
import { startRateLimiter } from './rate-limiter.ts';

const schema = {
  host: settings.string('listen-address', { help: 'address to listen on', fallback: '127.0.0.1', placeholder: 'ADDRESS' }),
  port: settings.port('rate-limit-port', { help: 'port that proxies ask (gRPC)', fallback: 8081 }),
  httpPort: settings.port('rate-limit-http-port', { help: 'port of /healthz, /ready and /metrics', fallback: 15_095 }),
  maxCounters: settings.integer('max-counters', {
    help: 'most counters that are kept; over it the one that was asked longest ago is forgotten',
    fallback: 200_000,
    min: 1,
  }),
  logLevel: settings.logLevel(),
};

/** The rate limit service as a process. */
export const rateLimitApp: App<typeof schema> = {
  name: 'rate-limit',
  summary: 'Counts requests for the whole mesh: what the GLOBAL rules of RateLimits ask.',
  schema,
  async start({ settings: values, logger }) {
    const limiter = await startRateLimiter({ ...values, clock: systemClock, logger });
    const ports = { grpc: limiter.port, http: limiter.httpPort };
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'rate-limit', ports })}\n`);
    return limiter;
  },
};
