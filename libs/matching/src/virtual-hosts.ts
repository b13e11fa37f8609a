import type { Field } from './field.ts';

/** Finds what a host belongs to: exact names first, then the longest `*.suffix`, then the longest `prefix.*`, then `*`. */
export class DomainTable<T> {
  readonly #exact = new Map<string, T>();
  /** Longest first. */
  readonly #suffixes: { length: number; values: Map<string, T> }[] = [];
  readonly #prefixes: { length: number; values: Map<string, T> }[] = [];
  #fallback: T | undefined;

  /** Rejects an empty domain, a star in the middle, and a domain that is there already. */
  add(domain: string, value: T, field: Field): void {
    const name = domain.toLowerCase();
    const star = name.indexOf('*');
    if (name === '') field.reject('a domain must not be empty');
    else if (name === '*') {
      if (this.#fallback !== undefined) field.reject('"*" is in another virtual host too; only one may have it');
      this.#fallback = value;
    } else if (star < 0) this.#insert(this.#exact, name, value, field);
    else if (star === 0 && name.lastIndexOf('*') === 0)
      this.#insert(byLength(this.#suffixes, name.length - 1), name.slice(1), value, field);
    else if (star === name.length - 1) this.#insert(byLength(this.#prefixes, star), name.slice(0, -1), value, field);
    else field.reject(`"${domain}": a star may only stand at the beginning or the end`);
  }

  #insert(values: Map<string, T>, name: string, value: T, field: Field): void {
    if (values.has(name)) field.reject(`"${name}" is in another virtual host too; a domain may only be in one`);
    else values.set(name, value);
  }

  find(host: string): T | undefined {
    const exact = this.#exact.get(host);
    if (exact !== undefined) return exact;
    const name = lowerCase(host);
    return (name === host ? undefined : this.#exact.get(name)) ?? this.#findWildcard(name) ?? this.#fallback;
  }

  #findWildcard(name: string): T | undefined {
    // A wildcard stands for one character at least.
    for (const { length, values } of this.#suffixes) {
      const value = length < name.length ? values.get(name.slice(-length)) : undefined;
      if (value !== undefined) return value;
    }
    for (const { length, values } of this.#prefixes) {
      const value = length < name.length ? values.get(name.slice(0, length)) : undefined;
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

function byLength<T>(tables: { length: number; values: Map<string, T> }[], length: number): Map<string, T> {
  const found = tables.find((table) => table.length === length);
  if (found !== undefined) return found.values;
  const values = new Map<string, T>();
  tables.push({ length, values });
  tables.sort((a, b) => b.length - a.length);
  return values;
}

function lowerCase(host: string): string {
  return /[A-Z]/.test(host) ? host.toLowerCase() : host;
}

/** `reviews:9080` without its port; an IPv6 address keeps its brackets. */
export function stripPort(authority: string): string {
  const colon = authority.lastIndexOf(':');
  if (colon < 0 || authority.indexOf(']', colon) > 0 || (authority.indexOf(':') !== colon && !authority.includes(']:'))) return authority;
  return /^\d+$/.test(authority.slice(colon + 1)) ? authority.slice(0, colon) : authority;
}
