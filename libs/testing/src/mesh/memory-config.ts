import { isDeepStrictEqual } from 'node:util';
import { type Diagnostic, formatDiagnostic, type ResourceRef, Watchable } from '@mizzen/core';
import {
  type MeshConfig,
  manifestOf,
  parseMeshConfig,
  parseResource,
  parseYaml,
  type Resource,
  refOf,
  resourceKey,
} from '@mizzen/mesh-api';

export interface MemoryConfigSnapshot {
  readonly resources: readonly Resource[];
  readonly diagnostics: readonly Diagnostic[];
}

const FILE = 'test.yaml';

/**
 * The configuration of a mesh in memory: what a directory of files is to the real one. A document that is not valid throws, because the
 * test that wrote it is wrong; `diagnostics` are what may be said of valid ones.
 */
export class MemoryConfig {
  readonly snapshot = new Watchable<MemoryConfigSnapshot>({ resources: [], diagnostics: [] });
  readonly #resources = new Map<string, { resource: Resource; diagnostics: readonly Diagnostic[] }>();

  /** Adds the resources, or puts them in the place of those of the same name. Returns what was applied. */
  apply(yaml: string): ResourceRef[] {
    const { documents, diagnostics } = parseYaml(yaml, FILE);
    refuseErrors(diagnostics);
    const parsed = documents.map((document) => parseResource(document));
    for (const result of parsed) refuseErrors(result.diagnostics);
    const resources = parsed.flatMap(({ resource, diagnostics: own }) => (resource ? [{ resource, diagnostics: own }] : []));
    for (const entry of resources) {
      const key = resourceKey(refOf(entry.resource));
      const known = this.#resources.get(key);
      // What has not changed stays the same object, as the sources promise.
      const isSame = known && isDeepStrictEqual(manifestOf(known.resource), manifestOf(entry.resource));
      if (!isSame) this.#resources.set(key, entry);
    }
    this.#publish();
    return resources.map(({ resource }) => refOf(resource));
  }

  /** False where there was none. */
  delete(ref: ResourceRef): boolean {
    const isThere = this.#resources.delete(resourceKey(ref));
    if (isThere) this.#publish();
    return isThere;
  }

  #publish(): void {
    const entries = [...this.#resources].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
    this.snapshot.set({
      resources: entries.map(({ resource }) => resource),
      diagnostics: entries.flatMap(({ diagnostics }) => diagnostics),
    });
  }
}

/** Reads meshConfig; throws where it is not valid. */
export function readMeshConfig(yaml: string): MeshConfig {
  const { meshConfig, diagnostics } = parseMeshConfig(yaml, 'mesh.yaml');
  refuseErrors(diagnostics);
  if (!meshConfig) throw new Error('the mesh configuration is not valid');
  return meshConfig;
}

function refuseErrors(diagnostics: readonly Diagnostic[]): void {
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  if (errors.length > 0) throw new Error(errors.map(formatDiagnostic).join('\n'));
}
