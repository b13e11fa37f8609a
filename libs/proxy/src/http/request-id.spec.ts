import { describe, expect, it } from '@jest/globals';
import { randomRequestId } from './request-id.ts';

describe('randomRequestId', () => {
  // More than are drawn at once.
  const ids = Array.from({ length: 2000 }, () => randomRequestId());

  it('makes UUIDs of version 4, all different', () => {
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('leaves no digit to the others', () => {
    const digitsAt = (place: number): number => new Set(ids.map((id) => id[place])).size;
    for (let place = 0; place < 36; place++) {
      const expected = [8, 13, 18, 23, 14].includes(place) ? 1 : place === 19 ? 4 : 16;
      expect([place, digitsAt(place)]).toEqual([place, expected]);
    }
  });
});
