/** Stands for «none» among the keys of a memo. */
export const NONE: object = Object.freeze({});

interface Level<T> {
  readonly next: WeakMap<object, Level<T>>;
  value?: { readonly of: T };
}

/**
 * Remembers a result by the identity of the objects it was made from. Entries go when one of those objects does.
 * A pure function stays pure with it: the model keeps one object for one unchanged input.
 */
export class IdentityMemo<T> {
  readonly #root: Level<T> = { next: new WeakMap() };

  get(keys: readonly (object | undefined)[], make: () => T): T {
    let level = this.#root;
    for (const key of keys) {
      const object = key ?? NONE;
      let next = level.next.get(object);
      if (next === undefined) {
        next = { next: new WeakMap() };
        level.next.set(object, next);
      }
      level = next;
    }
    level.value ??= { of: make() };
    return level.value.of;
  }
}

/** One look-up that a result depended on: asked again, it must give the same object. */
interface Dependency<S> {
  readonly read: (source: S) => unknown;
  readonly found: unknown;
}

/**
 * Remembers results whose inputs are only known once they were read: `make` reads its source through `read`, and a result is good for any
 * source that gives the same answers.
 */
export class TracedMemo<S, T> {
  readonly #entries = new IdentityMemo<Map<string, { dependencies: readonly Dependency<S>[]; value: T }>>();

  get(key: { objects: readonly (object | undefined)[]; text: string }, source: S, make: (read: <V>(look: (source: S) => V) => V) => T): T {
    const entries = this.#entries.get(key.objects, () => new Map());
    const known = entries.get(key.text);
    if (known?.dependencies.every(({ read, found }) => Object.is(read(source), found))) return known.value;
    const dependencies: Dependency<S>[] = [];
    const value = make((look) => {
      const found = look(source);
      dependencies.push({ read: look, found });
      return found;
    });
    entries.set(key.text, { dependencies, value });
    return value;
  }
}
