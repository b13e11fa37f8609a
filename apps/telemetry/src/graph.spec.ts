import { describe, expect, it } from '@jest/globals';
import { buildGraph, GRAPH_METRICS, type Graph } from './graph.ts';
import { MetricsStore } from './metrics-store.ts';
import type { Sample } from './sample.ts';
import { aSample, BUCKET_BOUNDS_MS, callLabels, FakeClock } from './testing.ts';

const clock = new FakeClock();

function graphOf(samples: readonly Partial<Sample>[]): Graph {
  const store = new MetricsStore({ clock, historyMs: 900_000, expiryMs: 900_000, maxSeries: 100, windowMetrics: GRAPH_METRICS });
  store.record(samples.map((sample) => aSample({ clock, ...sample })));
  return buildGraph(store, { windowMs: 60_000, nowMs: clock.now() });
}

const fromDestination = { reporter: 'destination', connection_security_policy: 'mutual_tls' };

describe('the graph', () => {
  it('counts a call once although both sides report it', () => {
    const { edges } = graphOf([{ values: [30] }, { instance: 'reviews', labels: callLabels(fromDestination), values: [30] }]);
    expect(edges).toHaveLength(1);
    expect(edges[0]).toMatchObject({
      source: 'default/productpage-v1',
      destination: 'default/reviews-v1',
      destinationService: 'reviews.default.svc.cluster.local',
      protocol: 'http',
      requests: 30,
      requestsPerSecond: 0.5,
      errorRatio: 0,
      mtls: 'mutual_tls',
      reporters: ['destination', 'source'],
    });
  });

  it('falls back to what the destination says when the caller has no proxy', () => {
    const { edges } = graphOf([{ labels: callLabels({ ...fromDestination, connection_security_policy: 'none' }), values: [6] }]);
    expect(edges[0]).toMatchObject({ requests: 6, mtls: 'none', reporters: ['destination'] });
  });

  it('leaves mutual TLS unknown as long as only the caller has reported', () => {
    expect(graphOf([{}]).edges[0]?.mtls).toBe('unknown');
  });

  it.each([
    { name: 'HTTP 5xx', labels: { response_code: '503' } },
    { name: 'no response at all', labels: { response_code: '0' } },
    { name: 'a gRPC status other than OK', labels: { request_protocol: 'grpc', grpc_response_status: '14' } },
  ])('counts $name as an error', ({ labels }) => {
    const ok = {
      request_protocol: 'http',
      grpc_response_status: '',
      ...labels,
      response_code: '200',
      ...(labels.request_protocol && { grpc_response_status: '0' }),
    };
    const { edges } = graphOf([
      { labels: callLabels(labels), values: [1] },
      { labels: callLabels(ok), values: [3] },
    ]);
    expect(edges.map((edge) => edge.errorRatio)).toEqual([0.25]);
  });

  it('does not count HTTP 404 as an error', () => {
    expect(graphOf([{ labels: callLabels({ response_code: '404' }) }]).edges[0]?.errorRatio).toBe(0);
  });

  it('gives the percentiles of the response times', () => {
    const bucketCounts = [...BUCKET_BOUNDS_MS, Number.POSITIVE_INFINITY].map((bound) => (bound === 100 ? 90 : bound === 1000 ? 10 : 0));
    const duration = { metric: 'istio_request_duration_milliseconds', kind: 'histogram' as const, bounds: BUCKET_BOUNDS_MS };
    const edge = graphOf([{ values: [100] }, { ...duration, values: [12_000, ...bucketCounts] }]).edges[0];
    expect(edge?.p50Ms).toBeCloseTo(50 + 50 * (50 / 90));
    expect(edge?.p90Ms).toBe(100);
    expect(edge?.p99Ms).toBeCloseTo(500 + 500 * 0.9);
  });

  it('shows TCP by its connections and bytes', () => {
    const labels = callLabels({
      request_protocol: 'tcp',
      destination_workload: 'mysqldb-v1',
      destination_service: 'mysqldb.default.svc.cluster.local',
    });
    const { edges } = graphOf([
      { metric: 'istio_tcp_connections_opened_total', labels, values: [2] },
      { metric: 'istio_tcp_received_bytes_total', labels, values: [600] },
      { metric: 'istio_tcp_sent_bytes_total', labels, values: [1_200] },
    ]);
    expect(edges).toEqual([
      expect.objectContaining({
        protocol: 'tcp',
        connections: 2,
        requests: 0,
        receivedBytesPerSecond: 10,
        sentBytesPerSecond: 20,
        p50Ms: null,
      }),
    ]);
  });

  it('names every workload once, with the service it is called as', () => {
    const toRatings = {
      source_workload: 'reviews-v1',
      source_app: 'reviews',
      destination_workload: 'ratings-v1',
      destination_app: 'ratings',
      destination_service: 'ratings.default.svc.cluster.local',
    };
    const { nodes } = graphOf([{ labels: callLabels(toRatings) }, {}]);
    expect(nodes.map((node) => [node.id, node.app, node.version, node.service])).toEqual([
      ['default/productpage-v1', 'productpage', 'v1', ''],
      ['default/ratings-v1', 'ratings', 'v1', 'ratings.default.svc.cluster.local'],
      ['default/reviews-v1', 'reviews', 'v1', 'reviews.default.svc.cluster.local'],
    ]);
  });

  it('shows a destination outside the mesh as its service', () => {
    const labels = callLabels({
      destination_workload: 'unknown',
      destination_workload_namespace: 'unknown',
      destination_service: 'www.googleapis.com',
    });
    expect(graphOf([{ labels }]).edges[0]?.destination).toBe('service:www.googleapis.com');
  });

  it('is empty without traffic', () => {
    expect(graphOf([])).toMatchObject({ windowSeconds: 60, nodes: [], edges: [] });
  });
});
