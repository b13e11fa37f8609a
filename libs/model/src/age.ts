import type { Resource } from '@mizzen/mesh-api';

/** Oldest first; equal ages by name, then namespace. Source: istio pilot/pkg/model/config.go sortConfigByCreationTime (1.32 dev). */
export function byAge<R extends Pick<Resource, 'metadata'>>(resources: readonly R[]): R[] {
  return [...resources].sort((a, b) => compareAge(a, b));
}

function compareAge(a: Pick<Resource, 'metadata'>, b: Pick<Resource, 'metadata'>): number {
  return (
    compareText(a.metadata.creationTimestamp, b.metadata.creationTimestamp) ||
    compareText(a.metadata.name, b.metadata.name) ||
    compareText(a.metadata.namespace, b.metadata.namespace)
  );
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Remembers what was derived from an object, so that an unchanged resource keeps one derived object over all snapshots: everything that
 * is cached further down is keyed by it. `context` is whatever else the derivation reads, as text.
 */
export class Derived<K extends object, V> {
  readonly #values = new WeakMap<K, { context: string; value: V }>();

  of(key: K, context: string, make: () => V): V {
    const known = this.#values.get(key);
    if (known !== undefined && known.context === context) return known.value;
    const value = make();
    this.#values.set(key, { context, value });
    return value;
  }
}
