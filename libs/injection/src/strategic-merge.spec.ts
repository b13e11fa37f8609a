import { describe, expect, it } from '@jest/globals';
import { strategicMerge } from './strategic-merge.ts';

describe('the strategic merge', () => {
  it.each<[string, unknown, unknown, unknown]>([
    ['lays objects over each other', { a: { b: 1, c: 2 } }, { a: { c: 3, d: 4 } }, { a: { b: 1, c: 3, d: 4 } }],
    ['removes what is null', { a: 1, b: 2 }, { a: null }, { b: 2 }],
    [
      'merges containers by name, new ones last',
      { containers: [{ name: 'a', image: 'x' }, { name: 'b' }] },
      { containers: [{ name: 'c' }, { name: 'a', tty: true }] },
      { containers: [{ name: 'a', image: 'x', tty: true }, { name: 'b' }, { name: 'c' }] },
    ],
    [
      'replaces a variable whole, since it has a value or a source',
      { env: [{ name: 'A', valueFrom: {} }] },
      { env: [{ name: 'A', value: '1' }] },
      { env: [{ name: 'A', value: '1' }] },
    ],
    [
      'replaces a volume whole, since it has one source',
      { volumes: [{ name: 'v', emptyDir: {} }] },
      { volumes: [{ name: 'v', configMap: {} }] },
      { volumes: [{ name: 'v', configMap: {} }] },
    ],
    [
      'merges ports by their number',
      { ports: [{ containerPort: 80, name: 'a' }] },
      { ports: [{ containerPort: 80, protocol: 'TCP' }, { containerPort: 81 }] },
      { ports: [{ containerPort: 80, name: 'a', protocol: 'TCP' }, { containerPort: 81 }] },
    ],
    [
      'replaces other lists',
      { args: ['a'], tolerations: [{ key: 'a' }] },
      { args: ['b'], tolerations: [] },
      { args: ['b'], tolerations: [] },
    ],
    [
      'removes an item',
      { containers: [{ name: 'a' }, { name: 'b' }] },
      { containers: [{ name: 'a', $patch: 'delete' }] },
      { containers: [{ name: 'b' }] },
    ],
    ['replaces an object whole where it is told to', { a: { b: 1 } }, { a: { $patch: 'replace', c: 2 } }, { a: { c: 2 } }],
  ])('%s', (_, target, overlay, expected) => {
    expect(strategicMerge(target, overlay)).toEqual(expected);
  });
});
