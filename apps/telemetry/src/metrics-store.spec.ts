import { describe, expect, it } from '@jest/globals';
import { MetricsStore } from './metrics-store.ts';
import { aSample, FakeClock } from './testing.ts';

const METRIC = 'istio_requests_total';
const MINUTE_MS = 60_000;

function aStore(options: { maxSeries?: number } = {}): { clock: FakeClock; store: MetricsStore } {
  const clock = new FakeClock();
  const store = new MetricsStore({
    clock,
    historyMs: 15 * MINUTE_MS,
    expiryMs: 15 * MINUTE_MS,
    maxSeries: options.maxSeries ?? 100,
    windowMetrics: [METRIC],
  });
  return { clock, store };
}

function total(store: MetricsStore): number | undefined {
  return store.families().find((family) => family.metric === METRIC)?.series[0]?.values[0];
}

function added(store: MetricsStore, windowMs = MINUTE_MS): number {
  return store.increases(METRIC, windowMs)[0]?.values[0] ?? 0;
}

describe('the metrics store', () => {
  it('counts only the growth of a cumulative counter', () => {
    const { clock, store } = aStore();
    const startTimeMs = clock.now();
    store.record([aSample({ clock, startTimeMs, values: [3] })]);
    clock.nowMs += 5_000;
    store.record([aSample({ clock, startTimeMs, values: [10] })]);
    expect(total(store)).toBe(10);
    expect(added(store)).toBe(10);
    expect(added(store, 2_000)).toBe(7);
  });

  it('forgets in the window what was added before it, and keeps it in the total', () => {
    const { clock, store } = aStore();
    const startTimeMs = clock.now();
    store.record([aSample({ clock, startTimeMs, values: [3] })]);
    clock.nowMs += 2 * MINUTE_MS;
    store.record([aSample({ clock, startTimeMs, values: [3] })]);
    expect(added(store)).toBe(0);
    expect(total(store)).toBe(3);
  });

  it('adds up the processes that report the same series', () => {
    const { clock, store } = aStore();
    store.record([aSample({ clock, instance: 'a', values: [3] })]);
    store.record([aSample({ clock, instance: 'b', values: [4] })]);
    expect(total(store)).toBe(7);
  });

  it.each([
    { name: 'a later start time', later: true, value: 12 },
    { name: 'a smaller value', later: false, value: 2 },
  ])('takes $name for a restart and adds the whole value', ({ later, value }) => {
    const { clock, store } = aStore();
    const startTimeMs = clock.now();
    store.record([aSample({ clock, startTimeMs, values: [10] })]);
    clock.nowMs += 5_000;
    store.record([aSample({ clock, startTimeMs: later ? startTimeMs + 4_000 : startTimeMs, values: [value] })]);
    expect(total(store)).toBe(10 + value);
    expect(added(store)).toBe(10 + value);
  });

  it('ignores a point that a retried message brings again', () => {
    const { clock, store } = aStore();
    const point = aSample({ clock, values: [3] });
    store.record([point]);
    store.record([point]);
    expect(total(store)).toBe(3);
  });

  it('does not take for new what a process counted for hours before the collector came up', () => {
    const { clock, store } = aStore();
    const startTimeMs = clock.now() - 3 * 60 * MINUTE_MS;
    store.record([aSample({ clock, startTimeMs, values: [1_000] })]);
    expect(added(store)).toBe(0);
    expect(total(store)).toBe(1_000);
    clock.nowMs += 5_000;
    store.record([aSample({ clock, startTimeMs, values: [1_004] })]);
    expect(added(store)).toBe(4);
  });

  it('takes the first value of a new series of a long known process for new', () => {
    const { clock, store } = aStore();
    const startTimeMs = clock.now() - 3 * 60 * MINUTE_MS;
    store.record([aSample({ clock, startTimeMs, labels: { response_code: '200' }, values: [1_000] })]);
    clock.nowMs += 5_000;
    store.record([aSample({ clock, startTimeMs, labels: { response_code: '503' }, values: [2] })]);
    expect(added(store)).toBe(2);
  });

  it('adds deltas as they are', () => {
    const { clock, store } = aStore();
    store.record([aSample({ clock, isDelta: true, values: [3] })]);
    clock.nowMs += 5_000;
    store.record([aSample({ clock, isDelta: true, values: [3] })]);
    expect(total(store)).toBe(6);
  });

  it('forgets a series that nobody has reported for the expiry', () => {
    const { clock, store } = aStore();
    store.record([aSample({ clock, labels: { a: '1' } }), aSample({ clock, labels: { a: '2' } })]);
    const startTimeMs = clock.now();
    clock.nowMs += 14 * MINUTE_MS;
    store.record([aSample({ clock, startTimeMs, labels: { a: '2' } })]);
    clock.nowMs += 2 * MINUTE_MS;
    expect(store.families().flatMap((family) => family.series.map((series) => series.labels))).toEqual([{ a: '2' }]);
    expect(store.seriesCount).toBe(1);
  });

  it('keeps a gauge at what each process said last, and takes out those that are gone', () => {
    const { clock, store } = aStore();
    const gauge = { clock, metric: 'istio_build', kind: 'gauge' as const };
    const totals = (): unknown => store.families().map((family) => family.series.map((series) => series.values[0]));
    store.record([aSample({ ...gauge, instance: 'a', values: [5] }), aSample({ ...gauge, instance: 'b', values: [1] })]);
    clock.nowMs += 14 * MINUTE_MS;
    store.record([aSample({ ...gauge, instance: 'a', values: [2] })]);
    expect(totals()).toEqual([[3]]);
    clock.nowMs += 2 * MINUTE_MS;
    expect(totals()).toEqual([[2]]);
  });

  it('drops what goes beyond the most series, and says how many', () => {
    const { clock, store } = aStore({ maxSeries: 2 });
    const samples = ['1', '2', '3', '4'].map((a) => aSample({ clock, labels: { a } }));
    expect(store.record(samples)).toEqual({ dropped: 2 });
    expect(store.seriesCount).toBe(2);
    expect([...store.dropped]).toEqual([['too many series', 2]]);
  });

  it('drops a histogram whose buckets are others than those of the same series before', () => {
    const { clock, store } = aStore();
    const histogram = { clock, kind: 'histogram' as const, values: [1, 1, 0], bounds: [5] };
    store.record([aSample({ ...histogram, instance: 'a' })]);
    expect(store.record([aSample({ ...histogram, instance: 'b', bounds: [6] })])).toEqual({ dropped: 1 });
    expect([...store.dropped]).toEqual([['other kind or buckets than before', 1]]);
  });
});
