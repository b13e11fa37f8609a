import { describe, expect, it } from '@jest/globals';
import { buildProxyView } from './proxy-view.ts';
import { serviceEntry, sidecarNode, snapshotOf } from './testing.ts';

const limit = (name: string, namespace: string, spec: string): string => `---
apiVersion: mizzen.io/v1alpha1
kind: RateLimit
metadata: { name: ${name}, namespace: ${namespace} }
spec: { ${spec} }
`;
const RULES = 'rules: [{ name: a, limit: { requests: 1 } }]';
const GLOBAL = 'rules: [{ name: a, scope: GLOBAL, limit: { requests: 1 } }]';
const REVIEWS = 'selector: { matchLabels: { app: reviews } }';

describe('the RateLimits of a workload', () => {
  const snapshot = snapshotOf(
    [
      limit('mesh', 'istio-system', RULES),
      limit('selected', 'istio-system', `${REVIEWS}, ${RULES}`),
      limit('own', 'default', `${REVIEWS}, ${RULES}`),
      limit('elsewhere', 'other', RULES),
    ].join(''),
  );
  const namesOf = (labels: Record<string, string>, namespace = 'default'): string[] =>
    buildProxyView(snapshot, sidecarNode(labels, { namespace })).rateLimits.map(({ metadata }) => metadata.name);

  it('are those of its namespace and of the root namespace that select it, all together', () => {
    expect(namesOf({ app: 'reviews' })).toEqual(['mesh', 'selected', 'own']);
    expect(namesOf({ app: 'ratings' })).toEqual(['mesh']);
    expect(namesOf({ app: 'reviews' }, 'other')).toEqual(['mesh', 'selected', 'elsewhere']);
  });

  it('leave workloads one scope where only their listeners differ', () => {
    const scopeOf = (app: string) => buildProxyView(snapshot, sidecarNode({ app })).outboundScope;
    expect(scopeOf('reviews')).toBe(scopeOf('ratings'));
  });
});

describe('the rate limit service', () => {
  const counter = serviceEntry('mizzen-rate-limit')
    .replaceAll('default.svc', 'istio-system.svc')
    .replace('name: mizzen-rate-limit }', 'name: c }');
  const sidecar = `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec: { egress: [{ hosts: ["./nothing"] }] }
`;
  const hostsOf = (spec: string): string[] => {
    const snapshot = snapshotOf(`${counter}${sidecar}${limit('a', 'default', spec)}`);
    return buildProxyView(snapshot, sidecarNode({ app: 'reviews' })).outboundScope.services.map(({ host }) => host);
  };

  it('has a cluster for those who ask it, whatever their Sidecar lets in, and for no others', () => {
    expect(hostsOf(GLOBAL)).toEqual(['mizzen-rate-limit.istio-system.svc.cluster.local']);
    expect(hostsOf(RULES)).toEqual([]);
  });
});
