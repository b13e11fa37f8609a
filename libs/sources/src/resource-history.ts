import { hasOwnTimestamp, type Resource, refOf } from '@mizzen/mesh-api';
import { keyOf } from './file-state.ts';
import type { ResourceChange } from './source.ts';

interface Remembered {
  readonly resource: Resource;
  readonly content: string;
  /** Where the lines of `resource` are looked up: text around it may move without a change to it. */
  readonly lines: { lineOf: Resource['lineOf'] };
}

/**
 * Gives resources that come from files what a Kubernetes API server would: a creation time and a generation that outlive re-reading,
 * and one object for as long as nothing changes.
 */
export class ResourceHistory {
  #known = new Map<string, Remembered>();

  /** Takes the place of everything known before; tells what changed. `createdAtMs` is asked for resources that are new. */
  replace(
    read: readonly Resource[],
    createdAtMs: (resource: Resource) => number,
  ): { resources: readonly Resource[]; changes: readonly ResourceChange[] } {
    const changes: ResourceChange[] = [];
    const next = new Map<string, Remembered>();
    for (const resource of read) {
      const key = keyOf(resource);
      const before = this.#known.get(key);
      const content = contentOf(resource);
      const isSame = before?.content === content;
      if (before && isSame && isSamePlace(before.resource, resource)) {
        if (resource !== before.resource) before.lines.lineOf = resource.lineOf;
        next.set(key, before);
        continue;
      }
      const lines = { lineOf: resource.lineOf };
      const stamped = {
        ...stamp(resource, before?.resource, createdAtMs),
        lineOf: (path: readonly (string | number)[]) => lines.lineOf?.(path),
      };
      next.set(key, { resource: stamped, content, lines });
      if (!isSame) changes.push({ type: 'upsert', resource: stamped });
    }
    for (const [key, { resource }] of this.#known) if (!next.has(key)) changes.push({ type: 'delete', ref: refOf(resource) });
    this.#known = next;
    const resources = [...next].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { resource }]) => resource);
    return { resources, changes };
  }
}

function contentOf({ apiVersion, metadata, spec }: Resource): string {
  return JSON.stringify([apiVersion, metadata.labels, metadata.annotations, spec]);
}

function isSamePlace(a: Resource, b: Resource): boolean {
  return a.position?.file === b.position?.file && a.position?.line === b.position?.line;
}

function stamp(resource: Resource, before: Resource | undefined, createdAtMs: (resource: Resource) => number): Resource {
  const specChanged = before && JSON.stringify(before.spec) !== JSON.stringify(resource.spec);
  const creationTimestamp = hasOwnTimestamp(resource)
    ? resource.metadata.creationTimestamp
    : (before?.metadata.creationTimestamp ?? new Date(createdAtMs(resource)).toISOString());
  const generation = before ? before.metadata.generation + (specChanged ? 1 : 0) : 1;
  return { ...resource, metadata: { ...resource.metadata, creationTimestamp, generation } };
}
