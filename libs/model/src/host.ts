/** `*`, `*.example.com`. */
export function isWildcardHost(host: string): boolean {
  return host.startsWith('*');
}

/** Every name that `host` covers is covered by `pattern` too. */
export function isHostWithin(host: string, pattern: string): boolean {
  if (!isWildcardHost(pattern)) return host === pattern;
  if (pattern === '*') return true;
  return host.length > pattern.length - 1 ? host.endsWith(pattern.slice(1)) : host === pattern;
}

/** Some name is covered by both. Source: istio pkg/config/host/name.go Matches (1.32 dev). */
export function hostsOverlap(a: string, b: string): boolean {
  return isHostWithin(a, b) || isHostWithin(b, a);
}

/** More specific first: names before wildcards, longer before shorter, then by the alphabet. */
export function compareHostSpecificity(a: string, b: string): number {
  const wildcards = Number(isWildcardHost(a)) - Number(isWildcardHost(b));
  return wildcards || b.length - a.length || (a < b ? -1 : a > b ? 1 : 0);
}

/**
 * A short name (`reviews`) becomes the name of the service in the namespace of the resource that says it.
 * Source: istio pilot/pkg/model/virtualservice.go ResolveShortnameToFQDN (1.32 dev).
 */
export function resolveShortName(host: string, scope: { namespace: string; domain: string }): string {
  const name = host.toLowerCase();
  if (name === '' || isWildcardHost(name) || name.includes('.') || name.includes(':')) return name;
  return `${name}.${scope.namespace}.svc.${scope.domain}`;
}

/** The parts of `<service>.<namespace>.svc.<domain>`, or undefined for any other name. */
export function parseServiceHost(host: string, domain: string): { name: string; namespace: string } | undefined {
  const suffix = `.svc.${domain}`;
  if (!host.endsWith(suffix)) return undefined;
  const parts = host.slice(0, -suffix.length).split('.');
  const [name, namespace] = parts;
  return parts.length === 2 && name && namespace && !isWildcardHost(name) ? { name, namespace } : undefined;
}

/** Finds the most specific of many host patterns that covers a name; equal patterns keep the first value given. */
export class HostIndex<T> {
  readonly #exact = new Map<string, T>();
  readonly #wildcards = new Map<string, T>();
  #sorted: readonly string[] | undefined;

  add(pattern: string, value: T): boolean {
    const target = isWildcardHost(pattern) ? this.#wildcards : this.#exact;
    if (target.has(pattern)) return false;
    target.set(pattern, value);
    this.#sorted = undefined;
    return true;
  }

  get(pattern: string): T | undefined {
    return this.#exact.get(pattern) ?? this.#wildcards.get(pattern);
  }

  find(host: string): T | undefined {
    const exact = this.#exact.get(host);
    if (exact !== undefined || this.#wildcards.size === 0) return exact;
    this.#sorted ??= [...this.#wildcards.keys()].sort(compareHostSpecificity);
    const pattern = this.#sorted.find((candidate) => isHostWithin(host, candidate));
    return pattern === undefined ? undefined : this.#wildcards.get(pattern);
  }

  values(): T[] {
    return [...this.#exact.values(), ...this.#wildcards.values()];
  }
}
