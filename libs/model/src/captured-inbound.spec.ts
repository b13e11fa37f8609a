import { describe, expect, it } from '@jest/globals';
import { fillMeshConfig, type MeshConfigInput } from '@mizzen/mesh-api';
import { buildMeshSnapshot } from './mesh-snapshot.ts';
import { buildProxyView, type ProxyView } from './proxy-view.ts';
import type { Service, ServicePort } from './service.ts';
import { kubernetesService, resourcesOf, sidecarNode } from './testing.ts';

const CAPTURED = { INTERCEPTION_MODE: 'REDIRECT', INSTANCE_IPS: '10.0.0.1' };

function view(about: { services?: Service[]; yaml?: string; metadata?: Record<string, unknown>; mesh?: MeshConfigInput }): ProxyView {
  const { services = [], yaml = '', metadata = {}, mesh = {} } = about;
  const snapshot = buildMeshSnapshot({ mesh: fillMeshConfig(mesh), resources: resourcesOf(yaml), services });
  const node = sidecarNode({ app: 'app' }, { metadata: { ...CAPTURED, ...metadata } });
  return buildProxyView(snapshot, { ...node, ip: '10.0.0.1' });
}

function service(name: string, ports: readonly ServicePort[], more: Partial<Service> = {}): Service {
  return { ...kubernetesService(name, { ports }), workloadSelector: { app: 'app' }, ...more };
}

function port(number: number, targetPort: number, more: Partial<ServicePort> = {}): ServicePort {
  return { number, name: `http-${number}`, protocol: 'http', targetPort, ...more };
}

const summary = ({ inbound }: ProxyView) =>
  inbound.map((entry) => [entry.port, entry.protocol, entry.defaultEndpoint, entry.services.map(({ name }) => name)]);

describe('the inbound ports of a captured workload', () => {
  it('are the target ports of the services that select it; the oldest decides', () => {
    const older = service('older', [port(80, 9080), port(8080, 9080, { protocol: 'tcp' }), port(53, 5353, { protocol: 'udp' })], {
      createdAt: '2024-01-01T00:00:00Z',
    });
    const newer = service('newer', [port(81, 9080, { protocol: 'tcp' }), port(82, 9082)]);
    const other = service('other', [port(80, 1)], { workloadSelector: { app: 'other' } });
    expect(summary(view({ services: [newer, older, other] }))).toEqual([
      [9080, 'http', '', ['older', 'newer']],
      [9082, 'http', '', ['newer']],
    ]);
  });

  it('are found by name among the ports of the pod', () => {
    const named = service('named', [port(80, 80, { targetPortName: 'web' })]);
    expect(summary(view({ services: [named], metadata: { POD_PORTS: '[{"name":"web","containerPort":8080}]' } }))).toEqual([
      [8080, 'http', '', ['named']],
    ]);
    expect(summary(view({ services: [named], metadata: { POD_PORTS: 'nonsense' } }))).toEqual([[80, 'http', '', ['named']]]);
  });

  it('are those of a registered workload by its group', () => {
    const yaml = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: app }
spec:
  hosts: [app.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: app } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: app }
spec: { template: { ports: { http: 9080 } } }
`;
    expect(summary(view({ yaml, metadata: { AUTO_REGISTER_GROUP: 'app' } }))).toEqual([[9080, 'http', '', ['app']]]);
  });

  it('lead to the loopback address where the mesh says so', () => {
    expect(summary(view({ services: [service('app', [port(80, 9080)])], mesh: { inboundTrafficPolicy: { mode: 'LOCALHOST' } } }))).toEqual([
      [9080, 'http', '127.0.0.1:9080', ['app']],
    ]);
  });

  it('are those that its Sidecar lists', () => {
    const yaml = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec:
  ingress:
    - { port: { number: 9080, name: tcp, protocol: TCP }, defaultEndpoint: "0.0.0.0:8080" }
    - { port: { number: 9081, name: http, protocol: HTTP } }
    - { port: { number: 9082, name: http, protocol: HTTP }, captureMode: NONE, bind: 127.0.0.1, defaultEndpoint: "127.0.0.1:1" }
`;
    const { inbound } = view({ yaml, services: [service('app', [port(80, 9080), port(99, 9099)])] });
    expect(inbound.map((entry) => [entry.isCaptured, entry.bind, entry.port, entry.protocol, entry.defaultEndpoint])).toEqual([
      [true, '0.0.0.0', 9080, 'tcp', '10.0.0.1:8080'],
      [true, '0.0.0.0', 9081, 'http', ''],
      [false, '127.0.0.1', 9082, 'http', '127.0.0.1:1'],
    ]);
  });
});

describe('ports of a captured workload that no service has', () => {
  const policy = (spec: string) => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: app }
spec: ${spec}
`;

  it('have its policy, and their own where they were given one', () => {
    const yaml = policy(
      '{ selector: { matchLabels: { app: app } }, mtls: { mode: STRICT }, portLevelMtls: { "9080": { mode: DISABLE }, "7000": { mode: DISABLE } } }',
    );
    expect(view({ yaml, services: [service('app', [port(80, 9080)])] }).inboundPassthrough).toEqual([
      { port: 0, mtls: 'strict' },
      { port: 7000, mtls: 'disable' },
    ]);
    expect(view({ yaml, metadata: { INTERCEPTION_MODE: 'NONE' } }).inboundPassthrough).toEqual([]);
  });

  it('let nothing in by plaintext where a Sidecar wanted TLS of its own', () => {
    const yaml = `${policy('{ mtls: { mode: DISABLE } }')}---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec:
  ingress:
    - port: { number: 9080, name: https, protocol: HTTPS }
      defaultEndpoint: "127.0.0.1:8080"
      tls: { mode: SIMPLE, privateKey: /key, serverCertificate: /cert }
`;
    const { inbound, inboundPassthrough } = view({ yaml });
    expect(inbound).toEqual([]);
    expect(inboundPassthrough).toEqual([
      { port: 0, mtls: 'disable' },
      { port: 9080, mtls: 'strict' },
    ]);
  });
});
