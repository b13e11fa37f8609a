import { describe, expect, it } from '@jest/globals';
import { Bag } from './bag.ts';

describe('Bag', () => {
  it('holds each member once, in the order in which they came', () => {
    const [a, b, c] = [{}, {}, {}];
    const bag = new Bag<object>();
    for (const member of [a, b, c, a]) bag.add(member);
    expect(bag.size).toBe(3);
    expect(bag.list()).toEqual([a, b, c]);
    expect(bag.list()[0]).toBe(a);
  });

  it('says whether what is deleted was in', () => {
    const [a, b] = [{ name: 'a' }, { name: 'b' }];
    const bag = new Bag<object>();
    bag.add(a);
    bag.add(b);
    expect(bag.delete(a)).toBe(true);
    expect(bag.delete(a)).toBe(false);
    expect(bag.list()).toEqual([b]);
  });

  it('lists what was in, whatever comes and goes meanwhile', () => {
    const members = [{ name: 'a' }, { name: 'b' }];
    const bag = new Bag<object>();
    for (const member of members) bag.add(member);
    const seen: object[] = [];
    for (const member of bag.list()) {
      bag.delete(member);
      bag.add({ name: 'another' });
      seen.push(member);
    }
    expect(seen).toEqual(members);
    expect(bag.size).toBe(2);
  });
});
