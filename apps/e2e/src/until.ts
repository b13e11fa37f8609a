/**
 * Asks until the answer is there; for what another process does and tells nobody of. Throws with the last reason after the deadline.
 * A probe that throws counts as "not yet".
 */
export async function until<T>(what: string, probe: () => Promise<T | undefined>, deadlineMs = 30_000): Promise<T> {
  const endMs = Date.now() + deadlineMs;
  let last = 'nothing yet';
  for (;;) {
    try {
      const answer = await probe();
      if (answer !== undefined) return answer;
    } catch (thrown) {
      last = String((thrown as { message?: unknown }).message ?? thrown);
    }
    if (Date.now() > endMs) throw new Error(`${what}: not within ${deadlineMs} ms (${last})`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
