import { type App, settings, systemClock } from '@mizzen/core';
import { startCollector } from './collector.ts';

const schema = {
  host: settings.string('listen-address', { help: 'address to listen on', fallback: '127.0.0.1', placeholder: 'ADDRESS' }),
  apiPort: settings.port('api-port', { help: 'port of the page, the API and /metrics', fallback: 20_001 }),
  otlpGrpcPort: settings.port('otlp-grpc-port', { help: 'port that takes OTLP over gRPC', fallback: 4317 }),
  otlpHttpPort: settings.port('otlp-http-port', { help: 'port that takes OTLP over HTTP', fallback: 4318 }),
  historyMs: settings.durationMs('history', { help: 'how far back the graph can look', fallback: 15 * 60_000 }),
  seriesExpiryMs: settings.durationMs('series-expiry', {
    help: 'a series that nobody reports for this long is forgotten',
    fallback: 15 * 60_000,
  }),
  maxSeries: settings.integer('max-series', {
    help: 'most series that are kept, each process counted on its own',
    fallback: 100_000,
    min: 1,
  }),
  maxSpans: settings.integer('max-spans', { help: 'most spans that are kept', fallback: 20_000, min: 1 }),
  logLevel: settings.logLevel(),
};

/** The telemetry collector as a process. */
export const telemetryApp: App<typeof schema> = {
  name: 'telemetry',
  summary: 'Receives metrics and spans by OTLP, answers queries about the mesh and shows who calls whom.',
  schema,
  async start({ settings: values, logger }) {
    const collector = await startCollector({ ...values, clock: systemClock, logger });
    const ports = { api: collector.apiPort, otlpGrpc: collector.otlpGrpcPort, otlpHttp: collector.otlpHttpPort };
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'telemetry', ports })}\n`);
    return collector;
  },
};
