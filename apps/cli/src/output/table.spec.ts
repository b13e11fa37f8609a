import { describe, expect, it } from '@jest/globals';
import { formatAge, formatOutput } from './format.ts';
import { formatTable } from './table.ts';

describe('formatTable', () => {
  it('lines columns up three spaces apart and leaves no space at line ends', () => {
    const rows = [
      ['reviews', '9080'],
      ['a-longer-name', ''],
    ];
    expect(formatTable(['NAME', 'PORT'], rows)).toBe('NAME            PORT\nreviews         9080\na-longer-name\n');
  });

  it('does not count colour codes as width', () => {
    const table = formatTable(
      ['STATUS', 'NEXT'],
      [
        ['\u001b[32mSYNCED\u001b[39m', 'x'],
        ['NOT SENT', 'y'],
      ],
    );
    expect(table.split('\n')[1]).toBe('\u001b[32mSYNCED\u001b[39m     x');
  });

  it('prints the header alone where there are no rows', () => {
    expect(formatTable(['A', 'B'], [])).toBe('A   B\n');
  });
});

describe('formatOutput', () => {
  it.each([
    ['json', '{\n  "a": 1\n}\n'],
    ['yaml', 'a: 1\n'],
    ['table', 'TABLE\n'],
  ] as const)('writes %s', (format, expected) => {
    expect(formatOutput(format, { a: 1 }, () => 'TABLE\n')).toBe(expected);
  });
});

describe('formatAge', () => {
  it.each([
    [-5_000, '0s'],
    [119_000, '119s'],
    [600_000, '10m'],
    [3 * 3_600_000, '3h'],
    [50 * 3_600_000, '2d'],
  ])('prints %d ms as %s', (ageMs, expected) => {
    expect(formatAge(1_000_000_000, 1_000_000_000 + ageMs)).toBe(expected);
  });
});
