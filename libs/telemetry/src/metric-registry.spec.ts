import { describe, expect, it } from '@jest/globals';
import { createMetricRegistry } from './metric-registry.ts';

describe('metric registry', () => {
  it('renders counters, gauges and histograms as Prometheus reads them', () => {
    const registry = createMetricRegistry();
    registry.counter({ name: 'pushes', help: 'Pushes', labels: ['type'] }).series('cds').value += 2;
    registry.gauge({ name: 'connected', help: 'Connected' }).series().value = 7;
    const histogram = registry.histogram({ name: 'took', help: 'Took', buckets: [1, 5] }).series();
    for (const value of [0.5, 1, 3, 9]) histogram.observe(value);
    expect(registry.renderPrometheus((name) => !name.startsWith('mizzen_'))).toBe(
      [
        '# HELP pushes Pushes',
        '# TYPE pushes counter',
        'pushes{type="cds"} 2',
        '# HELP connected Connected',
        '# TYPE connected gauge',
        'connected 7',
        '# HELP took Took',
        '# TYPE took histogram',
        'took_bucket{le="1"} 2',
        'took_bucket{le="5"} 3',
        'took_bucket{le="+Inf"} 4',
        'took_sum 13.5',
        'took_count 4',
        '',
      ].join('\n'),
    );
  });

  it('gives the same series for the same label values and escapes what a peer may have chosen', () => {
    const registry = createMetricRegistry();
    const metric = registry.counter({ name: 'x', help: 'X', labels: ['a'] });
    expect(metric.series('1')).toBe(metric.series('1'));
    metric.series('q"\\\n').value++;
    expect(registry.renderPrometheus()).toContain('x{a="q\\"\\\\\\n"} 1\n');
  });

  it('bounds the number of series and counts what it did not record', () => {
    const registry = createMetricRegistry({ maxSeriesPerMetric: 2 });
    const metric = registry.counter({ name: 'x', help: 'X', labels: ['a'] });
    for (const value of ['1', '2', '3', '4']) metric.series(value).value++;
    expect(metric.size).toBe(2);
    expect(registry.renderPrometheus()).toContain('mizzen_metric_series_dropped_total{metric="x"} 2\n');
    metric.remove('1');
    metric.series('3').value++;
    expect([...metric.entries()].map((entry) => entry.values[0])).toEqual(['2', '3']);
  });

  it('refuses one name with two shapes, and runs collectors before a read', () => {
    const registry = createMetricRegistry();
    registry.counter({ name: 'x', help: 'X' });
    expect(() => registry.gauge({ name: 'x', help: 'X' })).toThrow(/already defined as a counter/);
    const gauge = registry.gauge({ name: 'now', help: 'Now' });
    const stop = registry.onCollect(() => {
      gauge.series().value++;
    });
    registry.collect();
    stop();
    registry.collect();
    expect(gauge.series().value).toBe(1);
  });
});
