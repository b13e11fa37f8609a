import { describe, expect, it } from '@jest/globals';
import { systemClock } from '@mizzen/core';
import { fakeClock } from '../cluster/testing.ts';
import { TRIM_EVERY_MS, TRIM_GROWTH_BYTES, type TrimmedProcess, trimMemoryRegularly } from './trim-memory.ts';

/** A process that is as large as the test says, and half as large once it was trimmed. */
function sizedProcess(): TrimmedProcess & { size: number; trims: number } {
  return {
    size: 100 * TRIM_GROWTH_BYTES,
    trims: 0,
    residentBytes() {
      return this.size;
    },
    trim() {
      this.size /= 2;
      this.trims++;
    },
  };
}

describe('trimMemoryRegularly', () => {
  it('trims a process that has grown since it was last trimmed, and no other', () => {
    const clock = fakeClock();
    const process = sizedProcess();
    const trimming = trimMemoryRegularly(clock, process);
    process.size += TRIM_GROWTH_BYTES - 1;
    clock.advance(TRIM_EVERY_MS);
    expect(process.trims).toBe(0);
    process.size += 1;
    clock.advance(TRIM_EVERY_MS);
    expect(process.trims).toBe(1);
    clock.advance(5 * TRIM_EVERY_MS);
    expect(process.trims).toBe(1);
    process.size += TRIM_GROWTH_BYTES;
    clock.advance(TRIM_EVERY_MS);
    expect(process.trims).toBe(2);
    trimming.close();
    process.size *= 2;
    clock.advance(10 * TRIM_EVERY_MS);
    expect(process.trims).toBe(2);
  });

  it('can be asked for on any machine', () => {
    expect(() => trimMemoryRegularly(systemClock).close()).not.toThrow();
  });
});
