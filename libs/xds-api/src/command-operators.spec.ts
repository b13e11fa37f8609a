import { describe, expect, it } from '@jest/globals';
import { parseCommandOperators } from './command-operators.ts';
import { compileTimeFormat } from './time-format.ts';

describe('parseCommandOperators', () => {
  it('splits a format into text and operators', () => {
    expect(parseCommandOperators('a %REQ(x-a?x-b):3%%% %START_TIME(%s)%')).toEqual([
      'a ',
      { name: 'REQ', argument: 'x-a?x-b', limit: 3, position: 2 },
      '%',
      ' ',
      { name: 'START_TIME', argument: '%s', limit: undefined, position: 21 },
    ]);
  });

  it.each(['50%', '%REQ(', '%req(a)%', '%REQ(a):x%'])('refuses %j, which is not closed', (format) => {
    expect(() => parseCommandOperators(format)).toThrow(/^an operator is not closed: .* at position \d+$/);
  });
});

describe('compileTimeFormat', () => {
  it.each([
    ['', '1970-01-01T00:00:01.500Z'],
    ['%s.%6f', '1.500000'],
    ['%f', '500000000'],
    ['%FT%T%z %% %Z', '1970-01-01T00:00:01+0000 % UTC'],
    ['%a %e %b %y %I:%M:%E3S %p, %j', 'Thu  1 Jan 70 12:00:01.500 AM, 001'],
  ])('formats a time by %j', (format, expected) => {
    expect(compileTimeFormat(format)(1500)).toBe(expected);
  });

  it('refuses a command that it does not know', () => {
    expect(() => compileTimeFormat('%Q')).toThrow('time format %Q is not supported');
  });
});
