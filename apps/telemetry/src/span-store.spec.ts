import { describe, expect, it } from '@jest/globals';
import { SpanStore, type StoredSpan } from './span-store.ts';

function aSpan(overrides: Partial<StoredSpan>): StoredSpan {
  return {
    traceId: 'a'.repeat(32),
    spanId: '1'.repeat(16),
    name: 'reviews:9080/*',
    kind: 'server',
    service: 'reviews-v1',
    namespace: 'default',
    startTimeMs: 1_000,
    durationMs: 10,
    status: 'unset',
    statusMessage: '',
    attributes: {},
    ...overrides,
  };
}

describe('the span store', () => {
  it('sums up a trace by its root, whichever span came first', () => {
    const store = new SpanStore({ maxSpans: 10 });
    store.record([
      aSpan({ spanId: '2', parentSpanId: '1', startTimeMs: 1_002, durationMs: 20, status: 'error' }),
      aSpan({ spanId: '1', name: 'productpage:9080/*', service: 'gateway', startTimeMs: 1_000, durationMs: 15 }),
    ]);
    expect(store.newest(5)).toEqual([
      {
        traceId: 'a'.repeat(32),
        name: 'productpage:9080/*',
        service: 'gateway',
        startTimeMs: 1_000,
        durationMs: 22,
        spans: 2,
        services: ['gateway', 'reviews-v1'],
        hasError: true,
      },
    ]);
    expect(store.find('a'.repeat(32))?.map((span) => span.spanId)).toEqual(['1', '2']);
  });

  it('gives the newest traces first, and no more than asked for', () => {
    const store = new SpanStore({ maxSpans: 10 });
    store.record([1, 3, 2].map((start) => aSpan({ traceId: `t${start}`, startTimeMs: start })));
    expect(store.newest(2).map((trace) => trace.traceId)).toEqual(['t3', 't2']);
  });

  it('lets the oldest spans go when it is full', () => {
    const store = new SpanStore({ maxSpans: 3 });
    store.record(['t1', 't1', 't2', 't3', 't4'].map((traceId, index) => aSpan({ traceId, spanId: String(index) })));
    expect(store.spanCount).toBe(3);
    expect(store.evicted).toBe(2);
    expect(store.find('t1')).toBeUndefined();
    expect(store.newest(9)).toHaveLength(3);
  });
});
