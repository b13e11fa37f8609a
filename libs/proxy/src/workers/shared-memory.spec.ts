import { describe, expect, it } from '@jest/globals';
import { SharedActiveCounts } from '../cluster/active-counts.ts';
import { SharedMemory, type SharedSlot } from './shared-memory.ts';

/** Two event loops see the same memory. */
function loops(): readonly [SharedMemory, SharedMemory] {
  const first = new SharedMemory();
  return [first, new SharedMemory(first.buffer)];
}

function slotOf(memory: SharedMemory, name: string): SharedSlot {
  const slot = memory.acquire(name);
  if (slot === undefined) throw new Error('no slot is left');
  return slot;
}

describe('SharedMemory', () => {
  it('gives the same numbers to whoever asks for the same name', () => {
    const [first, second] = loops();
    slotOf(first, 'a').add(0, 3);
    slotOf(first, 'b').add(0, 40);
    expect(slotOf(second, 'a').add(0, 1)).toBe(4);
    expect(slotOf(second, 'b').get(0)).toBe(40);
    expect(slotOf(second, 'b').get(1)).toBe(0);
  });

  it('frees a slot once nobody holds it, and begins at 0 then', () => {
    const [first, second] = loops();
    const [a, b] = [slotOf(first, 'a'), slotOf(second, 'a')];
    a.add(0, 5);
    a.release();
    a.release();
    expect(b.get(0)).toBe(5);
    expect(first.size).toBe(1);
    b.release();
    expect(first.size).toBe(0);
    expect(slotOf(second, 'a').get(0)).toBe(0);
  });

  it('finds each of thousands of names after others went, and needs no more slots than were held at once', () => {
    const [first, second] = loops();
    const names = Array.from({ length: 20_000 }, (_, index) => `cluster ${index}`);
    const slots = names.map((name, index) => {
      const slot = slotOf(first, name);
      slot.set(2, index);
      return slot;
    });
    slots.forEach((slot, index) => {
      if (index % 3 === 0) slot.release();
    });
    for (const [index, name] of names.entries()) if (index % 3 !== 0) expect(slotOf(second, name).get(2)).toBe(index);
    for (let index = 0; index < 6000; index++) slotOf(second, `other ${index}`);
    expect(first.size).toBe(13_333 + 6000);
  });

  it('answers undefined where no slot is left, and goes on once there is one', () => {
    const memory = new SharedMemory();
    const slots: SharedSlot[] = [];
    for (let slot = memory.acquire('0'); slot !== undefined; slot = memory.acquire(String(slots.length))) slots.push(slot);
    expect(slots.length).toBe(1 << 17);
    (slots[77] as SharedSlot).release();
    expect(memory.acquire('late')).toBeDefined();
  });

  it('replaces a number of 64 bits only where it is what was expected', () => {
    const slot = slotOf(new SharedMemory(), 'a');
    expect(slot.replacePair(0, 0n, 2n ** 60n + 7n)).toBe(true);
    expect(slot.replacePair(0, 0n, 1n)).toBe(false);
    expect(slot.getPair(0)).toBe(2n ** 60n + 7n);
  });
});

describe('SharedActiveCounts', () => {
  function counts(): readonly [SharedActiveCounts, SharedActiveCounts, SharedMemory] {
    const [first, second] = loops();
    return [new SharedActiveCounts(slotOf(first, 'c')), new SharedActiveCounts(slotOf(second, 'c')), first];
  }

  it('adds up what event loops count with ++, -- and -=', () => {
    const [a, b] = counts();
    a.requests++;
    b.requests++;
    b.requests++;
    b.pendingRequests += 5;
    a.pendingRequests -= 2;
    a.retries++;
    expect([a.requests, b.requests, a.pendingRequests, b.retries, a.connections]).toEqual([3, 3, 3, 1, 0]);
    b.requests--;
    expect(a.requests).toBe(2);
  });

  it('takes the place of a connection when it is reserved, once', () => {
    const [a, b] = counts();
    expect(a.hadConnections).toBe(false);
    expect(a.reserveConnection(2)).toBe(true);
    expect(b.reserveConnection(2)).toBe(true);
    expect(a.connections).toBe(2);
    a.connections++;
    expect(a.reserveConnection(2)).toBe(false);
    expect(b.connections).toBe(2);
    b.connections++;
    expect([a.connections, b.hadConnections]).toEqual([2, true]);
    a.connections--;
    expect(a.reserveConnection(2)).toBe(true);
  });

  it('gives its slot back after the cluster is gone, and what was under way in it has ended', () => {
    const [a, b, memory] = counts();
    a.requests++;
    b.reserveConnection(5);
    a.release();
    b.release();
    expect(memory.size).toBe(1);
    a.requests--;
    expect(memory.size).toBe(0);
    // The slot is another cluster's now.
    const other = new SharedActiveCounts(slotOf(memory, 'other'));
    a.requests++;
    a.connections++;
    expect([other.requests, other.connections, a.requests, a.reserveConnection(0)]).toEqual([0, 0, 0, true]);
  });
});
