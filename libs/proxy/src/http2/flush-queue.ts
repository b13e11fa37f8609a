/** What has gathered something to write. */
export interface Flushable {
  flush(): void;
}

let waiting: Flushable[] = [];
let isScheduled = false;

/**
 * Writes of HTTP/2 connections are put off to the end of the present round of the event loop: what all reads of the round cause on one
 * connection is then one write. Nothing waits longer than that.
 */
export function flushLater(flushable: Flushable): void {
  waiting.push(flushable);
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(flushAll);
}

function flushAll(): void {
  const flushables = waiting;
  waiting = [];
  isScheduled = false;
  for (const flushable of flushables) flushable.flush();
}
