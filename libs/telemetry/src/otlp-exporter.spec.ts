import { create } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { grpcServiceDefinition } from '@mizzen/xds-api';
import {
  type ExportMetricsServiceRequest,
  ExportMetricsServiceResponseSchema,
  MetricsService,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  type ExportTraceServiceRequest,
  ExportTraceServiceResponseSchema,
  TraceService,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { createMetricRegistry } from './metric-registry.ts';
import { createOtlpExporter, type OtlpExporter } from './otlp-exporter.ts';
import type { FinishedSpan } from './tracer.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function startCollector() {
  const metrics: ExportMetricsServiceRequest[] = [];
  const traces: ExportTraceServiceRequest[] = [];
  const server = new Server();
  const take =
    <T>(into: T[], answer: object) =>
    (call: ServerUnaryCall<T, object>, done: sendUnaryData<object>): void => {
      into.push(call.request);
      done(null, answer);
    };
  server.addService(grpcServiceDefinition(MetricsService), { export: take(metrics, create(ExportMetricsServiceResponseSchema)) });
  server.addService(grpcServiceDefinition(TraceService), { export: take(traces, create(ExportTraceServiceResponseSchema)) });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  closers.push(() => server.forceShutdown());
  return { port, metrics, traces };
}

function aSpan(name = 'reviews:9080/*'): FinishedSpan {
  return {
    traceId: 'a'.repeat(32),
    spanId: 'b'.repeat(16),
    parentSpanId: '',
    name,
    kind: 'server',
    startTimeMs: 1000.5,
    endTimeMs: 1002,
    isError: false,
    tags: [['component', 'proxy']],
  };
}

function exporterTo(
  address: string,
  options: { maxQueuedSpans?: number } = {},
): { exporter: OtlpExporter; registry: ReturnType<typeof createMetricRegistry> } {
  const registry = createMetricRegistry();
  const exporter = createOtlpExporter({
    address,
    clock: systemClock,
    logger: silentLogger,
    registry,
    resource: [['service.name', 'reviews.default']],
    ...options,
  });
  closers.push(() => exporter.close());
  return { exporter, registry };
}

describe('OTLP exporter', () => {
  it('sends metrics, cumulative, and spans', async () => {
    const collector = await startCollector();
    const { exporter, registry } = exporterTo(`127.0.0.1:${collector.port}`);
    registry.counter({ name: 'istio_requests_total', help: 'Requests', labels: ['reporter'] }).series('source').value = 3;
    registry
      .histogram({ name: 'istio_request_bytes', help: 'Bytes', buckets: [10] })
      .series()
      .observe(4);
    registry.counter({ name: 'other', help: 'Not sent' }).series().value++;
    exporter.add(aSpan());
    await exporter.flush();
    await exporter.flush();
    const [first] = collector.metrics;
    const sent = first?.resourceMetrics[0]?.scopeMetrics[0]?.metrics ?? [];
    expect(sent.map((metric) => [metric.name, metric.data.case])).toEqual([
      ['istio_requests_total', 'sum'],
      ['istio_request_bytes', 'histogram'],
    ]);
    expect(sent[0]?.data.value).toMatchObject({
      isMonotonic: true,
      dataPoints: [{ value: { case: 'asDouble', value: 3 }, attributes: [{ key: 'reporter' }] }],
    });
    expect(sent[1]?.data.value).toMatchObject({ dataPoints: [{ count: 1n, sum: 4, bucketCounts: [1n, 0n], explicitBounds: [10] }] });
    expect(registry.renderPrometheus()).toContain('mizzen_otlp_failed_exports_total 0\n');
    expect(collector.metrics.length).toBe(2);
    expect(collector.traces.length).toBe(1);
    expect(collector.traces[0]?.resourceSpans[0]?.scopeSpans[0]?.spans[0]).toMatchObject({
      name: 'reviews:9080/*',
      startTimeUnixNano: 1_000_500_000n,
      endTimeUnixNano: 1_002_000_000n,
    });
  });

  it('drops and counts spans when the collector is away, and goes on when it is back', async () => {
    const { exporter, registry } = exporterTo('127.0.0.1:1', { maxQueuedSpans: 2 });
    for (let index = 0; index < 5; index++) exporter.add(aSpan());
    await exporter.flush();
    expect(registry.renderPrometheus()).toContain('mizzen_otlp_dropped_spans_total 5\n');
    expect(registry.renderPrometheus()).toContain('mizzen_otlp_failed_exports_total 1\n');
  });

  it('sends what is left when it closes', async () => {
    const collector = await startCollector();
    const { exporter } = exporterTo(`127.0.0.1:${collector.port}`);
    exporter.start();
    for (let index = 0; index < 1000; index++) exporter.add(aSpan(String(index)));
    await exporter.close();
    expect(collector.traces.flatMap((request) => request.resourceSpans[0]?.scopeSpans[0]?.spans ?? []).length).toBe(1000);
  });
});
