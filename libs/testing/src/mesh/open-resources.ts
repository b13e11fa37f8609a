import { getActiveResourcesInfo } from 'node:process';

// What a mesh opens and must close. Others (promises of file operations, immediates) come and go with whatever runs.
const COUNTED: ReadonlySet<string> = new Set([
  'TCPSocketWrap',
  'TCPServerWrap',
  'PipeWrap',
  'PipeServerWrap',
  'TLSWrap',
  'Timeout',
  'FSEventWrap',
  'UDPWrap',
  'ProcessWrap',
]);
const SETTLE_MS = 10_000;

export type OpenResources = ReadonlyMap<string, number>;

/** How many sockets, servers, timers and watchers keep this process alive, by type. */
export function openResources(): OpenResources {
  const counts = new Map<string, number>();
  for (const type of getActiveResourcesInfo()) if (COUNTED.has(type)) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
}

/** Throws where more is open than there was before. What was just closed is given the turns of the event loop that it needs. */
export async function expectNothingLeftOpen(before: OpenResources, settleMs = SETTLE_MS): Promise<void> {
  const deadlineMs = performance.now() + settleMs;
  for (;;) {
    const left = difference(before, openResources());
    if (left.length === 0) return;
    if (performance.now() > deadlineMs) throw new Error(`the mesh was closed, but still open is: ${left.join(', ')}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function difference(before: OpenResources, after: OpenResources): string[] {
  return [...after].flatMap(([type, count]) => {
    const more = count - (before.get(type) ?? 0);
    return more > 0 ? [`${more} × ${type}`] : [];
  });
}
