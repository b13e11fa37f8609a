import { afterEach, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { createMetricRegistry, createOtlpExporter, ISTIO_LABELS } from '@mizzen/telemetry';
import { type Collector, startCollector } from './collector.ts';
import type { Graph } from './graph.ts';
import { callLabels } from './testing.ts';

let collector: Collector;

afterEach(() => collector.close());

it('understands what the proxies send', async () => {
  collector = await startCollector({
    host: '127.0.0.1',
    apiPort: 0,
    otlpGrpcPort: 0,
    otlpHttpPort: 0,
    historyMs: 900_000,
    seriesExpiryMs: 900_000,
    maxSeries: 100,
    maxSpans: 100,
    clock: systemClock,
    logger: silentLogger,
  });
  const registry = createMetricRegistry();
  const exporter = createOtlpExporter({
    address: `127.0.0.1:${collector.otlpGrpcPort}`,
    clock: systemClock,
    logger: silentLogger,
    registry,
    resource: [
      ['service.name', 'productpage-v1'],
      ['service.namespace', 'default'],
      ['service.instance.id', 'sidecar~127.0.0.1~productpage-v1-0.default~default.svc.cluster.local'],
    ],
  });
  const labels = callLabels();
  const values = ISTIO_LABELS.map((label) => labels[label] ?? 'unknown');
  registry.counter({ name: 'istio_requests_total', help: 'Requests', labels: ISTIO_LABELS }).series(...values).value = 12;
  const duration = registry.histogram({ name: 'istio_request_duration_milliseconds', help: 'Duration', labels: ISTIO_LABELS });
  duration.series(...values).observe(30);
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  exporter.add({
    traceId,
    spanId: '00f067aa0ba902b7',
    parentSpanId: '',
    name: 'reviews.default.svc.cluster.local:9080/*',
    kind: 'client',
    startTimeMs: 1_000.25,
    endTimeMs: 1_010.5,
    isError: true,
    tags: [['http.status_code', '503']],
  });

  await exporter.close();

  const get = async (path: string): Promise<unknown> => (await fetch(`http://127.0.0.1:${collector.apiPort}${path}`)).json();
  const { edges } = (await get('/api/graph?window=1m')) as Graph;
  expect(edges).toEqual([
    expect.objectContaining({ source: 'default/productpage-v1', destination: 'default/reviews-v1', requests: 12, p50Ms: 37.5 }),
  ]);
  expect(await get(`/api/traces/${traceId}`)).toEqual({
    traceId,
    spans: [
      expect.objectContaining({
        service: 'productpage-v1',
        kind: 'client',
        startTimeMs: 1_000.25,
        durationMs: 10.25,
        status: 'error',
        attributes: { 'http.status_code': '503' },
      }),
    ],
  });
});
