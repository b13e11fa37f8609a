import type { KubeObject } from '@mizzen/kube';
import { type Kind, type ParsedResource, parseResource } from '@mizzen/mesh-api';

/** What is kept of an object of the configuration: what its user wrote. Its status, and who wrote what, is not among it. */
export interface WrittenObject {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec: unknown;
}

// kubectl's copy of the whole object.
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

export function keepWritten({ apiVersion, kind, metadata, spec }: KubeObject): WrittenObject {
  const { name, namespace, labels, creationTimestamp, generation } = metadata;
  const { [LAST_APPLIED]: _, ...annotations } = metadata.annotations ?? {};
  return {
    apiVersion: apiVersion ?? '',
    kind: kind as Kind,
    metadata: {
      name,
      namespace,
      ...(labels && { labels }),
      annotations,
      ...(creationTimestamp !== undefined && { creationTimestamp }),
      ...(generation !== undefined && { generation }),
    },
    spec,
  };
}

/** Parses an object as a document of a file is parsed. It stands in no file: what there is to say names the object. Never throws. */
export function parseObject(value: WrittenObject): ParsedResource {
  const { resource, ref, diagnostics } = parseResource({ value, file: '', line: 0, lineOf: () => 0 });
  const { position: _, lineOf: __, ...withoutPlace } = resource ?? {};
  return {
    ...(resource && { resource: withoutPlace as typeof resource }),
    ...(ref && { ref }),
    diagnostics: diagnostics.map(({ position: ___, ...diagnostic }) => diagnostic),
  };
}
