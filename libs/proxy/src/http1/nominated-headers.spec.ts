import { describe, expect, it } from '@jest/globals';
import { HeaderMap } from '../http/headers.ts';
import { removeNominated } from './nominated-headers.ts';

function headers(...names: readonly string[]): HeaderMap {
  const map = new HeaderMap();
  for (const name of names) map.push(name, '1');
  return map;
}

describe('headers that the Connection header names', () => {
  it.each([
    ['close, x-hop', ['x-kept']],
    ['x-hop,\tx-kept', []],
    ['keep-alive', ['x-hop', 'x-kept']],
    ['x-other', ['x-hop', 'x-kept']],
    ['', ['x-hop', 'x-kept']],
  ])('%s leaves %j', (connection, left) => {
    const map = headers('x-hop', 'x-kept', 'x-hop');
    expect(removeNominated(map, connection)).toBe(true);
    expect([...new Set(map.names)]).toEqual(left);
  });

  it('keeps te, which the codec has reduced to what may go on', () => {
    const map = headers('te');
    expect(removeNominated(map, 'close, te')).toBe(true);
    expect(map.names).toEqual(['te']);
  });

  it.each(['host', 'x-forwarded-for', 'close, x-forwarded-proto', ':path', Array.from({ length: 11 }, (_, index) => `x-${index}`).join()])(
    'refuses %s',
    (connection) => {
      expect(removeNominated(headers('x-forwarded-for'), connection)).toBe(false);
    },
  );
});
