import { type Diagnostic, formatResourceRef, type ResourceRef } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';
import { fetchJson } from './debug-api.ts';

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

/** The control plane's resources by `formatResourceRef`; undefined where it does not answer. */
export async function fetchConfiguration(address: string | undefined): Promise<ReadonlyMap<string, ConfiguredResource> | undefined> {
  if (address === undefined) return undefined;
  const answer = await fetchJson(`http://${address}/debug/configz`).catch(() => undefined);
  if (!Array.isArray(answer)) return undefined;
  return new Map((answer as ConfiguredResource[]).map((resource) => [formatResourceRef(refOfConfigured(resource)), resource]));
}

function refOfConfigured({ kind, metadata }: ConfiguredResource): ResourceRef {
  return { kind, namespace: metadata.namespace, name: metadata.name };
}
