import type { Running } from '@mizzen/core';
import type { LeaderElection } from '@mizzen/kube';

/** Runs something for as long as this process is the leader; it is started anew each time. `close` ends it before the Lease is given back. */
export function runWhileLeading(election: LeaderElection, start: () => Running): Running {
  let running: Running | undefined;
  let work = Promise.resolve();
  let isClosed = false;
  const follow = (): void => {
    work = work.then(async () => {
      const shouldRun = election.isLeader.value && !isClosed;
      if (shouldRun && !running) running = start();
      if (shouldRun || !running) return;
      const ended = running;
      running = undefined;
      await ended.close();
    });
  };
  const stop = election.isLeader.watch(follow);
  follow();
  return {
    async close() {
      isClosed = true;
      stop();
      follow();
      await work;
    },
  };
}
