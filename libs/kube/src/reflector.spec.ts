import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Clock, systemClock } from '@mizzen/core';
import type { KubeObject, Reflector } from './contract.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { createReflector } from './reflector.ts';
import { createFakeApiServer, type FakeApiServer } from './testing/index.ts';

const { ConfigMap } = KINDS_OF_KUBERNETES;
interface Kept {
  readonly k: string;
}
const keep = (object: KubeObject): Kept | undefined => {
  const data = object['data'] as Readonly<Record<string, string>> | undefined;
  return data?.['k'] === undefined ? undefined : { k: data['k'] };
};
const configMap = (name: string, k: string, more: Record<string, string> = {}): KubeObject => ({
  metadata: { name, namespace: 'x' },
  data: { k, ...more },
});

let server: FakeApiServer;
let reflector: Reflector<Kept>;
beforeEach(async () => {
  server = await createFakeApiServer();
  reflector = create();
});
afterEach(async () => {
  await reflector.close();
  await server.close();
});

// Waits of the back-off take a hundredth of their time.
const hastyClock: Clock = { ...systemClock, after: (delayMs, callback) => systemClock.after(delayMs / 100, callback) };
function create(options: { clock?: Clock; isOptional?: boolean } = {}): Reflector<Kept> {
  return createReflector({ client: server.client, kind: ConfigMap, keep, random: () => 0, ...options });
}
const kOf = (name: string): string | undefined => reflector.objects.value.get(`x/${name}`)?.k;
const untilValue = (name: string, k: string | undefined): Promise<unknown> =>
  reflector.objects.until((objects) => objects.get(`x/${name}`)?.k === k);
const untilWatching = async (times: number): Promise<void> => {
  while (server.requests.filter(({ query }) => query['watch'] === 'true').length < times)
    await new Promise((resolve) => setImmediate(resolve));
};

describe('createReflector', () => {
  it('lists, then follows, and tells of what is kept only', async () => {
    server.put(ConfigMap, configMap('a', '1'));
    server.put(ConfigMap, { metadata: { name: 'not-kept', namespace: 'x' } });
    reflector.start();
    await reflector.synced.until((isSynced) => isSynced);
    expect([...reflector.objects.value]).toEqual([['x/a', { k: '1' }]]);
    const first = reflector.objects.value.get('x/a');
    let changes = 0;
    reflector.objects.watch(() => changes++);
    server.put(ConfigMap, configMap('a', '1', { heartbeat: '1' }));
    server.put(ConfigMap, configMap('b', '1'));
    await untilValue('b', '1');
    expect(reflector.objects.value.get('x/a')).toBe(first);
    expect(changes).toBe(1);
    server.remove(ConfigMap, { name: 'a', namespace: 'x' });
    await untilValue('a', undefined);
  });

  it('puts a burst into one change', async () => {
    reflector.start();
    await reflector.synced.until((isSynced) => isSynced);
    const sizes: number[] = [];
    reflector.objects.watch(({ size }) => sizes.push(size));
    await untilWatching(1);
    for (let n = 0; n < 200; n++) server.put(ConfigMap, configMap(`m${n}`, '1'));
    await reflector.objects.until(({ size }) => size === 200);
    expect(sizes.length).toBeLessThan(5);
  });

  it('goes on from where it was when the watch breaks', async () => {
    server.put(ConfigMap, configMap('a', '1'));
    reflector.start();
    await untilWatching(1);
    server.dropWatches();
    server.put(ConfigMap, configMap('a', '2'));
    await untilValue('a', '2');
    expect(server.requests.filter(({ query }) => query['watch'] === undefined)).toHaveLength(1);
  });

  it('lists again after 410 and never empties meanwhile', async () => {
    server.put(ConfigMap, configMap('a', '1'));
    server.put(ConfigMap, configMap('b', '1'));
    reflector.start();
    await untilWatching(1);
    const sizes: number[] = [];
    reflector.objects.watch(({ size }) => sizes.push(size));
    server.dropWatches();
    server.remove(ConfigMap, { name: 'b', namespace: 'x' });
    server.expire();
    await untilValue('b', undefined);
    expect(kOf('a')).toBe('1');
    expect(sizes).toEqual([1]);
  });

  it('outlives a restart of the API server with what it knows', async () => {
    reflector = create({ clock: hastyClock });
    server.put(ConfigMap, configMap('a', '1'));
    reflector.start();
    await reflector.synced.until((isSynced) => isSynced);
    await server.stop();
    server.put(ConfigMap, configMap('b', '1'));
    expect(kOf('a')).toBe('1');
    await server.restart();
    await untilValue('b', '1');
    expect(kOf('a')).toBe('1');
  });

  it('notices a connection that is half open', async () => {
    let silence: (() => void) | undefined;
    const clock: Clock = {
      ...hastyClock,
      after: (delayMs, callback) => {
        if (delayMs === 90_000) {
          silence = callback;
          return { cancel: () => {} };
        }
        return hastyClock.after(delayMs, callback);
      },
    };
    reflector = create({ clock });
    reflector.start();
    await untilWatching(1);
    server.setSilent(true);
    server.put(ConfigMap, configMap('a', '1'));
    server.setSilent(false);
    silence?.();
    await untilValue('a', '1');
  });

  it('counts a kind that is not installed as empty, and sees it once it is', async () => {
    server.setInstalled(ConfigMap, false);
    reflector = create({ clock: hastyClock, isOptional: true });
    reflector.start();
    await reflector.synced.until((isSynced) => isSynced);
    expect(reflector.objects.value.size).toBe(0);
    server.put(ConfigMap, configMap('a', '1'));
    server.setInstalled(ConfigMap, true);
    await untilValue('a', '1');
  });

  it('is not synced while it may not list, and is once it may', async () => {
    reflector = create({ clock: hastyClock });
    server.failNext(3, { status: 403 });
    reflector.start();
    await reflector.synced.until((isSynced) => isSynced);
    expect(server.requests.filter(({ query }) => query['watch'] === undefined)).toHaveLength(4);
  });

  it('lists again where nothing works from the revision that it has', async () => {
    reflector = create({ clock: hastyClock });
    reflector.start();
    await untilWatching(1);
    server.put(ConfigMap, configMap('a', '1'));
    await untilValue('a', '1');
    const lists = (): number => server.requests.filter(({ query }) => query['watch'] === undefined).length;
    server.failNext(3, { status: 500 });
    server.dropWatches();
    await untilWatching(5);
    expect(lists()).toBe(2);
    expect(kOf('a')).toBe('1');
  });

  it('leaves out what cannot be read, and goes on', async () => {
    server.put(ConfigMap, configMap('good', '1'));
    server.put(ConfigMap, configMap('bad', 'throw'));
    const throwing = (object: KubeObject): Kept | undefined => {
      const kept = keep(object);
      if (kept?.k === 'throw') throw new Error('the test wanted it so');
      return kept;
    };
    reflector = createReflector({ client: server.client, kind: ConfigMap, keep: throwing });
    reflector.start();
    await reflector.synced.until((isSynced) => isSynced);
    expect([...reflector.objects.value.keys()]).toEqual(['x/good']);
  });
});
