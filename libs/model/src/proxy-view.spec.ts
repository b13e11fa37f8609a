import { describe, expect, it } from '@jest/globals';
import { buildProxyView } from './proxy-view.ts';
import { serviceEntry, sidecarNode, snapshotOf } from './testing.ts';

const HOST = (name: string) => `${name}.default.svc.cluster.local`;

function rule(name: string, spec: string): string {
  return `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name} }
spec: ${spec}
`;
}

function peerAuthentication(name: string, namespace: string, spec: string): string {
  return `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
`;
}

describe('the outbound scope', () => {
  it('is one object for all proxies that may see the same', () => {
    const snapshot = snapshotOf(serviceEntry('a'));
    const scope = buildProxyView(snapshot, sidecarNode({ app: 'x', version: 'v1' })).outboundScope;
    expect(buildProxyView(snapshot, sidecarNode({ app: 'y' })).outboundScope).toBe(scope);
    expect(buildProxyView(snapshot, sidecarNode({ app: 'x' }, { namespace: 'other' })).outboundScope).not.toBe(scope);
  });

  it('differs between clients that a selector tells apart', () => {
    const snapshot = snapshotOf(serviceEntry('a') + rule('selecting', '{ host: a, workloadSelector: { matchLabels: { app: x } } }'));
    const [x, y, z] = ['x', 'y', 'z'].map((app) => buildProxyView(snapshot, sidecarNode({ app })).outboundScope);
    expect(x).not.toBe(y);
    expect(y).toBe(z);
    expect([x?.destinationRule(HOST('a')), y?.destinationRule(HOST('a'))].map(Boolean)).toEqual([true, false]);
  });

  it('lets nothing past an egress proxy, which is not supported yet', () => {
    const sidecar = (policy: string) => `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec: { outboundTrafficPolicy: ${policy} }
`;
    const isRegistryOnly = (policy: string) =>
      buildProxyView(snapshotOf(serviceEntry('a') + sidecar(policy)), sidecarNode({ app: 'x' })).outboundScope.isRegistryOnly;
    expect(isRegistryOnly('{ mode: ALLOW_ANY }')).toBe(false);
    expect(isRegistryOnly('{ mode: REGISTRY_ONLY }')).toBe(true);
    expect(isRegistryOnly('{ mode: ALLOW_ANY, egressProxy: { host: a, port: { number: 80 } } }')).toBe(true);
  });

  it('has only services that are exported to the namespace', () => {
    const snapshot = snapshotOf(
      serviceEntry('own', '  exportTo: ["."]\n') +
        serviceEntry('hidden', '  exportTo: ["~"]\n') +
        serviceEntry('named', '  exportTo: [other]\n') +
        serviceEntry('all'),
    );
    const hosts = (namespace: string) =>
      buildProxyView(snapshot, sidecarNode({ app: 'x' }, { namespace })).outboundScope.services.map(({ name }) => name);
    expect(hosts('default')).toEqual(['all', 'own']);
    expect(hosts('other')).toEqual(['all', 'named']);
  });

  it('unites the subsets of rules for one host; the oldest policy wins', () => {
    const rules =
      rule('one', '{ host: a, subsets: [{ name: v1 }], trafficPolicy: { loadBalancer: { simple: RANDOM } } }') +
      rule(
        'two',
        '{ host: a, subsets: [{ name: v2 }, { name: v1, labels: { ignored: x } }], trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }',
      );
    const merged = buildProxyView(snapshotOf(serviceEntry('a') + rules), sidecarNode({ app: 'x' })).outboundScope.destinationRule(
      HOST('a'),
    );
    expect(merged).toMatchObject({ subsets: [{ name: 'v1' }, { name: 'v2' }], trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } });
    expect(merged?.subsets[0]?.labels).toBeUndefined();
  });

  it('brings the destinations of imported VirtualServices with it', () => {
    const yaml = `${serviceEntry('a') + serviceEntry('b') + serviceEntry('c')}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: a }
spec: { hosts: [a], http: [{ route: [{ destination: { host: b } }] }] }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec: { egress: [{ hosts: ["./a.default.svc.cluster.local"] }] }
`;
    expect(buildProxyView(snapshotOf(yaml), sidecarNode({ app: 'x' })).outboundScope.services.map(({ name }) => name)).toEqual(['a', 'b']);
  });
});

describe('inbound ports', () => {
  const inbound = { INBOUND: [{ port: 80, listenPort: 40001, defaultEndpoint: '127.0.0.1:5000' }] };

  it.each([
    ['nothing', '', 'permissive'],
    ['the mesh', peerAuthentication('m', 'istio-system', '{ mtls: { mode: STRICT } }'), 'strict'],
    [
      'the namespace before the mesh',
      peerAuthentication('m', 'istio-system', '{ mtls: { mode: STRICT } }') +
        peerAuthentication('n', 'default', '{ mtls: { mode: DISABLE } }'),
      'disable',
    ],
    [
      'UNSET inherits',
      peerAuthentication('m', 'istio-system', '{ mtls: { mode: STRICT } }') +
        peerAuthentication('n', 'default', '{ mtls: { mode: UNSET } }'),
      'strict',
    ],
    [
      'the oldest of a scope',
      peerAuthentication('n1', 'default', '{ mtls: { mode: STRICT } }') +
        peerAuthentication('n2', 'default', '{ mtls: { mode: DISABLE } }'),
      'strict',
    ],
    [
      'a selector in the root namespace is ignored',
      peerAuthentication('m', 'istio-system', '{ selector: { matchLabels: { app: a } }, mtls: { mode: STRICT } }'),
      'permissive',
    ],
    [
      'the workload',
      peerAuthentication('n', 'default', '{ mtls: { mode: STRICT } }') +
        peerAuthentication('w', 'default', '{ selector: { matchLabels: { app: a } }, mtls: { mode: DISABLE } }'),
      'disable',
    ],
    [
      'the port',
      peerAuthentication(
        'w',
        'default',
        '{ selector: { matchLabels: { app: a } }, mtls: { mode: DISABLE }, portLevelMtls: { "80": { mode: STRICT } } }',
      ),
      'strict',
    ],
  ])('accept what PeerAuthentication says: %s', (_, policies, mode) => {
    const view = buildProxyView(snapshotOf(serviceEntry('a') + policies), sidecarNode({ app: 'a' }, { metadata: inbound }));
    expect(view.inbound).toMatchObject([{ port: 80, protocol: 'http', mtls: mode, listenPort: 40001 }]);
  });

  it('are what a Sidecar with ingress says, at the place that the node listens', () => {
    const sidecar = `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: a }
spec:
  workloadSelector: { labels: { app: a } }
  ingress: [{ port: { number: 80, name: tcp, protocol: TCP }, defaultEndpoint: "unix:///other.sock" }]
`;
    const metadata = { INBOUND: [...inbound.INBOUND, { port: 81, listenPort: 40002 }] };
    const view = buildProxyView(snapshotOf(serviceEntry('a') + sidecar), sidecarNode({ app: 'a' }, { metadata }));
    expect(view.inbound).toMatchObject([{ port: 80, protocol: 'tcp', listenPort: 40001, defaultEndpoint: 'unix:///other.sock' }]);
  });

  it.each([
    ['DISABLE', []],
    ['PERMISSIVE', [{ port: 80, mtls: 'permissive' }]],
    ['STRICT', [{ port: 80, mtls: 'strict' }]],
  ])('do not serve plaintext where a Sidecar asks for TLS of its own: %s', (mode, expected) => {
    const sidecar = `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: a }
spec:
  workloadSelector: { labels: { app: a } }
  ingress:
    - port: { number: 80, name: http, protocol: HTTP }
      tls: { mode: SIMPLE, serverCertificate: /etc/cert.pem, privateKey: /etc/key.pem }
`;
    const policy = peerAuthentication('a', 'default', `{ mtls: { mode: ${mode} } }`);
    const view = buildProxyView(snapshotOf(serviceEntry('a') + sidecar + policy), sidecarNode({ app: 'a' }, { metadata: inbound }));
    expect(view.inbound).toHaveLength(expected.length);
    expect(view.inbound).toMatchObject(expected);
  });
});
