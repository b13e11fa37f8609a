import { type Diagnostic, formatResourceRef, type ResourceRef } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';
import type { MeshAccess } from '../access/mesh-access.ts';

/** What the control plane says of one resource. */
export interface ResourceStatus {
  readonly accepted: boolean;
  readonly diagnostics: readonly Diagnostic[];
  /** How many of the proxies that it concerns run with it. */
  readonly appliedTo: number;
  readonly ofProxies: number;
}

/** One entry of /debug/configz. A resource that was refused has no spec. */
export interface ConfiguredResource {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly metadata: Pick<Resource['metadata'], 'name' | 'namespace'> & Partial<Resource['metadata']>;
  readonly spec?: unknown;
  readonly status: ResourceStatus;
}

/**
 * The control plane's resources by `formatResourceRef`; undefined where it does not answer. Of several control planes each tells of the proxies
 * that are connected to it.
 */
export async function fetchConfiguration(mesh: MeshAccess): Promise<ReadonlyMap<string, ConfiguredResource> | undefined> {
  const answers = await mesh.debug('/debug/configz').catch(() => []);
  const lists = answers.filter((answer) => Array.isArray(answer)) as ConfiguredResource[][];
  if (lists.length === 0) return undefined;
  const merged = new Map<string, ConfiguredResource>();
  for (const resource of lists.flat()) {
    const key = formatResourceRef(refOfConfigured(resource));
    const other = merged.get(key);
    merged.set(key, other ? { ...other, status: sum(other.status, resource.status) } : resource);
  }
  return merged;
}

function sum(a: ResourceStatus, b: ResourceStatus): ResourceStatus {
  return { ...a, accepted: a.accepted && b.accepted, appliedTo: a.appliedTo + b.appliedTo, ofProxies: a.ofProxies + b.ofProxies };
}

export function refOfConfigured({ kind, metadata }: ConfiguredResource): ResourceRef {
  return { kind, namespace: metadata.namespace, name: metadata.name };
}
