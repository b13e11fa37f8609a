import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { fromBinary, toBinary, toJson } from '@bufbuild/protobuf';
import { type Client, credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger } from '@mizzen/core';
import { grpcServiceDefinition } from '@mizzen/xds-api';
import {
  type ExportMetricsServiceRequest,
  ExportMetricsServiceRequestSchema,
  type ExportMetricsServiceResponse,
  ExportMetricsServiceResponseSchema,
  MetricsService,
} from '@mizzen/xds-api/opentelemetry/proto/collector/metrics/v1/metrics_service';
import {
  type ExportTraceServiceRequest,
  type ExportTraceServiceResponse,
  TraceService,
} from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { type Collector, type CollectorOptions, startCollector } from './collector.ts';
import type { Graph } from './graph.ts';
import { callLabels, counterMetric, FakeClock, histogramMetric, metricsRequest, type SpanSpec, traceRequest } from './testing.ts';

const NODE_ID = 'sidecar~127.0.0.1~productpage-v1-0.default~default.svc.cluster.local';
const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPANS: readonly SpanSpec[] = [
  { traceId: TRACE_ID, spanId: '00f067aa0ba902b7', name: 'productpage', service: 'gateway', startTimeMs: 1_000, durationMs: 30 },
  {
    traceId: TRACE_ID,
    spanId: '00f067aa0ba902b8',
    parentSpanId: '00f067aa0ba902b7',
    name: 'reviews',
    service: 'productpage-v1',
    startTimeMs: 1_005,
    durationMs: 20,
  },
];

describe('the collector', () => {
  const clock = new FakeClock();
  const options: CollectorOptions = {
    host: '127.0.0.1',
    apiPort: 0,
    otlpGrpcPort: 0,
    otlpHttpPort: 0,
    historyMs: 900_000,
    seriesExpiryMs: 900_000,
    maxSeries: 100,
    maxSpans: 100,
    clock,
    logger: silentLogger,
  };
  let collector: Collector;
  let clients: Client[];

  beforeEach(async () => {
    collector = await startCollector(options);
    clients = [];
  });

  afterEach(async () => {
    for (const client of clients) client.close();
    await collector.close();
  });

  function requestsMetrics(count: number): ExportMetricsServiceRequest {
    const times = { startTimeMs: clock.now(), timeMs: clock.now() };
    return metricsRequest(NODE_ID, [
      counterMetric('istio_requests_total', [{ labels: callLabels(), value: count }], times),
      histogramMetric(
        'istio_request_duration_milliseconds',
        { labels: callLabels(), bucketCounts: [0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0], sum: 7 * count },
        times,
      ),
    ]);
  }

  function grpc<Request, Response>(service: typeof MetricsService | typeof TraceService, request: Request): Promise<Response> {
    const GrpcClient = makeGenericClientConstructor(grpcServiceDefinition(service), 'otlp');
    const client = new GrpcClient(`127.0.0.1:${collector.otlpGrpcPort}`, credentials.createInsecure());
    clients.push(client);
    const call = (client['export'] as (request: Request, callback: (error: ServiceError | null, response: Response) => void) => void).bind(
      client,
    );
    return promisify(call)(request) as Promise<Response>;
  }

  function post(path: string, body: Uint8Array<ArrayBuffer> | string, headers: Record<string, string>): Promise<Response> {
    return fetch(`http://127.0.0.1:${collector.otlpHttpPort}${path}`, { method: 'POST', body, headers });
  }

  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${collector.apiPort}${path}`);
  const graph = async (): Promise<Graph> => (await get('/api/graph?window=30s')).json() as Promise<Graph>;

  it('answers the graph of metrics that came over gRPC', async () => {
    await grpc<ExportMetricsServiceRequest, ExportMetricsServiceResponse>(MetricsService, requestsMetrics(60));
    expect(await graph()).toMatchObject({
      windowSeconds: 30,
      edges: [{ source: 'default/productpage-v1', destination: 'default/reviews-v1', requests: 60, requestsPerSecond: 2 }],
    });
  });

  it.each([
    { name: 'protobuf', type: 'application/x-protobuf', isGzip: false },
    { name: 'gzipped protobuf', type: 'application/x-protobuf', isGzip: true },
    { name: 'JSON', type: 'application/json', isGzip: false },
  ])('takes metrics over HTTP as $name', async ({ type, isGzip }) => {
    const message = requestsMetrics(3);
    const json = JSON.stringify(toJson(ExportMetricsServiceRequestSchema, message));
    const body = type === 'application/json' ? Buffer.from(json) : toBinary(ExportMetricsServiceRequestSchema, message);
    const headers = { 'content-type': type, ...(isGzip && { 'content-encoding': 'gzip' }) };
    const response = await post('/v1/metrics', isGzip ? gzipSync(body) : body, headers);
    expect([response.status, response.headers.get('content-type')?.split(';')[0]]).toEqual([200, type]);
    expect((await graph()).edges[0]?.requests).toBe(3);
  });

  it('prints everything in aggregate for Prometheus', async () => {
    await grpc(MetricsService, requestsMetrics(4));
    const text = await (await get('/metrics')).text();
    const labels = Object.entries(callLabels())
      .map(([name, value]) => `${name}="${value}"`)
      .join(',');
    expect(text).toContain('# TYPE istio_requests_total counter\n');
    expect(text).toContain(`istio_requests_total{${labels}} 4\n`);
    expect(text).toContain(`istio_request_duration_milliseconds_bucket{${labels},le="5"} 0\n`);
    expect(text).toContain(`istio_request_duration_milliseconds_bucket{${labels},le="10"} 4\n`);
    expect(text).toContain(`istio_request_duration_milliseconds_bucket{${labels},le="+Inf"} 4\n`);
    expect(text).toContain(`istio_request_duration_milliseconds_sum{${labels}} 28\n`);
    expect(text).toContain(`istio_request_duration_milliseconds_count{${labels}} 4\n`);
    expect(text).toContain('mizzen_telemetry_received_total{signal="metrics"} 2\n');
    expect(text).toContain('mizzen_telemetry_series 2\n');
  });

  it('says in a partial success how many points it could not take', async () => {
    const times = { startTimeMs: clock.now(), timeMs: clock.now() };
    const request = metricsRequest(NODE_ID, [
      counterMetric('istio_requests_total', [{ labels: callLabels(), value: 1 }], times),
      counterMetric('not a name', [{ labels: {}, value: 1 }], times),
    ]);
    const response = await post('/v1/metrics', toBinary(ExportMetricsServiceRequestSchema, request), {
      'content-type': 'application/x-protobuf',
    });
    const { partialSuccess } = fromBinary(ExportMetricsServiceResponseSchema, new Uint8Array(await response.arrayBuffer()));
    expect(partialSuccess?.rejectedDataPoints).toBe(1n);
    expect(partialSuccess?.errorMessage).toContain('1 points');
    expect(await (await get('/metrics')).text()).toContain(
      'mizzen_telemetry_dropped_total{signal="metrics",reason="unknown kind or malformed"} 1\n',
    );
  });

  it('answers traces that came over gRPC', async () => {
    await grpc<ExportTraceServiceRequest, ExportTraceServiceResponse>(TraceService, traceRequest(SPANS));
    expect(await (await get('/api/traces?limit=5')).json()).toEqual({
      traces: [
        expect.objectContaining({
          traceId: TRACE_ID,
          name: 'productpage',
          spans: 2,
          services: ['gateway', 'productpage-v1'],
          durationMs: 30,
        }),
      ],
    });
    expect(await (await get(`/api/traces/${TRACE_ID}`)).json()).toMatchObject({
      traceId: TRACE_ID,
      spans: [
        { name: 'productpage' },
        { name: 'reviews', parentSpanId: '00f067aa0ba902b7', kind: 'server', attributes: { 'http.method': 'GET' } },
      ],
    });
  });

  it('reads the hexadecimal ids of OTLP JSON', async () => {
    const span = {
      traceId: TRACE_ID.toUpperCase(),
      spanId: '00f067aa0ba902b7',
      name: 'a',
      kind: 3,
      startTimeUnixNano: '1000000',
      endTimeUnixNano: '3000000',
    };
    const body = JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span], aFieldOfTheFuture: 1 }] }] });
    expect((await post('/v1/traces', body, { 'content-type': 'application/json' })).status).toBe(200);
    expect(await (await get(`/api/traces/${TRACE_ID}`)).json()).toMatchObject({
      spans: [{ spanId: '00f067aa0ba902b7', kind: 'client', durationMs: 2 }],
    });
  });

  it.each([
    { name: 'JSON', type: 'application/json', body: '{"resourceSpans": 1}' },
    { name: 'protobuf', type: 'application/x-protobuf', body: '\xff\xff' },
  ])('answers 400 with a reason to a message that is no $name of OTLP', async ({ type, body }) => {
    const response = await post('/v1/traces', body, { 'content-type': type });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('the message cannot be read');
  });

  it('answers 415 to other content types', async () => {
    expect((await post('/v1/traces', 'hello', { 'content-type': 'text/plain' })).status).toBe(415);
  });

  it.each([
    { path: '/api/graph?window=soon', status: 400, text: 'window must be a duration' },
    { path: '/api/graph?window=24h', status: 400, text: 'window must be between 1s and 900s' },
    { path: '/?window=soon', status: 400, text: 'window must be a duration' },
    { path: '/api/traces?limit=many', status: 400, text: 'limit must be a number' },
    { path: '/api/traces/ffff', status: 404, text: 'no trace ffff is kept' },
    { path: '/healthz', status: 200, text: 'ok' },
  ])('answers $path with $status', async ({ path, status, text }) => {
    const response = await get(path);
    expect(response.status).toBe(status);
    expect(await response.text()).toContain(text);
  });

  it('shows the graph as a page that escapes what proxies say', async () => {
    const labels = callLabels({ destination_workload: '<script>' });
    const metric = counterMetric('istio_requests_total', [{ labels, value: 30 }], { startTimeMs: clock.now(), timeMs: clock.now() });
    await grpc(MetricsService, metricsRequest(NODE_ID, [metric]));
    const page = await (await get('/?window=1m')).text();
    expect(page).toContain('default/productpage-v1');
    expect(page).toContain('default/&#60;script&#62;');
    expect(page).not.toContain('<script>');
    expect(page).toContain('/api/graph?window=1m');
  });

  it('says which port is taken, and leaves nothing open', async () => {
    const taken = startCollector({ ...options, otlpHttpPort: collector.otlpHttpPort });
    await expect(taken).rejects.toMatchObject({
      code: 'MIZZEN_PORT_IN_USE',
      message: expect.stringContaining(String(collector.otlpHttpPort)),
    });
    const grpcTaken = startCollector({ ...options, otlpGrpcPort: collector.otlpGrpcPort });
    await expect(grpcTaken).rejects.toMatchObject({
      code: 'MIZZEN_PORT_IN_USE',
      message: expect.stringContaining(String(collector.otlpGrpcPort)),
    });
  });
});
