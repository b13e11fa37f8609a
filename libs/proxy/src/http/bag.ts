/**
 * A few objects in the order in which they came, that come and go fast. A `Set` would do, but for the garbage collector: each table that it
 * outgrows, churn being enough for that, keeps a pointer to the next one; once the first of them has grown old all that follow survive, with
 * everything that was ever in them, until the whole heap is collected. Deleting looks from the end: it costs least for what came last.
 */
export class Bag<T extends object> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** Does nothing where it is in already. */
  add(member: T): void {
    if (!this.#members.includes(member)) this.#members.push(member);
  }

  /** Whether it was in. */
  delete(member: T): boolean {
    const members = this.#members;
    const index = members.lastIndexOf(member);
    if (index < 0) return false;
    if (index === members.length - 1) members.pop();
    else members.splice(index, 1);
    return true;
  }

  /** Those that are in now, oldest first; what is added or deleted meanwhile changes nothing. */
  list(): readonly T[] {
    return this.#members.slice();
  }
}
