/**
 * Picks items in proportion to weights that may change between picks: the one whose deadline is earliest, whose next deadline then lies
 * 1 / weight later. A pick costs O(log n). Source: envoy EdfScheduler (1.40), "earliest deadline first".
 */
export class EdfScheduler<T> {
  readonly #weightOf: (item: T) => number;
  /** A binary heap by deadline; equal deadlines in the order of insertion. */
  readonly #heap: { readonly item: T; deadline: number; order: number }[];
  #now = 0;
  #orders = 0;

  /** `random` makes the proxies of a fleet start at different places. Weights are above 0. */
  constructor(items: readonly T[], weightOf: (item: T) => number, random: () => number) {
    this.#weightOf = weightOf;
    this.#heap = items.map((item) => ({ item, deadline: 1 / weightOf(item), order: this.#orders++ }));
    for (let index = (this.#heap.length >> 1) - 1; index >= 0; index--) this.#sink(index);
    const skipped = Math.floor(random() * items.length);
    for (let index = 0; index < skipped; index++) this.pick();
  }

  /** Never called without items. */
  pick(): T {
    const first = this.#heap[0] as { readonly item: T; deadline: number; order: number };
    this.#now = first.deadline;
    first.deadline = this.#now + 1 / this.#weightOf(first.item);
    first.order = this.#orders++;
    this.#sink(0);
    return first.item;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    let index = from;
    for (;;) {
      const left = 2 * index + 1;
      let least = index;
      if (left < heap.length && this.#isBefore(left, least)) least = left;
      if (left + 1 < heap.length && this.#isBefore(left + 1, least)) least = left + 1;
      if (least === index) return;
      const entry = heap[index];
      heap[index] = heap[least] as NonNullable<typeof entry>;
      heap[least] = entry as NonNullable<typeof entry>;
      index = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [first, second] = [this.#heap[a], this.#heap[b]];
    if (first === undefined || second === undefined) return false;
    return first.deadline < second.deadline || (first.deadline === second.deadline && first.order < second.order);
  }
}
