import { describe, expect, it } from '@jest/globals';
import { fakeClock } from '../cluster/testing.ts';
import { Batch } from './batch.ts';

function batch(options: { readonly fails?: boolean } = {}) {
  const clock = fakeClock();
  const sent: (readonly string[])[] = [];
  const pending: ((lost: number) => void)[] = [];
  const made = new Batch<string>({
    clock,
    flushMs: 100,
    maxBatchBytes: 3,
    maxQueuedBytes: 5,
    send: (items, done) => {
      if (options.fails === true) throw new Error('cannot be encoded');
      sent.push(items);
      pending.push(done);
    },
  });
  return { clock, sent, pending, made };
}

describe('Batch', () => {
  it('sends what came within its time', () => {
    const { clock, sent, made } = batch();
    made.add('a', 1);
    made.add('b', 1);
    expect(sent).toEqual([]);
    clock.advance(100);
    expect(sent).toEqual([['a', 'b']]);
  });

  it('sends a full batch at once, the next one when that was taken', () => {
    const { sent, pending, made } = batch();
    for (const item of ['a', 'b', 'c', 'd', 'e', 'f']) made.add(item, 1);
    expect(sent).toEqual([['a', 'b', 'c']]);
    pending[0]?.(0);
    expect(sent).toEqual([
      ['a', 'b', 'c'],
      ['d', 'e', 'f'],
    ]);
  });

  it('drops and counts what is too much, and what was lost', () => {
    const { pending, made } = batch();
    for (const item of ['a', 'b', 'c', '1', '2', '3', '4', '5', '6', '7']) made.add(item, 1);
    expect(made.dropped).toBe(2);
    pending[0]?.(3);
    expect(made.dropped).toBe(5);
  });

  it('goes on after what cannot be sent', () => {
    const { made } = batch({ fails: true });
    for (const item of ['a', 'b', 'c']) made.add(item, 1);
    expect(made.dropped).toBe(3);
  });

  it('closes once all was sent', async () => {
    const { sent, pending, made } = batch();
    for (const item of ['a', 'b', 'c', 'd']) made.add(item, 1);
    const closed = made.close();
    pending[0]?.(0);
    expect(sent).toEqual([['a', 'b', 'c'], ['d']]);
    pending[1]?.(0);
    await expect(closed).resolves.toBeUndefined();
  });
});
