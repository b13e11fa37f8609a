import { describe, expect, it } from '@jest/globals';
import { type Clock, systemClock, type Timer } from '@mizzen/core';
import type { ConnectHandler } from '../contract.ts';
import type { ResponseReceiver } from '../http/stream.ts';
import { StaticCluster } from '../http/testing.ts';
import { TimerWheel } from '../http/timer-wheel.ts';
import { Http1Pool } from './pool.ts';

/** A receiver that writes down why it was given up. */
function receiver(resets: string[]): ResponseReceiver {
  const ignore = (): void => {};
  return {
    onReady: ignore,
    onContinue: ignore,
    onHead: ignore,
    onData: ignore,
    onTrailers: ignore,
    onEnd: ignore,
    onReadEnd: ignore,
    onWritable: ignore,
    onUpstreamReset: (reason) => resets.push(reason),
  };
}

describe('a pool of connections', () => {
  it('leaves nobody waiting at the connection limit when an attempt to connect fails', () => {
    const cluster = new StaticCluster('b', [1]);
    cluster.limits = { ...cluster.limits, maxConnections: 1 };
    const [endpoint] = cluster.endpoints;
    if (endpoint === undefined) throw new Error('no endpoint');
    const attempts: ConnectHandler[] = [];
    endpoint.connect = (handler) => {
      attempts.push(handler);
      cluster.active.connections = 1;
      return { cancel: () => {} };
    };
    const pool = new Http1Pool(endpoint, { clock: systemClock, wheel: new TimerWheel(systemClock) });
    const resets: string[] = [];
    for (let index = 0; index < 3; index++) pool.request(receiver(resets));
    for (let index = 0; index < 3; index++) {
      expect(attempts).toHaveLength(index + 1);
      attempts[index]?.onFailed({ reason: 'ECONNREFUSED', isTls: false, isTimeout: false });
      expect(resets).toHaveLength(index + 1);
    }
    expect(cluster.active.pendingRequests).toBe(0);
  });

  it('is held by no timer once it drains', async () => {
    const timers = new Set<Timer>();
    const clock: Clock = {
      ...systemClock,
      now: () => systemClock.now(),
      monotonic: () => systemClock.monotonic(),
      after: (delayMs, run) => {
        const timer = systemClock.after(delayMs, () => {
          timers.delete(timer);
          run();
        });
        timers.add(timer);
        return timer;
      },
    };
    const cluster = new StaticCluster('b', [1]);
    const [endpoint] = cluster.endpoints;
    if (endpoint === undefined) throw new Error('no endpoint');
    const wheel = new TimerWheel(clock);
    const pool = new Http1Pool(endpoint, { clock, wheel });
    const idle = { requests: 0, openedAtMs: clock.monotonic(), idleSinceMs: 0, close: () => {} };
    pool.onIdle(idle as unknown as Parameters<Http1Pool['onIdle']>[0]);
    expect(timers.size).toBe(1);
    pool.drain();
    // The wheel turns as long as anything is armed, and stops by itself afterwards.
    while (timers.size > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});
