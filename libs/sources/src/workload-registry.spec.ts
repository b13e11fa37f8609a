import { describe, expect, it } from '@jest/globals';
import type { Clock } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';
import { createWorkloadRegistry } from './workload-registry.ts';

function manualClock(): Clock & { advance(byMs: number): void } {
  let now = 0;
  const timers = new Set<{ at: number; callback: () => void }>();
  return {
    now: () => now,
    monotonic: () => now,
    after(delayMs, callback) {
      const timer = { at: now + delayMs, callback };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
    advance(byMs) {
      now += byMs;
      for (const timer of [...timers]) if (timer.at <= now && timers.delete(timer)) timer.callback();
    },
  };
}

function workload(name: string, address = '127.0.0.1', connectedAt = '1'): Resource<'WorkloadEntry'> {
  const metadata = {
    name,
    namespace: 'default',
    labels: {},
    annotations: { connectedAt },
    creationTimestamp: '2024-01-01T00:00:00.000Z',
    generation: 1,
  };
  return { apiVersion: 'networking.istio.io/v1', kind: 'WorkloadEntry', metadata, spec: { address } };
}

const ref = (name: string) => ({ namespace: 'default', name });

describe('createWorkloadRegistry', () => {
  it('lists what was added, in order, until it is removed', () => {
    const registry = createWorkloadRegistry({ clock: manualClock() });
    registry.add(workload('b'));
    registry.add(workload('a'));
    expect(registry.entries.value.map(({ metadata }) => metadata.name)).toEqual(['a', 'b']);
    registry.remove(ref('a'));
    registry.remove(ref('never-there'));
    expect(registry.entries.value.map(({ metadata }) => metadata.name)).toEqual(['b']);
  });

  it('keeps a workload that comes back within the grace, and tells nobody', () => {
    const clock = manualClock();
    const registry = createWorkloadRegistry({ clock });
    registry.add(workload('a'));
    let changes = 0;
    registry.entries.watch(() => changes++);
    registry.remove(ref('a'), { afterMs: 10_000 });
    clock.advance(9_999);
    registry.add(workload('a', '127.0.0.1', '2'));
    clock.advance(60_000);
    expect(registry.get(ref('a'))).toBeDefined();
    expect(changes).toBe(0);
  });

  it('removes a workload that does not come back, once', () => {
    const clock = manualClock();
    const registry = createWorkloadRegistry({ clock });
    registry.add(workload('a'));
    registry.remove(ref('a'), { afterMs: 10_000 });
    expect(registry.get(ref('a'))).toBeDefined();
    clock.advance(10_000);
    expect(registry.entries.value).toEqual([]);
  });

  it('tells of a workload that comes back elsewhere', () => {
    const registry = createWorkloadRegistry({ clock: manualClock() });
    registry.add(workload('a'));
    registry.add(workload('a', '127.0.0.2'));
    expect(registry.entries.value[0]?.spec.address).toBe('127.0.0.2');
  });

  it('removes nothing after it was closed', () => {
    const clock = manualClock();
    const registry = createWorkloadRegistry({ clock });
    registry.add(workload('a'));
    registry.remove(ref('a'), { afterMs: 10 });
    registry.close();
    clock.advance(100);
    expect(registry.entries.value).toHaveLength(1);
  });
});
