export type Json = Readonly<Record<string, unknown>>;

/**
 * A copy with protobuf's own field names (`virtual_hosts`): Envoy's dumps have them, the standard JSON mapping has `virtualHosts`.
 * Keys that are not identifiers (type URLs, metadata of filters) stay as they are.
 */
export function withProtoNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withProtoNames);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [protoName(key), withProtoNames(inner)]));
}

function protoName(key: string): string {
  return /^[a-z][A-Za-z0-9]*$/.test(key) ? key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) : key;
}

/** The value at a path of names, or undefined where one of them is missing. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let current: unknown = value;
  for (const name of path) current = typeof current === 'object' && current !== null ? (current as Json)[name] : undefined;
  return current;
}

export function textAt(value: unknown, ...path: readonly string[]): string {
  const found = at(value, ...path);
  return typeof found === 'string' || typeof found === 'number' || typeof found === 'boolean' ? String(found) : '';
}

export function listAt(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}
