import { describe, expect, it } from '@jest/globals';
import type { Http2Stream } from './stream.ts';
import { StreamTable } from './stream-table.ts';

const stream = (id: number): Http2Stream => ({ id }) as Http2Stream;

describe('StreamTable', () => {
  it('finds what was added, and nothing else', () => {
    const table = new StreamTable();
    const streams = [1, 3, 5, 33, 65].map(stream);
    for (const added of streams) table.add(added);
    for (const added of streams) expect(table.get(added.id)).toBe(added);
    expect(table.get(7)).toBeUndefined();
    expect(table.get(97)).toBeUndefined();
    expect(table.size).toBe(5);
  });

  it('finds what stood behind a stream that was deleted', () => {
    const table = new StreamTable();
    // All four want the same slot of the first sixteen.
    const [a, b, c, d] = [1, 33, 65, 97].map(stream) as [Http2Stream, Http2Stream, Http2Stream, Http2Stream];
    for (const added of [a, b, c, d]) table.add(added);
    table.delete(b);
    expect([a, c, d].map(({ id }) => table.get(id))).toEqual([a, c, d]);
    expect(table.get(33)).toBeUndefined();
    table.delete(a);
    expect([c, d].map(({ id }) => table.get(id))).toEqual([c, d]);
    table.delete(a);
    expect(table.size).toBe(2);
  });

  it('lists the streams by their numbers, as they were', () => {
    const table = new StreamTable();
    for (const id of [35, 1, 33, 3]) table.add(stream(id));
    const listed = table.list();
    for (const gone of listed) table.delete(gone);
    expect(listed.map(({ id }) => id)).toEqual([1, 3, 33, 35]);
    expect(table.list()).toEqual([]);
  });

  it('does what a Map does, in whatever order streams come and go', () => {
    const table = new StreamTable();
    const expected = new Map<number, Http2Stream>();
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let step = 0, id = 1; step < 20_000; step++) {
      if (random(2) === 0 || expected.size === 0) {
        const added = stream(id);
        // Now and then a peer leaves numbers out, so that some meet in one slot.
        id += 2 * (1 + (random(8) === 0 ? random(64) : 0));
        table.add(added);
        expected.set(added.id, added);
      } else {
        const gone = [...expected.values()][random(Math.min(expected.size, 40))] as Http2Stream;
        table.delete(gone);
        expected.delete(gone.id);
      }
      expect(table.size).toBe(expected.size);
      const asked = random(id) | 1;
      expect(table.get(asked)).toBe(expected.get(asked));
    }
    expect(table.list()).toEqual([...expected.values()].sort((a, b) => a.id - b.id));
  });
});
