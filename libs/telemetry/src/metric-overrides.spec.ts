import { describe, expect, it } from '@jest/globals';
import { compileExpression } from './expression.ts';
import { createIstioStats, ISTIO_LABELS } from './istio-metrics.ts';
import type { MetricOverride } from './metric-overrides.ts';
import { createMetricRegistry } from './metric-registry.ts';
import { describePeerNode } from './peer-metadata.ts';
import { aStream } from './testing/stream-info.ts';

const local = describePeerNode({ workload: 'web-v1', namespace: 'default', clusterId: 'local', labels: { app: 'web' } });

function recorded(overrides: readonly Partial<MetricOverride>[], streams = [aStream()]) {
  const registry = createMetricRegistry();
  const whole = overrides.map((override) => ({ metric: '', isDropped: false, removedLabels: [], labels: [], ...override }));
  const istio = createIstioStats({ registry, reporter: 'source', local, overrides: whole });
  for (const stream of streams) istio.onStreamEnd(stream);
  return registry.renderPrometheus();
}

describe('expressions', () => {
  it.each([
    ['request.host', 'reviews:9080'],
    ['request.url_path', '/reviews/1'],
    ["request.headers['User-Agent']", 'curl/8'],
    ['string(destination.port)', '9080'],
    ['"fixed"', 'fixed'],
    ["request.method == 'GET' && response.code < 300 ? 'good' : 'other'", 'good'],
    ["has(request.headers['x-none']) ? 'yes' : 'no'", 'no'],
    ["request.host + '/' + string(response.code)", 'reviews:9080/200'],
    ["request.path.startsWith('/reviews') || false", true],
    ["!(request.method != 'GET')", true],
    ['upstream_peer.workload', 'reviews-v1'],
    ['filter_state.upstream_peer.namespace', 'default'],
    ["request.headers['x-none']", undefined],
  ])('reads %s as %s', (text, expected) => {
    expect(compileExpression(text)(aStream())).toBe(expected);
  });

  it.each([
    ['request.hots', /request\.hots is not an attribute/],
    ['request.host ==', /ends too early at position 15/],
    ['matches(request.host)', /matches\(\) is not a function/],
    ['request.host # 1', /cannot be read at position/],
    ["request.host 'x'", /'x' is not expected at position 13/],
  ])('refuses %s', (text, reason) => {
    expect(() => compileExpression(text)).toThrow(reason);
  });
});

describe('metric overrides', () => {
  it('add, change and remove labels of one metric', () => {
    const text = recorded([
      {
        metric: 'requests_total',
        labels: [
          ['request_host', compileExpression('request.host')],
          ['source_app', compileExpression("'changed'")],
        ],
        removedLabels: ['source_principal', 'destination_principal'],
      },
    ]);
    const [line = ''] = text.split('\n').filter((candidate) => candidate.startsWith('istio_requests_total{'));
    expect(line).toContain('source_app="changed"');
    expect(line).toMatch(/,request_host="reviews:9080"\} 1$/);
    expect(line).not.toContain('_principal');
    expect(text).toMatch(/^istio_request_bytes_count\{.*source_principal="spiffe:/m);
  });

  it('switch a metric off', () => {
    const text = recorded([{ metric: 'request_bytes', isDropped: true }]);
    expect(text).not.toContain('istio_request_bytes');
    expect(text).toContain('istio_response_bytes_count');
  });

  it('tell streams apart by what they compute', () => {
    const streams = ['/a', '/b', '/a'].map((path) => aStream({ path }));
    const text = recorded([{ metric: 'requests_total', labels: [['path', compileExpression('request.path')]] }], streams);
    expect(text).toMatch(/^istio_requests_total\{.*path="\/a"\} 2$/m);
    expect(text).toMatch(/^istio_requests_total\{.*path="\/b"\} 1$/m);
  });

  it('of two configurations stand beside each other in one family', () => {
    const registry = createMetricRegistry();
    const label = { metric: 'requests_total', isDropped: false, removedLabels: [], labels: [['x', () => '1'] as const] };
    createIstioStats({ registry, reporter: 'source', local, overrides: [label] }).onStreamEnd(aStream());
    createIstioStats({ registry, reporter: 'destination', local }).onStreamEnd(aStream());
    const text = registry.renderPrometheus((name) => name === 'istio_requests_total');
    expect(text.match(/# TYPE istio_requests_total counter/g)).toHaveLength(1);
    expect(text.split('\n').filter((line) => line.startsWith('istio_requests_total{'))).toHaveLength(2);
  });
});

describe('gRPC messages', () => {
  it('are counted with the first 20 labels', () => {
    const info = aStream({
      requestHeader: (name) => (name === 'content-type' ? 'application/grpc' : undefined),
      grpcMessages: { request: 3, response: 5 },
    });
    const text = recorded([], [info, info]);
    const line = text.split('\n').find((candidate) => candidate.startsWith('istio_request_messages_total{')) ?? '';
    expect([...line.matchAll(/([a-z_]+)="/g)].map(([, name]) => name)).toEqual(ISTIO_LABELS.slice(0, 20));
    expect(line).toMatch(/ 6$/);
    expect(text).toMatch(/^istio_response_messages_total\{.* 10$/m);
  });

  it('make no series for other requests', () => {
    expect(recorded([])).not.toContain('messages_total');
  });
});
