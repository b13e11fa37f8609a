/**
 * The latest value of something, for many readers and one writer. Setting an equal value (`Object.is`, or `equals`) tells nobody.
 */
export class Watchable<T> {
  #value: T;
  readonly #equals: (a: T, b: T) => boolean;
  readonly #watchers = new Set<(value: T) => void>();

  constructor(initial: T, equals: (a: T, b: T) => boolean = Object.is) {
    this.#value = initial;
    this.#equals = equals;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (this.#equals(this.#value, value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  /** Calls `watcher` on every change from now on (not with the current value). Returns what ends it. */
  watch(watcher: (value: T) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Resolves with the first value, the current one included, that `predicate` accepts. Rejects with the signal's reason. */
  until(predicate: (value: T) => boolean, options: { signal?: AbortSignal } = {}): Promise<T> {
    if (predicate(this.#value)) return Promise.resolve(this.#value);
    const { signal } = options;
    return new Promise((resolve, reject) => {
      const stop = this.watch((value) => {
        if (!predicate(value)) return;
        end();
        resolve(value);
      });
      const aborted = (): void => {
        end();
        reject(signal?.reason);
      };
      const end = (): void => {
        stop();
        signal?.removeEventListener('abort', aborted);
      };
      if (signal?.aborted) aborted();
      else signal?.addEventListener('abort', aborted);
    });
  }
}
