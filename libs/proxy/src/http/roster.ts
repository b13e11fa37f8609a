/** The place of one member. */
export class Seat<T> {
  readonly member: T;
  previous: Seat<T> | undefined = undefined;
  next: Seat<T> | undefined = undefined;
  isTaken = true;

  constructor(member: T) {
    this.member = member;
  }
}

/**
 * Any number of objects in the order in which they came, as connections come and go. A `Set` would do, but for the garbage collector (see
 * `Bag`): connections that are gone, with all that they hold, would be kept by tables that are gone. Nothing here points from a member
 * that left to one that is there.
 */
export class Roster<T> {
  #first: Seat<T> | undefined;
  #last: Seat<T> | undefined;
  size = 0;

  /** Returns what the member leaves by. */
  join(member: T): Seat<T> {
    const seat = new Seat(member);
    seat.previous = this.#last;
    if (this.#last === undefined) this.#first = seat;
    else this.#last.next = seat;
    this.#last = seat;
    this.size++;
    return seat;
  }

  /** Does nothing the second time. */
  leave(seat: Seat<T>): void {
    if (!seat.isTaken) return;
    const { previous, next } = seat;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    seat.isTaken = false;
    seat.previous = undefined;
    seat.next = undefined;
    this.size--;
  }

  /** Those that are here now, oldest first; who comes and goes meanwhile changes nothing. */
  list(): readonly T[] {
    const members: T[] = [];
    for (let seat = this.#first; seat !== undefined; seat = seat.next) members.push(seat.member);
    return members;
  }
}
