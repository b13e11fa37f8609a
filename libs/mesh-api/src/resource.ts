import type { ResourceRef, SourcePosition } from '@mizzen/core';
import type { Kind, SpecOf } from './kinds.ts';

export interface ResourceMetadata {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** ISO 8601. Files: the time the file was first seen with this resource; older wins where Istio says so. */
  readonly creationTimestamp: string;
  /** Counts changes of the spec, from 1. */
  readonly generation: number;
}

/** One typed object of the configuration, validated and with nothing defaulted: what the user wrote. */
export interface Resource<K extends Kind = Kind> {
  readonly apiVersion: string;
  readonly kind: K;
  readonly metadata: ResourceMetadata;
  readonly spec: SpecOf<K>;
  /** Where it was written, and the line of each of its fields, for diagnostics. */
  readonly position?: SourcePosition;
  /** Line of the field at a path such as ['spec','http',0]; the nearest parent's where it is unknown. */
  readonly lineOf?: (path: readonly (string | number)[]) => number | undefined;
}

/** A resource of some kind; `kind` tells which, so that a `switch` narrows the spec. */
export type AnyResource = { [K in Kind]: Resource<K> }[Kind];

export function isOfKind<K extends Kind>(resource: Resource, kind: K): resource is Resource<K> {
  return resource.kind === kind;
}

export function refOf(resource: Resource): ResourceRef {
  return { kind: resource.kind, namespace: resource.metadata.namespace, name: resource.metadata.name };
}

/** `VirtualService/default/reviews`: equal for two resources exactly when they are the same one. */
export function resourceKey(ref: ResourceRef): string {
  return `${ref.kind}/${ref.namespace}/${ref.name}`;
}

/** The resource as it is written in a file: what the user gives, in the usual order of fields. */
export function manifestOf({ apiVersion, kind, metadata, spec }: Resource): Record<string, unknown> {
  const { name, namespace, labels, annotations } = metadata;
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      namespace,
      ...(Object.keys(labels).length > 0 && { labels }),
      ...(Object.keys(annotations).length > 0 && { annotations }),
    },
    spec,
  };
}
