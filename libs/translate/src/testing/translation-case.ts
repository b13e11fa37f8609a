import type { Diagnostic } from '@mizzen/core';
import { fillMeshConfig, type MeshConfigInput, parseResource, parseYaml, type Resource } from '@mizzen/mesh-api';
import { buildMeshSnapshot, buildProxyView, type EnvoyNode, type MeshSnapshot, type ProxyView, parseProxyNode } from '@mizzen/model';
import { type CasePod, type CaseService, registryOf } from './kubernetes-case.ts';

/** A proxy of a case, in short: what is left out is a plain sidecar of the namespace `default`. */
export interface CaseNode {
  readonly type?: 'sidecar' | 'router';
  readonly client?: 'mizzen' | 'envoy';
  readonly name?: string;
  readonly namespace?: string;
  readonly labels?: Record<string, string>;
  readonly metadata?: Record<string, unknown>;
  /** Address of the pod; the network leads its traffic to the proxy. */
  readonly capturedAt?: string;
}

export interface CaseHeader {
  readonly meshConfig?: MeshConfigInput;
  readonly nodes: Readonly<Record<string, CaseNode>>;
  /** What a registry of Kubernetes would tell. */
  readonly services?: readonly CaseService[];
  readonly pods?: readonly CasePod[];
  /** Types to compare; all by default. */
  readonly outputs?: readonly OutputType[];
  /** Regular expression for the names of clusters, endpoints and virtual hosts to compare. */
  readonly only?: string;
}

export const OUTPUT_TYPES = ['listeners', 'routes', 'clusters', 'endpoints'] as const;
export type OutputType = (typeof OUTPUT_TYPES)[number] | 'nameTable';

export interface TranslationCase {
  readonly header: CaseHeader;
  readonly resources: readonly Resource[];
  readonly diagnostics: readonly Diagnostic[];
  readonly snapshot: MeshSnapshot;
}

/** Reads a case: the first document is its header, all others are resources. Throws on what is not valid: a typo must not pass as a case. */
export function readCase(text: string, file: string, more: readonly { text: string; file: string }[] = []): TranslationCase {
  const parsed = parseYaml(text, file);
  const [first, ...documents] = parsed.documents;
  const all = [parsed, ...more.map((each) => parseYaml(each.text, each.file))];
  const others = all.slice(1).flatMap((each) => each.documents);
  const results = [...documents, ...others].map((document) => parseResource(document));
  const diagnostics = [...all.flatMap((each) => each.diagnostics), ...results.flatMap((result) => result.diagnostics)];
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  if (errors.length > 0)
    throw new Error(errors.map(({ message, position }) => `${position?.file}:${position?.line} ${message}`).join('\n'));
  const header = first?.value as CaseHeader;
  // As if written one after the other, so that the age of resources follows their order.
  const resources = results.flatMap(({ resource }, index) => (resource ? [withTimestamp(resource, index)] : []));
  const { services, workloads } = registryOf(header.services ?? [], header.pods ?? []);
  const snapshot = buildMeshSnapshot({ mesh: fillMeshConfig(header.meshConfig ?? {}), resources, services, workloads });
  return { header, resources, diagnostics, snapshot };
}

function withTimestamp(resource: Resource, index: number): Resource {
  return {
    ...resource,
    metadata: { ...resource.metadata, creationTimestamp: new Date(Date.UTC(2024, 0, 1) + index * 1000).toISOString() },
  };
}

export function viewOf(translationCase: TranslationCase, nodeName: string): ProxyView {
  const node = translationCase.header.nodes[nodeName];
  if (node === undefined) throw new Error(`the case has no node ${nodeName}`);
  return buildProxyView(translationCase.snapshot, parseProxyNode(envoyNode(nodeName, node)));
}

function envoyNode(key: string, node: CaseNode): EnvoyNode {
  const namespace = node.namespace ?? 'default';
  const name = node.name ?? `${key}-1`;
  const labels = node.labels ?? { app: key, version: 'v1' };
  return {
    id: `${node.type ?? 'sidecar'}~${node.capturedAt ?? '127.0.0.1'}~${name}.${namespace}~${namespace}.svc.cluster.local`,
    cluster: `${key}.${namespace}`,
    userAgentName: node.client ?? 'mizzen',
    metadata: {
      NAMESPACE: namespace,
      LABELS: labels,
      WORKLOAD_NAME: key,
      CLUSTER_ID: 'local',
      MESH_ID: 'mizzen',
      INTERCEPTION_MODE: node.capturedAt === undefined ? 'NONE' : 'REDIRECT',
      ...(node.capturedAt !== undefined && { INSTANCE_IPS: node.capturedAt }),
      ...node.metadata,
    },
  };
}
