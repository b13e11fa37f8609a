import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { ProxyContext } from './contract.ts';
import { collectGarbage } from './system/release-memory.ts';
import { http1Client, startHttpBackend } from './testing/clients.ts';
import { Cleanup, startProxy } from './testing/harness.ts';
import { httpListener, routesTo, staticCluster } from './testing/resources.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const CHANGES = 60;
/** What the last changes replaced may still serve a connection. */
const MAX_LEFT = 6;

describe('a configuration that is replaced', () => {
  it('is kept by nothing once its connections are gone', async () => {
    const backend = await startHttpBackend(cleanup, 'one');
    const running = await startProxy(cleanup, '');
    const change = (turn: number): readonly unknown[] => [
      ...running.apply('cluster', { one: staticCluster('one', [backend], { connect_timeout: `${turn + 1}s` }) }),
      ...running.apply('listener', { l: httpListener({ stat_prefix: `s${turn}`, route_config: routesTo('one') }) }),
    ];
    const client = http1Client(cleanup, { port: () => running.portOf('l') });
    const clusters: WeakRef<object>[] = [];
    for (let turn = 0; turn < CHANGES; turn++) {
      expect(change(turn)).toEqual([]);
      clusters.push(new WeakRef((running.proxy as unknown as ProxyContext).cluster('one') as object));
      expect(await client.get('/')).toMatchObject({ status: '200' });
    }
    await nextTurn();
    collectGarbage();
    const left = clusters.filter((cluster) => cluster.deref() !== undefined).length;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(MAX_LEFT);
  });
});
