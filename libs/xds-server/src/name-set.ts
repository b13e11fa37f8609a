import { contentVersion } from './encoded-resource.ts';

/**
 * The names that a stream subscribed to, as a value: two streams with the same names have the same object, so that what is
 * generated for one can be found for the other by identity.
 */
export class NameSet {
  readonly #names: ReadonlySet<string>;

  private constructor(names: ReadonlySet<string>) {
    this.#names = names;
  }

  static of(names: Iterable<string>): NameSet {
    const sorted = [...new Set(names)].sort();
    const key = contentVersion(sorted.join('\n'));
    const known = interned.get(key)?.deref();
    if (known) return known;
    const created = new NameSet(new Set(sorted));
    interned.set(key, new WeakRef(created));
    forgotten.register(created, key);
    return created;
  }

  get size(): number {
    return this.#names.size;
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** In ascending order. */
  [Symbol.iterator](): Iterator<string> {
    return this.#names.values();
  }
}

const interned = new Map<string, WeakRef<NameSet>>();
const forgotten = new FinalizationRegistry<string>((key) => {
  if (!interned.get(key)?.deref()) interned.delete(key);
});
