import type { Client } from '@grpc/grpc-js';
import type { Clock, Logger, Running, Timer } from '@mizzen/core';
import type { CounterSeries, MetricRegistry } from './metric-registry.ts';
import type { Attributes } from './otlp-messages.ts';
import type { FinishedSpan, SpanSink } from './tracer.ts';

export interface OtlpExporterOptions {
  /** `host:port` of an OTLP/gRPC receiver, plaintext. */
  readonly address: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: MetricRegistry;
  /** Describes who sends: service.name, service.instance.id, … */
  readonly resource: Attributes;
  /** Default 5 s. */
  readonly metricsIntervalMs?: number;
  /** Default 1 s. */
  readonly spansIntervalMs?: number;
  /** Spans that wait at most; more are dropped and counted. Default 4096. */
  readonly maxQueuedSpans?: number;
  /** Which metrics are sent. Default: Istio's standard ones. */
  readonly includes?: (metricName: string) => boolean;
}

/** Sends metrics and spans in the background. A collector that is away or slow costs spans, never a request. */
export interface OtlpExporter extends SpanSink, Running {
  start(): void;
  /** Sends what there is now; resolves when that succeeded or was given up. */
  flush(): Promise<void>;
}

const CALL_TIMEOUT_MS = 5000;
const MAX_BATCH = 512;

/** Source: OTLP specification 1.x, OTLP/gRPC. */
export function createOtlpExporter(options: OtlpExporterOptions): OtlpExporter {
  return new GrpcExporter(options);
}

class GrpcExporter implements OtlpExporter {
  readonly #options: OtlpExporterOptions;
  readonly #startMs: number;
  readonly #droppedSpans: CounterSeries;
  readonly #failures: CounterSeries;
  #queue: FinishedSpan[] = [];
  #transport: Promise<Transport> | undefined;
  #timers: Timer[] = [];
  #sendingMetrics: Promise<void> | undefined;
  #sendingSpans: Promise<void> | undefined;
  #isAway = false;
  #isClosed = false;

  constructor(options: OtlpExporterOptions) {
    this.#options = options;
    this.#startMs = options.clock.now();
    this.#droppedSpans = options.registry
      .counter({ name: 'mizzen_otlp_dropped_spans_total', help: 'Spans dropped because the collector was away or slow' })
      .series();
    this.#failures = options.registry
      .counter({ name: 'mizzen_otlp_failed_exports_total', help: 'Exports that the collector did not take' })
      .series();
  }

  start(): void {
    this.#repeat(this.#options.metricsIntervalMs ?? 5000, () => this.#sendMetrics());
    this.#repeat(this.#options.spansIntervalMs ?? 1000, () => this.#sendSpans());
  }

  add(span: FinishedSpan): void {
    if (this.#queue.length >= (this.#options.maxQueuedSpans ?? 4096)) this.#droppedSpans.value++;
    else this.#queue.push(span);
  }

  async flush(): Promise<void> {
    await Promise.all([this.#sendMetrics(), this.#sendSpans()]);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    await this.flush();
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    (await this.#transport)?.client.close();
  }

  #repeat(intervalMs: number, run: () => Promise<void>): void {
    const index = this.#timers.length;
    const next = (): void => {
      if (this.#isClosed) return;
      this.#timers[index] = this.#options.clock.after(intervalMs, () => void run().finally(next));
    };
    next();
  }

  #sendMetrics(): Promise<void> {
    this.#sendingMetrics ??= this.#exportMetrics().finally(() => {
      this.#sendingMetrics = undefined;
    });
    return this.#sendingMetrics;
  }

  #sendSpans(): Promise<void> {
    this.#sendingSpans ??= this.#exportSpans().finally(() => {
      this.#sendingSpans = undefined;
    });
    return this.#sendingSpans;
  }

  async #exportMetrics(): Promise<void> {
    const includes = this.#options.includes ?? ((name: string): boolean => name.startsWith('istio_'));
    const metrics = this.#options.registry.collect().filter((metric) => metric.size > 0 && includes(metric.name));
    if (metrics.length === 0) return;
    const transport = await this.#connect();
    await this.#send(
      transport.exportMetrics(metrics, { resource: this.#options.resource, startMs: this.#startMs, nowMs: this.#options.clock.now() }),
    );
  }

  async #exportSpans(): Promise<void> {
    while (this.#queue.length > 0) {
      const transport = await this.#connect();
      const batch = this.#queue.splice(0, MAX_BATCH);
      if (await this.#send(transport.exportSpans(batch, this.#options.resource))) continue;
      // Tried once: a collector that is away must not make the queue stand still.
      this.#droppedSpans.value += batch.length;
      return;
    }
  }

  async #send(call: Promise<void>): Promise<boolean> {
    try {
      await call;
      if (this.#isAway) this.#options.logger.info({ address: this.#options.address }, 'telemetry collector is back');
      this.#isAway = false;
      return true;
    } catch (thrown) {
      this.#failures.value++;
      if (!this.#isAway)
        this.#options.logger.warn(
          { address: this.#options.address, err: thrown },
          'telemetry collector does not answer; metrics go on, spans are dropped',
        );
      this.#isAway = true;
      return false;
    }
  }

  #connect(): Promise<Transport> {
    this.#transport ??= openTransport(this.#options.address);
    return this.#transport;
  }
}

interface Transport {
  readonly client: Client;
  exportMetrics(...args: Parameters<typeof import('./otlp-messages.ts').metricsRequest>): Promise<void>;
  exportSpans(...args: Parameters<typeof import('./otlp-messages.ts').traceRequest>): Promise<void>;
}

/** grpc-js and the messages cost megabytes: whoever sends nothing does not load them. */
async function openTransport(address: string): Promise<Transport> {
  const [grpc, messages, { grpcMethodDefinition }, metrics, traces] = await Promise.all([
    import('@grpc/grpc-js'),
    import('./otlp-messages.ts'),
    import('@mizzen/xds-api'),
    import('@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service'),
    import('@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service'),
  ]);
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), {
    'grpc.enable_http_proxy': 0,
    'grpc.max_reconnect_backoff_ms': 5000,
  });
  const metricsMethod = grpcMethodDefinition(metrics.MetricsService.method.export);
  const tracesMethod = grpcMethodDefinition(traces.TraceService.method.export);
  const unary = <I, O>(
    method: { path: string; requestSerialize: (value: I) => Buffer; responseDeserialize: (bytes: Buffer) => O },
    request: I,
  ): Promise<void> =>
    new Promise((resolve, reject) => {
      const deadline = Date.now() + CALL_TIMEOUT_MS;
      client.makeUnaryRequest(method.path, method.requestSerialize, method.responseDeserialize, request, { deadline }, (error) =>
        error ? reject(error) : resolve(),
      );
    });
  return {
    client,
    exportMetrics: (...args) => unary(metricsMethod, messages.metricsRequest(...args)),
    exportSpans: (...args) => unary(tracesMethod, messages.traceRequest(...args)),
  };
}
