import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Libc, loadLibc } from './libc.ts';

type Collect = (options: { readonly type: 'major'; readonly execution: 'sync'; readonly flavor: 'last-resort' }) => void;

// Source: asm-generic/mman-common.h.
const MADV_DONTNEED = 4;

/**
 * Gives back what only the start needed: garbage of decoded configuration, which V8 would keep as room to grow, free memory of the C library,
 * and pages of the executable, which come back from the page cache where they are used again. Once, before there is traffic: it stops the
 * process for some 40 ms. Never throws; without a C library to call only garbage goes.
 */
export function releaseStartMemory(): void {
  try {
    collectGarbage();
    if (process.platform !== 'linux') return;
    const libc = loadLibc();
    libc.function('int malloc_trim(size_t)')(0);
    releaseExecutable(libc);
  } catch {
    // Larger, and as correct.
  }
}

/** A full collection, at once; V8 gives the room that is free then back. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** Only mappings that cannot be written and have no page of their own: all of them stands in the file as it is in memory. */
function releaseExecutable(libc: Libc): void {
  const advise = libc.function('int madvise(uintptr_t, size_t, int)');
  // An entry of smaps begins with the line that maps has, and counts its pages in the lines behind it.
  for (const entry of readFileSync('/proc/self/smaps', 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, from, to, file] = /^([0-9a-f]+)-([0-9a-f]+) r-[-x]p .* (\/\S+)\n/.exec(entry) ?? [];
    if (file !== process.execPath || !/^Anonymous: +0 kB$/m.test(entry)) continue;
    const start = BigInt(`0x${from}`);
    advise(start, BigInt(`0x${to}`) - start, MADV_DONTNEED);
  }
}
