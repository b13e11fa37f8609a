import type { Diagnostic, ResourceRef } from '@mizzen/core';
import { type Resource, refOf, resourceKey } from '@mizzen/mesh-api';

export interface ResourceStatus {
  /** The resource as it was written last is in force. */
  readonly accepted: boolean;
  readonly diagnostics: readonly Diagnostic[];
  /** Proxies that acknowledged everything of a push that contained the resource as it is. */
  readonly appliedTo: number;
  readonly ofProxies: number;
}

/** A resource with its status; one that was refused from the start has no spec. */
export interface ConfiguredResource {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string; readonly generation?: number };
  readonly spec?: unknown;
  readonly status: ResourceStatus;
}

/** Of an object of the Kubernetes API, counted by it; 1 where there is none. */
export function generationOf({ metadata }: ConfiguredResource): number {
  return metadata.generation ?? 1;
}

/** Knows since which revision each resource is as it is, and so which proxies have it. */
export class ResourceStatusTracker {
  #since = new Map<string, { readonly resource: Resource; readonly revision: number }>();

  /** Takes the resources of a publication. Unchanged ones are the same objects as before. */
  published(resources: readonly Resource[], revision: number): void {
    const since = new Map<string, { resource: Resource; revision: number }>();
    for (const resource of resources) {
      const key = resourceKey(refOf(resource));
      const known = this.#since.get(key);
      since.set(key, known?.resource === resource ? known : { resource, revision });
    }
    this.#since = since;
  }

  /** `appliedRevisions`: of every connected proxy, the last revision that it acknowledged completely. */
  report(diagnostics: readonly Diagnostic[], appliedRevisions: readonly (number | undefined)[]): ConfiguredResource[] {
    const byResource = groupByResource(diagnostics);
    const known = [...this.#since].map(([key, { resource, revision }]): ConfiguredResource => {
      const own = byResource.get(key)?.diagnostics ?? [];
      const appliedTo = appliedRevisions.filter((applied) => applied !== undefined && applied >= revision).length;
      const { apiVersion, kind, metadata, spec } = resource;
      return { apiVersion, kind, metadata, spec, status: statusOf(own, { appliedTo, ofProxies: appliedRevisions.length }) };
    });
    const refused = [...byResource].filter(([key]) => !this.#since.has(key));
    return [
      ...known,
      ...refused.map(([, { ref, diagnostics: own }]): ConfiguredResource => {
        const { kind, name, namespace } = ref;
        return {
          kind,
          metadata: { name, namespace },
          status: { ...statusOf(own, { appliedTo: 0, ofProxies: appliedRevisions.length }), accepted: false },
        };
      }),
    ];
  }
}

function statusOf(diagnostics: readonly Diagnostic[], counts: { appliedTo: number; ofProxies: number }): ResourceStatus {
  return { accepted: !diagnostics.some(({ severity }) => severity === 'error'), diagnostics, ...counts };
}

function groupByResource(diagnostics: readonly Diagnostic[]): Map<string, { ref: ResourceRef; diagnostics: Diagnostic[] }> {
  const groups = new Map<string, { ref: ResourceRef; diagnostics: Diagnostic[] }>();
  for (const diagnostic of diagnostics) {
    if (!diagnostic.resource) continue;
    const key = resourceKey(diagnostic.resource);
    const group = groups.get(key) ?? { ref: diagnostic.resource, diagnostics: [] };
    group.diagnostics.push(diagnostic);
    groups.set(key, group);
  }
  return groups;
}
