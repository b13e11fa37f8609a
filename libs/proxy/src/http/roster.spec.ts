import { describe, expect, it } from '@jest/globals';
import { Roster, type Seat } from './roster.ts';

describe('Roster', () => {
  it('lists who is here, in the order in which they came', () => {
    const roster = new Roster<string>();
    const [a, b, c] = ['a', 'b', 'c'].map((name) => roster.join(name)) as [Seat<string>, Seat<string>, Seat<string>];
    expect([roster.size, roster.list()]).toEqual([3, ['a', 'b', 'c']]);
    roster.leave(b);
    expect([roster.size, roster.list()]).toEqual([2, ['a', 'c']]);
    roster.leave(a);
    roster.join('d');
    expect([roster.size, roster.list()]).toEqual([2, ['c', 'd']]);
    roster.leave(c);
    expect([roster.size, roster.list()]).toEqual([1, ['d']]);
  });

  it('lets a member leave once', () => {
    const roster = new Roster<string>();
    const seat = roster.join('a');
    roster.join('b');
    roster.leave(seat);
    roster.leave(seat);
    expect([roster.size, roster.list()]).toEqual([1, ['b']]);
  });

  it('keeps nothing between who left and who is here', () => {
    const roster = new Roster<string>();
    const seats = ['a', 'b', 'c'].map((name) => roster.join(name));
    for (const seat of seats) roster.leave(seat);
    expect(seats.map(({ previous, next }) => [previous, next])).toEqual(seats.map(() => [undefined, undefined]));
    expect([roster.size, roster.list()]).toEqual([0, []]);
  });

  it('can be left by all that a list of it names', () => {
    const roster = new Roster<Seat<unknown>[]>();
    const seats = [1, 2, 3].map(() => roster.join([]));
    for (const [index, member] of roster.list().entries()) member.push(seats[index] as Seat<unknown>);
    for (const [seat] of roster.list()) roster.leave(seat as Seat<Seat<unknown>[]>);
    expect(roster.size).toBe(0);
  });
});
