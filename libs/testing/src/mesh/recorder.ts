const DEFAULT_TIMEOUT_MS = 20_000;

/** What happened, in its order, for tests that look at it or wait for it. */
export class Recorder<T> {
  readonly #what: string;
  #items: T[] = [];
  readonly #watchers = new Set<() => void>();

  constructor(what: string) {
    this.#what = what;
  }

  get all(): readonly T[] {
    return this.#items;
  }

  add(item: T): void {
    this.#items.push(item);
    for (const watcher of [...this.#watchers]) watcher();
  }

  clear(): void {
    this.#items = [];
  }

  /** The first that fits, now or later. Rejects after `timeoutMs` (default 20,000) with all that there were. */
  first(fits: (item: T) => boolean = () => true, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<T> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = this.#items.find(fits);
        if (found === undefined) return;
        end();
        resolve(found);
      };
      const end = (): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
      };
      const timer = setTimeout(() => {
        end();
        reject(new Error(`no such ${this.#what} within ${timeoutMs} ms; there were ${JSON.stringify(this.#items)}`));
      }, timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }
}
