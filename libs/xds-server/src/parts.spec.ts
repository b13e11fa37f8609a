import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import type { Clock } from '@mizzen/core';
import { DeltaDiscoveryResponseSchema, DiscoveryResponseSchema } from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import { Debouncer } from './debounce.ts';
import { encodeResource } from './encoded-resource.ts';
import { aCluster } from './fixtures/memory-generator.ts';
import { NameSet } from './name-set.ts';
import { PushSlots } from './push-slots.ts';
import { differenceOf, ResourceSet, retainRemoved } from './resource-set.ts';
import { deltaBody, OutgoingResponse, wholeBody } from './response.ts';

function bytesOf(response: OutgoingResponse): Uint8Array {
  const bytes = new Uint8Array(response.byteLength);
  response.copy(bytes, 0);
  return bytes;
}

// Jest takes seconds to compare megabytes.
function expectSame<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>, expected: MessageInitShape<Desc>): void {
  expect(Buffer.compare(toBinary(schema, message), toBinary(schema, create(schema, expected)))).toBe(0);
}

describe('responses assembled by hand', () => {
  const sizes = [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000];

  it.each(sizes)('are what protobuf writes, with a resource of %d bytes', (sizeBytes) => {
    const value = new Uint8Array(sizeBytes).fill(7);
    const set = new ResourceSet([
      encodeResource({ name: 'näme', version: 'v1', typeUrl: 'type/a', value }),
      encodeResource({ name: 'b', version: '', typeUrl: 'type/a', value }),
    ]);
    const any = { $typeName: 'google.protobuf.Any' as const, typeUrl: 'type/a', value };
    const delta = fromBinary(
      DeltaDiscoveryResponseSchema,
      bytesOf(new OutgoingResponse(deltaBody('type/a', 's1', { changed: [...set.resources.values()], removed: ['x', 'y'] }), 'n1')),
    );
    const resources = [
      { name: 'näme', version: 'v1', resource: any },
      { name: 'b', version: '', resource: any },
    ];
    expectSame(DeltaDiscoveryResponseSchema, delta, {
      systemVersionInfo: 's1',
      typeUrl: 'type/a',
      nonce: 'n1',
      removedResources: ['x', 'y'],
      resources,
    });
    const sotw = fromBinary(DiscoveryResponseSchema, bytesOf(new OutgoingResponse(wholeBody('type/a', set), 'n2')));
    expectSame(DiscoveryResponseSchema, sotw, { versionInfo: set.version, typeUrl: 'type/a', nonce: 'n2', resources: [any, any] });
  });

  it('share their bytes between clients that hold the same', () => {
    const before = new ResourceSet([aCluster('a')]);
    const after = new ResourceSet([aCluster('a', '2'), aCluster('b')]);
    const [one, other] = [0, 1].map(() => deltaBody('t', after.version, differenceOf(before, after)));
    expect(one?.pieces).toBe(other?.pieces);
    expect(wholeBody('t', after).pieces).toBe(wholeBody('t', after).pieces);
    expect(retainRemoved(before, after)).toBe(retainRemoved(before, after));
  });
});

describe('a name set', () => {
  it('is the same object for the same names in any order', () => {
    expect(NameSet.of(['b', 'a'])).toBe(NameSet.of(['a', 'b', 'a']));
    expect(NameSet.of(['a'])).not.toBe(NameSet.of(['a', 'b']));
    expect([...NameSet.of(['b', 'a'])]).toEqual(['a', 'b']);
  });
});

describe('push slots', () => {
  it('never grant more than their number, in the order of asking', async () => {
    const slots = new PushSlots(2);
    const granted: number[] = [];
    const releases: (() => void)[] = [];
    const turns = async (): Promise<void> => {
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    const leaves = [0, 1, 2, 3].map((index) => slots.acquire((release) => releases.push(release) && granted.push(index)));
    await turns();
    expect(granted).toEqual([0, 1]);
    leaves[2]?.();
    releases[0]?.();
    releases[0]?.();
    await turns();
    expect(granted).toEqual([0, 1, 3]);
    expect(slots.waiting).toBe(0);
  });
});

describe('the debouncer', () => {
  class ManualClock implements Clock {
    time = 0;
    #timers: { at: number; callback: () => void }[] = [];
    now = (): number => this.time;
    monotonic = (): number => this.time;
    after(delayMs: number, callback: () => void): { cancel(): void } {
      const timer = { at: this.time + delayMs, callback };
      this.#timers.push(timer);
      return { cancel: () => (this.#timers = this.#timers.filter((other) => other !== timer)) };
    }
    advance(ms: number): void {
      for (const end = this.time + ms; this.time < end; this.time++) {
        const due = this.#timers.filter(({ at }) => at <= this.time);
        this.#timers = this.#timers.filter(({ at }) => at > this.time);
        for (const { callback } of due) callback();
      }
    }
  }

  it('hands a burst on in one piece, once it is quiet', () => {
    const clock = new ManualClock();
    const bursts: (readonly string[])[] = [];
    const debouncer = new Debouncer<string>({ clock }, (items) => bursts.push(items));
    debouncer.add('a');
    clock.advance(90);
    debouncer.add('b');
    clock.advance(90);
    expect(bursts).toEqual([]);
    clock.advance(20);
    expect(bursts).toEqual([['a', 'b']]);
  });

  it('cuts a burst that does not end', () => {
    const clock = new ManualClock();
    const waits: number[] = [];
    const debouncer = new Debouncer<number>({ clock, quietMs: 100, maxMs: 1_000 }, (_, waitedMs) => waits.push(waitedMs));
    for (let index = 0; index < 50; index++) {
      debouncer.add(index);
      clock.advance(50);
    }
    expect(waits[0]).toBeGreaterThanOrEqual(1_000);
    expect(waits[0]).toBeLessThan(1_060);
  });
});
