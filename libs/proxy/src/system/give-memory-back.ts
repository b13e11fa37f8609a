import type { Clock } from '@mizzen/core';
import { releaseStartMemory } from './release-memory.ts';
import { trimMemoryRegularly } from './trim-memory.ts';

// Not at once: who waits to be told that the proxy is ready must not wait for this.
const RELEASE_AFTER_MS = 500;

/** Gives back what only the start needed, soon, and then regularly what is free. */
export function giveMemoryBack(clock: Clock): { close(): void } {
  let trimming: { close(): void } | undefined;
  const release = clock.after(RELEASE_AFTER_MS, () => {
    releaseStartMemory();
    trimming = trimMemoryRegularly(clock);
  });
  return {
    close: () => {
      release.cancel();
      trimming?.close();
    },
  };
}
