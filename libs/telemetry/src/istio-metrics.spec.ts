import { describe, expect, it } from '@jest/globals';
import { createIstioStats, ISTIO_LABELS, type IstioStatsOptions } from './istio-metrics.ts';
import { createMetricRegistry } from './metric-registry.ts';
import { decodePeerMetadata, describePeerNode, encodePeerMetadata, peerOfWorkload } from './peer-metadata.ts';
import { aStream } from './testing/stream-info.ts';

const local = describePeerNode({
  workload: 'productpage-v1',
  namespace: 'default',
  clusterId: 'local',
  labels: { app: 'productpage', version: 'v1' },
});

function stats(options: Partial<IstioStatsOptions> = {}) {
  const registry = createMetricRegistry();
  const istio = createIstioStats({ registry, reporter: 'source', local, ...options });
  const labels = (metric = 'istio_requests_total'): Record<string, string> => {
    const line =
      registry
        .renderPrometheus()
        .split('\n')
        .find((candidate) => candidate.startsWith(`${metric}{`)) ?? '';
    return Object.fromEntries([...line.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
  };
  return { registry, istio, labels };
}

describe('Istio metrics', () => {
  it("carries Istio's 25 labels in their order, from the client's side", () => {
    const { istio, labels } = stats();
    istio.onStreamEnd(aStream());
    expect(Object.keys(labels())).toEqual(ISTIO_LABELS);
    expect(ISTIO_LABELS.length).toBe(25);
    expect(labels()).toMatchObject({
      reporter: 'source',
      source_workload: 'productpage-v1',
      source_app: 'productpage',
      source_principal: 'spiffe://cluster.local/ns/default/sa/productpage',
      destination_workload: 'reviews-v1',
      destination_principal: 'spiffe://cluster.local/ns/default/sa/reviews',
      destination_service: 'reviews.default.svc.cluster.local',
      destination_service_name: 'reviews',
      destination_service_namespace: 'default',
      request_protocol: 'http',
      response_code: '200',
      grpc_response_status: '',
      response_flags: '-',
      connection_security_policy: 'unknown',
    });
  });

  it("tells from the server's side whether mTLS was used, and unknown where it knows nothing", () => {
    const server = stats({ reporter: 'destination' });
    const peerSan = 'spiffe://cluster.local/ns/default/sa/productpage';
    const localSan = 'spiffe://cluster.local/ns/default/sa/reviews';
    server.istio.onStreamEnd(
      aStream({ downstreamPeerUriSan: peerSan, downstreamLocalUriSan: localSan, isDownstreamMtls: true, peer: local }),
    );
    expect(server.labels()).toMatchObject({
      connection_security_policy: 'mutual_tls',
      source_principal: peerSan,
      destination_principal: localSan,
      source_app: 'productpage',
    });
    const plain = stats({ reporter: 'destination' });
    plain.istio.onStreamEnd(aStream({ peer: undefined, downstreamLocalUriSan: localSan }));
    expect(plain.labels()).toMatchObject({
      connection_security_policy: 'none',
      source_workload: 'unknown',
      source_canonical_revision: 'latest',
      source_principal: 'unknown',
      destination_principal: 'unknown',
    });
  });

  it('names the cluster where traffic passes through, and the host only where that is allowed', () => {
    const passthrough = stats({ fallsBackToHost: true });
    passthrough.istio.onStreamEnd(aStream({ upstreamCluster: 'PassthroughCluster', destinationService: undefined, peer: undefined }));
    expect(passthrough.labels()).toMatchObject({
      destination_service: 'PassthroughCluster',
      destination_service_name: 'PassthroughCluster',
    });
    const gateway = stats();
    gateway.istio.onStreamEnd(
      aStream({ upstreamCluster: '', destinationService: undefined, peer: undefined, responseCode: 404, flags: ['noRouteFound'] }),
    );
    expect(gateway.labels()).toMatchObject({ destination_service: 'unknown', response_code: '404', response_flags: 'NR' });
  });

  it('keeps one series for equal requests and another for each difference', () => {
    const { istio, registry } = stats();
    for (const responseCode of [200, 200, 503]) istio.onStreamEnd(aStream({ responseCode }));
    const counts = registry
      .renderPrometheus()
      .split('\n')
      .filter((line) => line.startsWith('istio_requests_total{'));
    expect(counts.map((line) => line.slice(line.lastIndexOf('}') + 2))).toEqual(['2', '1']);
    expect(registry.renderPrometheus()).toMatch(/istio_request_duration_milliseconds_bucket\{.*response_code="200".*le="10"\} 2\n/);
    expect(registry.renderPrometheus()).toMatch(/istio_request_bytes_sum\{.*response_code="503".*\} 120\n/);
  });

  it('counts TCP connections and bytes without a response code', () => {
    const { istio, labels } = stats();
    const series = istio.tcpSeries(aStream({ protocol: '' }));
    series.opened.value++;
    series.sent.value += 10;
    expect(Object.keys(labels('istio_tcp_sent_bytes_total'))).not.toContain('response_code');
    expect(labels('istio_tcp_connections_opened_total')).toMatchObject({ request_protocol: 'tcp', reporter: 'source' });
  });

  it('costs little for a request like the ones before', () => {
    const { istio, registry } = stats();
    const info = aStream();
    for (let index = 0; index < 20_000; index++) istio.onStreamEnd(info);
    expect(registry.collect().find((metric) => metric.name === 'istio_requests_total')?.size).toBe(1);
  });
});

describe('peer metadata', () => {
  it('comes through its header as it was, and the same header gives the same object', () => {
    const header = encodePeerMetadata(local);
    expect(decodePeerMetadata(header)).toEqual(local);
    expect(decodePeerMetadata(header)).toBe(decodePeerMetadata(header));
  });

  it.each(['', '%%%', 'AAAA', 'x'.repeat(10_000)])('takes garbage (%#) without an error', (header) => {
    expect(decodePeerMetadata(header)?.workload ?? '').toBe('');
  });

  it("reads Istio's endpoint metadata", () => {
    expect(peerOfWorkload('reviews-v1;default;reviews;v1;local')).toMatchObject({
      workload: 'reviews-v1',
      namespace: 'default',
      canonicalService: 'reviews',
      canonicalRevision: 'v1',
      clusterId: 'local',
    });
    expect(peerOfWorkload('')).toBeUndefined();
  });
});
