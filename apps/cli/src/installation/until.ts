import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '@mizzen/core';

const POLL_MS = 200;

export interface Patience {
  readonly clock: Clock;
  /** Unit: ms. */
  readonly timeoutMs: number;
}

/** Asks again and again until the answer is yes. Throws what `tooLate` says once `timeoutMs` are over. */
export async function until(
  isSo: () => Promise<boolean>,
  { clock, timeoutMs, tooLate }: Patience & { readonly tooLate: () => Error | Promise<Error> },
): Promise<void> {
  const endMs = clock.monotonic() + timeoutMs;
  while (!(await isSo())) {
    if (clock.monotonic() > endMs) throw await tooLate();
    // Not a timer of the clock: those let the process end, and between two questions nothing else holds it.
    await sleep(POLL_MS);
  }
}
