import { describe, expect, it } from '@jest/globals';
import { releaseStartMemory } from './release-memory.ts';

describe('releaseStartMemory', () => {
  it('gives garbage back, and the process goes on', () => {
    let garbage: object[] = Array.from({ length: 500_000 }, (_, index) => ({ index }));
    const before = process.memoryUsage().heapTotal;
    expect(garbage).toHaveLength(500_000);
    garbage = [];
    releaseStartMemory();
    expect(process.memoryUsage().heapTotal).toBeLessThan(before);
    expect('gc' in globalThis).toBe(false);
    // The code whose pages were given back is still there.
    expect(JSON.parse(JSON.stringify({ a: [1, 'two', null] }))).toEqual({ a: [1, 'two', null] });
  });
});
