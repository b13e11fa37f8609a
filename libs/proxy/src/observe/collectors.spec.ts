import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fromBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerReadableStream, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from '@jest/globals';
import { grpcServiceDefinition } from '@mizzen/xds-api';
import { AccessLogService, type StreamAccessLogsMessage } from '@mizzen/xds-api/envoy/service/accesslog/v3/als';
import { type ExportLogsServiceRequest, LogsService } from '@mizzen/xds-api/opentelemetry/proto/collector/logs/v1/logs_service';
import { ExportTraceServiceRequestSchema } from '@mizzen/xds-api/opentelemetry/proto/collector/trace/v1/trace_service';
import { Cleanup, type RunningProxy, startProxy } from '../testing/harness.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

interface Received {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** An HTTP server that keeps what it was sent. */
async function startRecorder(): Promise<{ port: number; next(): Promise<Received> }> {
  const received: Received[] = [];
  const waiting: ((request: Received) => void)[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const kept = { url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks) };
    const first = waiting.shift();
    if (first === undefined) received.push(kept);
    else first(kept);
    response.end('ok');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.add(() => {
    server.closeAllConnections();
    server.close();
  });
  const next = (): Promise<Received> => {
    const first = received.shift();
    return first === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(first);
  };
  return { port: (server.address() as AddressInfo).port, next };
}

async function startGrpc(register: (server: Server) => void): Promise<number> {
  const server = new Server();
  register(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  cleanup.add(() => server.forceShutdown());
  return port;
}

const cluster = (name: string, port: number, extra = ''): string =>
  `  - {name: ${name}, type: STATIC, ${extra}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;

const HTTP2 =
  'typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, ';

/** A proxy whose one listener sends everything to `up`; `hcm` are more fields of the connection manager. */
async function startTraced(options: {
  readonly hcm: string;
  readonly clusters: readonly string[];
  readonly direction?: string;
}): Promise<RunningProxy> {
  return startProxy(
    cleanup,
    `
node: {id: sidecar~10.1.2.3~web.default~default.svc.cluster.local, cluster: web}
layered_runtime: {layers: [{name: s, static_layer: {tracing: {zipkin: {min_flush_spans: 1}, opentelemetry: {min_flush_spans: 1}}}}]}
static_resources:
  listeners:
  - name: l
    traffic_direction: ${options.direction ?? 'OUTBOUND'}
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          ${options.hcm}
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, name: all, route: {cluster: up}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
${options.clusters.join('\n')}
`,
  );
}

const ZIPKIN = (more = ''): string =>
  `tracing: {provider: {name: envoy.tracers.zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: zipkin, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON, trace_id_128bit: true${more}}}, custom_tags: [{tag: stage, literal: {value: test}}], verbose: true}`;

const TRACE = '463ac35c9f6413ad48485a3953bb6124';
const PARENT = 'a2fb4a1d1a96d312';

describe('tracing', () => {
  it('continues a B3 trace and tells Zipkin', async () => {
    const [up, zipkin] = await Promise.all([startRecorder(), startRecorder()]);
    const { portOf } = await startTraced({ hcm: ZIPKIN(), clusters: [cluster('up', up.port), cluster('zipkin', zipkin.port)] });
    const headers = { 'x-b3-traceid': TRACE, 'x-b3-spanid': PARENT, 'x-b3-sampled': '1' };
    await fetch(`http://127.0.0.1:${portOf('l')}/path?q=1`, { headers });
    const [told, sent] = await Promise.all([up.next(), zipkin.next()]);
    expect(sent).toMatchObject({ url: '/api/v2/spans', headers: { 'content-type': 'application/json', host: 'zipkin' } });
    const [span] = JSON.parse(String(sent.body)) as [{ id: string; annotations: { value: string }[] }];
    expect(span).toMatchObject({
      traceId: TRACE,
      parentId: PARENT,
      kind: 'CLIENT',
      name: `127.0.0.1:${portOf('l')}`,
      localEndpoint: { serviceName: 'web', ipv4: '10.1.2.3' },
      tags: {
        component: 'proxy',
        'http.method': 'GET',
        'http.status_code': '200',
        'http.url': `http://127.0.0.1:${portOf('l')}/path?q=1`,
        'peer.address': '127.0.0.1',
        downstream_cluster: '-',
        upstream_cluster: 'up',
        stage: 'test',
      },
    });
    expect(span.annotations.map(({ value }) => value)).toContain('first_upstream_rx_byte_received');
    expect(told.headers).toMatchObject({
      'x-b3-traceid': TRACE,
      'x-b3-spanid': span.id,
      'x-b3-parentspanid': PARENT,
      'x-b3-sampled': '1',
    });
    expect(told.headers['traceparent']).toBeUndefined();
  });

  it('shares the span of the caller on the side of the server, where Zipkin is to', async () => {
    const [up, zipkin] = await Promise.all([startRecorder(), startRecorder()]);
    const { portOf } = await startTraced({
      hcm: ZIPKIN(', shared_span_context: true'),
      direction: 'INBOUND',
      clusters: [cluster('up', up.port), cluster('zipkin', zipkin.port)],
    });
    await fetch(`http://127.0.0.1:${portOf('l')}/`, { headers: { b3: `${TRACE}-${PARENT}-1` } });
    const [span] = JSON.parse(String((await zipkin.next()).body)) as [object];
    expect(span).toMatchObject({ traceId: TRACE, id: PARENT, kind: 'SERVER', shared: true });
    expect((await up.next()).headers['b3']).toBe(`${TRACE}-${PARENT}-1`);
  });

  it('records nothing for a caller who decided against it, and says so to those behind', async () => {
    const [up, zipkin] = await Promise.all([startRecorder(), startRecorder()]);
    const { portOf } = await startTraced({ hcm: ZIPKIN(), clusters: [cluster('up', up.port), cluster('zipkin', zipkin.port)] });
    await fetch(`http://127.0.0.1:${portOf('l')}/off`, { headers: { b3: '0' } });
    expect((await up.next()).headers['b3']).toMatch(/^[0-9a-f]{32}-[0-9a-f]{16}-0$/);
    await fetch(`http://127.0.0.1:${portOf('l')}/on`, { headers: { b3: '1' } });
    const [span] = JSON.parse(String((await zipkin.next()).body)) as [{ tags: Record<string, string> }];
    expect(span.tags['http.url']).toMatch(/\/on$/);
  });

  it('sends OTLP over HTTP with what the detectors know', async () => {
    const [up, otlp] = await Promise.all([startRecorder(), startRecorder()]);
    const { portOf } = await startTraced({
      hcm: 'tracing: {provider: {name: envoy.tracers.opentelemetry, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: shop, http_service: {http_uri: {uri: "http://otlp/v1/traces", cluster: otlp, timeout: 1s}, request_headers_to_add: [{header: {key: X-Key, value: k}}]}, resource_detectors: [{name: static, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig, attributes: {region: eu}}}]}}}',
      clusters: [cluster('up', up.port), cluster('otlp', otlp.port)],
    });
    await fetch(`http://127.0.0.1:${portOf('l')}/`, { headers: { traceparent: `00-${TRACE}-${PARENT}-01` } });
    const sent = await otlp.next();
    expect(sent).toMatchObject({ url: '/v1/traces', headers: { 'content-type': 'application/x-protobuf', 'x-key': 'k' } });
    const message = fromBinary(ExportTraceServiceRequestSchema, sent.body);
    const attributes = message.resourceSpans[0]?.resource?.attributes.map(({ key, value }) => [key, value?.value.value]);
    expect(attributes).toEqual(
      expect.arrayContaining([
        ['service.name', 'shop'],
        ['region', 'eu'],
      ]),
    );
    expect(Buffer.from(message.resourceSpans[0]?.scopeSpans[0]?.spans[0]?.traceId ?? []).toString('hex')).toBe(TRACE);
  });

  it.each([
    [
      'envoy.config.trace.v3.DatadogConfig, collector_cluster: up, service_name: x',
      /tracing\.provider\.typed_config: .*DatadogConfig is not a tracer/,
    ],
    ['envoy.config.trace.v3.ZipkinConfig, collector_endpoint: /x', /tracing\.provider\.typed_config\.collector_cluster: is required/],
  ])('refuses %s', async (config, reason) => {
    const hcm = `tracing: {provider: {name: x, typed_config: {"@type": type.googleapis.com/${config}}}}`;
    await expect(startTraced({ hcm, clusters: [cluster('up', 1)] })).rejects.toThrow(reason);
  });
});

describe('access logs of a collector', () => {
  const COMMON =
    'common_config: {log_name: all, transport_api_version: V3, buffer_flush_interval: 0.01s, grpc_service: {envoy_grpc: {cluster_name: als}}';

  it('tell the gRPC access log service of requests', async () => {
    const up = await startRecorder();
    const { promise, resolve } = Promise.withResolvers<StreamAccessLogsMessage>();
    const port = await startGrpc((server) =>
      server.addService(grpcServiceDefinition(AccessLogService), {
        streamAccessLogs: (call: ServerReadableStream<StreamAccessLogsMessage, unknown>, answer: sendUnaryData<unknown>) => {
          call.on('data', resolve);
          call.on('end', () => answer(null, {}));
        },
      }),
    );
    const { portOf } = await startTraced({
      hcm: `access_log: [{name: als, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig, ${COMMON}, custom_tags: [{tag: t, request_header: {name: x-tag}}]}, additional_request_headers_to_log: [X-Tag]}}]`,
      clusters: [cluster('up', up.port), cluster('als', port, HTTP2)],
    });
    await fetch(`http://127.0.0.1:${portOf('l')}/p`, { headers: { 'x-tag': 'blue' } });
    const message = await promise;
    expect(message.identifier).toMatchObject({ logName: 'all', node: { cluster: 'web' } });
    expect(message.logEntries.value?.logEntry[0]).toMatchObject({
      commonProperties: { upstreamCluster: 'up', routeName: 'all', customTags: { t: 'blue' } },
      request: { path: '/p', authority: `127.0.0.1:${portOf('l')}`, requestHeaders: { 'x-tag': 'blue' } },
      response: { responseCode: 200, responseBodyBytes: 2n },
    });
  });

  it('are OTLP records for an OpenTelemetry collector', async () => {
    const up = await startRecorder();
    const { promise, resolve } = Promise.withResolvers<ExportLogsServiceRequest>();
    const port = await startGrpc((server) =>
      server.addService(grpcServiceDefinition(LogsService), {
        export: (call: ServerUnaryCall<ExportLogsServiceRequest, unknown>, answer: sendUnaryData<unknown>) => {
          resolve(call.request);
          answer(null, {});
        },
      }),
    );
    const { portOf } = await startTraced({
      hcm: `access_log: [{name: otel, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, ${COMMON}}, body: {string_value: "%REQ(:METHOD)% %RESPONSE_CODE%"}, attributes: {values: [{key: path, value: {string_value: "%REQ(:PATH)%"}}]}}}]`,
      clusters: [cluster('up', up.port), cluster('als', port, HTTP2)],
    });
    await fetch(`http://127.0.0.1:${portOf('l')}/p`);
    const [logs] = (await promise).resourceLogs;
    expect(logs?.resource?.attributes[0]).toMatchObject({ key: 'log_name', value: { value: { value: 'all' } } });
    expect(logs?.scopeLogs[0]?.logRecords[0]).toMatchObject({
      body: { value: { value: 'GET 200' } },
      attributes: [{ key: 'path', value: { value: { value: '/p' } } }],
    });
  });

  it('refuse what they cannot do, with its place', async () => {
    const hcm =
      'access_log: [{name: als, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig, common_config: {log_name: all, grpc_stream_retry_policy: {}, grpc_service: {envoy_grpc: {cluster_name: up}}}}}]';
    await expect(startTraced({ hcm, clusters: [cluster('up', 1)] })).rejects.toThrow(
      /access_log\[0\]\.typed_config\.common_config\.grpc_stream_retry_policy: is not supported/,
    );
  });
});
