/** Where a resource may be seen: everywhere, or in the namespaces named (an empty set: nowhere). */
export type Visibility = 'everywhere' | ReadonlySet<string>;

const EVERYWHERE = 'everywhere';

/**
 * Reads `exportTo`: `*` everywhere, `.` the resource's own namespace, `~` nowhere, others by name; absent or empty: the mesh's default.
 * Source: istio pilot/pkg/model/push_context.go (1.32 dev).
 */
export function parseVisibility(
  exportTo: readonly string[] | undefined,
  context: { namespace: string; fallback: readonly string[] | undefined },
): Visibility {
  const entries = exportTo && exportTo.length > 0 ? exportTo : (context.fallback ?? ['*']);
  if (entries.includes('~')) return new Set();
  if (entries.length === 0 || entries.includes('*')) return EVERYWHERE;
  return new Set(entries.map((entry) => (entry === '.' ? context.namespace : entry)));
}

export function isVisibleIn(visibility: Visibility, namespace: string): boolean {
  return visibility === EVERYWHERE || visibility.has(namespace);
}

/** Equal visibilities give equal texts. */
export function visibilityKey(visibility: Visibility): string {
  return visibility === EVERYWHERE ? '*' : [...visibility].sort().join(',');
}
