import { describe, expect, it } from '@jest/globals';
import { fillMeshConfig } from '@mizzen/mesh-api';
import { buildMeshSnapshot } from './mesh-snapshot.ts';
import { type ProxyNode, parseProxyNode } from './proxy-node.ts';
import { buildProxyView } from './proxy-view.ts';
import type { Service, ServicePort } from './service.ts';
import { kubernetesService } from './testing.ts';

function gateway(metadata: Record<string, unknown> = {}): ProxyNode {
  return parseProxyNode({
    id: 'router~10.244.0.7~gw-1.default~default.svc.cluster.local',
    metadata: { NAMESPACE: 'default', LABELS: { app: 'gw', istio: 'ingressgateway' }, PORT_MAP: { '80': 8080, '443': 8443 }, ...metadata },
  });
}

function port(number: number, target: Pick<ServicePort, 'targetPort' | 'targetPortName'>): ServicePort {
  return { number, name: `p-${number}`, protocol: 'tcp', ...target };
}

function portMapWith(services: readonly Service[], node = gateway()): unknown {
  const snapshot = buildMeshSnapshot({ mesh: fillMeshConfig({}), resources: [], services });
  return Object.fromEntries(buildProxyView(snapshot, node).gatewayPorts.bound);
}

describe('the ports of a gateway', () => {
  it('are those that it announces where no Service leads to it', () => {
    const other = kubernetesService('other', { ports: [port(80, { targetPort: 1080 })] });
    expect(portMapWith([other])).toEqual({ '80': 8080, '443': 8443 });
  });

  it('are the target ports of the Service that leads to it', () => {
    const service = kubernetesService('gw', { ports: [port(80, { targetPort: 80 }), port(31_400, { targetPort: 1400 })] });
    expect(portMapWith([service])).toEqual({ '80': 80, '443': 8443, '31400': 1400 });
  });

  it('are looked up by their name in the pod, and left alone where the pod does not tell', () => {
    const ports = [port(80, { targetPort: 80, targetPortName: 'web' }), port(443, { targetPort: 443, targetPortName: 'tls' })];
    const node = gateway({ POD_PORTS: '[{"name":"web","containerPort":9090,"protocol":"TCP"}]' });
    expect(portMapWith([kubernetesService('gw', { ports })], node)).toEqual({ '80': 9090, '443': 8443 });
  });

  it('are published under their own number where a Service leads to them', () => {
    const service = kubernetesService('gw', { ports: [port(80, { targetPort: 8080 })] });
    const snapshot = buildMeshSnapshot({ mesh: fillMeshConfig({}), resources: [], services: [service] });
    expect([...buildProxyView(snapshot, gateway()).gatewayPorts.published]).toEqual([80]);
  });

  it('are those of the oldest Service where several have the number', () => {
    const older = { ...kubernetesService('gw', { ports: [port(80, { targetPort: 1 })] }), createdAt: '2024-01-01T00:00:00Z' };
    const newer = { ...kubernetesService('gw', { ports: [port(80, { targetPort: 2 })] }), host: 'b.default.svc.cluster.local' };
    expect(portMapWith([newer, older])).toMatchObject({ '80': 1 });
  });
});
