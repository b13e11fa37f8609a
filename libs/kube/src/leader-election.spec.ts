import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { LeaderElection } from './contract.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { createLeaderElection } from './leader-election.ts';
import { createFakeApiServer, type FakeApiServer } from './testing/index.ts';

let server: FakeApiServer;
let elections: LeaderElection[];
beforeEach(async () => {
  server = await createFakeApiServer();
  elections = [];
});
afterEach(async () => {
  for (const election of elections) await election.close();
  await server.close();
});

function start(identity: string, times: { leaseDurationMs?: number; renewDeadlineMs?: number } = {}): LeaderElection {
  const election = createLeaderElection({
    client: server.client,
    namespace: 'istio-system',
    name: 'the-leader',
    identity,
    leaseDurationMs: 1_000,
    renewDeadlineMs: 400,
    retryPeriodMs: 20,
    ...times,
  });
  elections.push(election);
  election.start();
  return election;
}
const isTrue = (value: boolean): boolean => value;
const holder = (): unknown => server.object(KINDS_OF_KUBERNETES.Lease, { namespace: 'istio-system', name: 'the-leader' })?.['spec'];

describe('createLeaderElection', () => {
  it('has one leader, and another as soon as it gives the lease back', async () => {
    // Longer than any pause of this process, which would make another the leader.
    const times = { leaseDurationMs: 20_000, renewDeadlineMs: 10_000 };
    const a = start('a', times);
    await a.isLeader.until(isTrue);
    const b = start('b', times);
    // Both ask every 20 ms.
    const asked = server.requests.length;
    while (server.requests.length < asked + 20) await new Promise((resolve) => setImmediate(resolve));
    expect([a.isLeader.value, b.isLeader.value]).toEqual([true, false]);
    await a.close();
    await b.isLeader.until(isTrue);
    expect(a.isLeader.value).toBe(false);
    expect(holder()).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
  });

  it('steps down before another can lead, where it cannot renew', async () => {
    const a = start('a');
    await a.isLeader.until(isTrue);
    await server.stop();
    await a.isLeader.until((value) => !value);
    await server.restart();
    await a.isLeader.until(isTrue);
  });

  it('takes over what nobody renews, and only after the whole duration', async () => {
    const gone = {
      holderIdentity: 'gone',
      leaseDurationSeconds: 1,
      renewTime: '2020-01-01T00:00:00.000000Z',
      acquireTime: '2020-01-01T00:00:00.000000Z',
    };
    server.put(KINDS_OF_KUBERNETES.Lease, { metadata: { namespace: 'istio-system', name: 'the-leader' }, spec: gone });
    const startedAt = performance.now();
    await start('b').isLeader.until(isTrue);
    // The time in the lease is another machine's: it counts for nothing.
    expect(performance.now() - startedAt).toBeGreaterThan(990);
  });

  it('never has two leaders where many ask at once', async () => {
    const all = Array.from({ length: 8 }, (_, index) => start(`n${index}`));
    await Promise.race(all.map(({ isLeader }) => isLeader.until(isTrue)));
    let most = 0;
    for (let round = 0; round < 200; round++) {
      most = Math.max(most, all.filter(({ isLeader }) => isLeader.value).length);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(most).toBe(1);
  });
});
