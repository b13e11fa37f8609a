import { fillMeshConfig, type MeshConfigInput, parseResource, parseYaml, type Resource } from '@mizzen/mesh-api';
import { buildMeshSnapshot, type MeshSnapshot } from './mesh-snapshot.ts';
import { type ProxyNode, parseProxyNode } from './proxy-node.ts';

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
