import { describe, expect, it } from '@jest/globals';
import { clusterSection } from './clusters.ts';
import { readControlPlaneDump } from './control-plane-dump.ts';
import { endpointSection } from './endpoints.ts';
import { listenerSection } from './listeners.ts';
import { routeSection } from './routes.ts';
import type { Section } from './section.ts';

const REVIEWS = 'outbound|9080|v3|reviews.default.svc.cluster.local';
const atPort = (address: string, portValue: number): object => ({ address: { socketAddress: { address, portValue } } });
const config = (type: string, ...resources: object[]): object => ({
  type,
  version: '1',
  resources: resources.map((resource) => ({ name: 'x', version: '1', resource })),
});

/** As debug-views.ts of the control plane writes it. */
const ANSWER = {
  proxy: 'sidecar~10.0.0.1~reviews-v3.default~default.svc.cluster.local',
  configs: [
    config(
      'CDS',
      { name: REVIEWS, type: 'EDS', edsClusterConfig: { serviceName: REVIEWS } },
      { name: 'inbound|9080||', loadAssignment: { endpoints: [{ lbEndpoints: [{ endpoint: atPort('127.0.0.1', 9080) }] }] } },
      { name: 'PassthroughCluster', type: 'ORIGINAL_DST' },
    ),
    config('EDS', {
      clusterName: REVIEWS,
      endpoints: [
        { lbEndpoints: [{ endpoint: atPort('10.0.0.7', 9080) }] },
        { lbEndpoints: [{ endpoint: atPort('10.0.0.8', 9080), healthStatus: 'UNHEALTHY' }] },
      ],
    }),
    config('LDS', { name: 'virtualOutbound', ...atPort('0.0.0.0', 15001), defaultFilterChain: {} }),
    config('RDS', { name: '9080', virtualHosts: [{ domains: ['reviews'], routes: [{ match: { prefix: '/' } }] }] }),
    { type: 'SDS', version: '1', resources: [{ name: 'default', version: '1' }] },
  ],
};

describe('what a control plane has for a proxy', () => {
  const proxy = readControlPlaneDump(ANSWER);
  const rows = (section: Section): unknown[] => section.select(proxy, {}).flatMap((resource) => section.rows(resource));

  it('is shown as what the proxy says of itself is', () => {
    expect(rows(clusterSection)).toEqual([
      ['', '9080', '-', 'inbound', 'STATIC', ''],
      ['PassthroughCluster', '-', '-', '-', 'ORIGINAL_DST', ''],
      ['reviews.default.svc.cluster.local', '9080', 'v3', 'outbound', 'EDS', ''],
    ]);
    expect(rows(listenerSection)).toEqual([['0.0.0.0', '15001', 'ALL', expect.any(String)]]);
    expect(rows(routeSection)).toEqual([['9080', '', 'reviews', '/*', '']]);
  });

  it('holds the endpoints that the proxy was told, and those that are part of a cluster', () => {
    expect(rows(endpointSection)).toEqual([
      ['127.0.0.1:9080', 'HEALTHY', 'OK', 'inbound|9080||'],
      ['10.0.0.7:9080', 'HEALTHY', 'OK', REVIEWS],
      ['10.0.0.8:9080', 'UNHEALTHY', 'OK', REVIEWS],
    ]);
  });

  it('holds neither a secret nor the bootstrap', () => {
    expect(proxy.dump).toMatchObject({ secrets: [], bootstrap: undefined });
  });
});
