import { fillMeshConfig, type MeshConfigInput, parseResource, parseYaml, type Resource } from '@mizzen/mesh-api';
import { buildMeshSnapshot, type MeshSnapshot } from './mesh-snapshot.ts';
import { type ProxyNode, parseProxyNode } from './proxy-node.ts';
import type { Service, ServicePort } from './service.ts';
import type { Workload } from './workload.ts';

/** Resources written as YAML, each a second older than the next. Throws on what is not valid. */
export function resourcesOf(yaml: string): Resource[] {
  return parseYaml(yaml, 'test.yaml').documents.map((document, index) => {
    const { resource, diagnostics } = parseResource(document);
    if (resource === undefined) throw new Error(diagnostics.map(({ message }) => message).join('\n'));
    return {
      ...resource,
      metadata: { ...resource.metadata, creationTimestamp: new Date(Date.UTC(2024, 0, 1) + index * 1000).toISOString() },
    };
  });
}

export function snapshotOf(yaml: string, meshConfig: MeshConfigInput = {}): MeshSnapshot {
  return buildMeshSnapshot({ mesh: fillMeshConfig(meshConfig), resources: resourcesOf(yaml) });
}

export function sidecarNode(
  labels: Record<string, string>,
  options: { namespace?: string; metadata?: Record<string, unknown> } = {},
): ProxyNode {
  const namespace = options.namespace ?? 'default';
  const name = labels['app'] ?? 'client';
  return parseProxyNode({
    id: `sidecar~127.0.0.1~${name}.${namespace}~${namespace}.svc.cluster.local`,
    userAgentName: 'mizzen',
    metadata: { NAMESPACE: namespace, LABELS: labels, ...options.metadata },
  });
}

export function serviceEntry(name: string, more = ''): string {
  return `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec:
  hosts: [${name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  workloadSelector: { labels: { app: ${name} } }
${more}`;
}

/** A service as a registry of Kubernetes makes it. */
export function kubernetesService(
  name: string,
  { clusterIp = '10.96.0.1', ports }: { clusterIp?: string; ports?: readonly ServicePort[] },
): Service {
  const isHeadless = clusterIp === 'None';
  return {
    host: `${name}.default.svc.cluster.local`,
    namespace: 'default',
    name,
    ports: ports ?? [{ number: 80, name: 'http', protocol: 'http', targetPort: 80 }],
    addresses: isHeadless ? [] : [clusterIp],
    isExternal: false,
    resolution: isHeadless ? 'passthrough' : 'static',
    visibility: 'everywhere',
    endpointSource: 'registry',
    workloadSelector: { app: name },
    ownWorkloads: [],
    subjectAltNames: [],
    createdAt: '2025-01-01T00:00:00Z',
    source: { kind: 'Service', namespace: 'default', name },
  };
}

/** A pod behind the service of its app. */
export function podOf(
  app: string,
  address: string,
  { ports = {}, isReady = true, locality = '' }: { ports?: Readonly<Record<string, number>>; isReady?: boolean; locality?: string },
): Workload {
  return {
    name: `${app}-${address}`,
    namespace: 'default',
    address,
    ports: {},
    labels: { app },
    serviceAccount: app,
    locality,
    network: '',
    weight: 0,
    tlsMode: 'istio',
    group: '',
    endpointOf: [{ host: `${app}.default.svc.cluster.local`, ports, isReady }],
  };
}
