import { create, fromJson } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { StatsConfigSchema } from '@mizzen/xds-api/envoy/config/metrics/v3/stats';
import { CLUSTER_STATS, countUpstreamResponse, createClusterStats } from './cluster-stats.ts';
import { HistogramIntervals } from './histogram-intervals.ts';
import { openConnections } from './open-connections.ts';
import { StatHistogram } from './stat-histogram.ts';
import { defineStats, StatRegistry } from './stat-registry.ts';
import { compileStatsPolicy } from './stat-tags.ts';
import { readStats, statsJson, statsPrometheus, statsText } from './stats-view.ts';

const RBAC = defineStats({ counters: { allowed: 'rbac.allowed', denied: 'rbac.denied' }, gauges: { open: 'open' } });
const everything = compileStatsPolicy(undefined);

function registryWithCluster(name: string) {
  const registry = new StatRegistry();
  const stats = createClusterStats();
  registry.addSource(() => [
    {
      prefix: `cluster.${name}`,
      tags: [['envoy.cluster_name', name]],
      names: CLUSTER_STATS,
      values: stats,
      more: [...(stats.responseCodes ?? [])].map(([status, count]) => [`upstream_rq_${status}`, count] as const),
    },
  ]);
  return { registry, stats };
}

describe('statistics', () => {
  it('belong to the name: who asks again counts in the same object', () => {
    const registry = new StatRegistry();
    const first = registry.counts(RBAC, { prefix: 'http.ingress' });
    first.allowed += 2;
    const second = registry.counts(RBAC, { prefix: 'http.ingress' });
    second.allowed++;
    expect(second).toBe(first);
    expect(statsText(readStats(registry, everything), 'quantiles')).toBe(
      'http.ingress.open: 0\nhttp.ingress.rbac.allowed: 3\nhttp.ingress.rbac.denied: 0\n',
    );
  });

  it('of one name from several scopes are added up', () => {
    const registry = new StatRegistry();
    const [a, b] = [
      { allowed: 1, denied: 0, open: 2 },
      { allowed: 4, denied: 0, open: 1 },
    ];
    registry.addSource(() => [a, b].map((values) => ({ prefix: 'tcp.x', tags: [], names: RBAC, values })));
    const stats = readStats(registry, everything, { usedOnly: true });
    expect(stats.map(({ name, value }) => [name, value])).toEqual([
      ['tcp.x.open', 3],
      ['tcp.x.rbac.allowed', 5],
    ]);
  });

  it('histograms of one name are added up, and go on counting by themselves', () => {
    const registry = new StatRegistry();
    const names = defineStats({ histograms: { time: 'time' } });
    const parts = [new StatHistogram(), new StatHistogram()];
    for (const part of parts) part.record(7);
    registry.addSource(() => parts.map((time) => ({ prefix: 'x', tags: [], names, values: { time } })));
    expect(readStats(registry, everything)[0]?.histogram?.count).toBe(2);
    expect(parts.map(({ count }) => count)).toEqual([1, 1]);
  });

  it('have the names and labels that Envoy gives them in Prometheus', () => {
    const { registry, stats } = registryWithCluster('outbound|80||a.default.svc');
    countUpstreamResponse(stats, 200);
    countUpstreamResponse(stats, 200);
    countUpstreamResponse(stats, 503);
    const text = statsPrometheus(readStats(registry, everything, { usedOnly: true }), everything);
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        '# TYPE envoy_cluster_upstream_rq counter',
        'envoy_cluster_upstream_rq{envoy_cluster_name="outbound|80||a.default.svc",envoy_response_code="200"} 2',
        'envoy_cluster_upstream_rq{envoy_cluster_name="outbound|80||a.default.svc",envoy_response_code="503"} 1',
        'envoy_cluster_upstream_rq_xx{envoy_cluster_name="outbound|80||a.default.svc",envoy_response_code_class="2"} 2',
        'envoy_cluster_upstream_rq_completed{envoy_cluster_name="outbound|80||a.default.svc"} 3',
      ]),
    );
    expect(text.match(/# TYPE envoy_cluster_upstream_rq_xx counter/g)).toHaveLength(1);
  });

  it("take labels from stats_tags: Istio's cluster_name", () => {
    const policy = compileStatsPolicy(
      fromJson(StatsConfigSchema, {
        useAllDefaultTags: false,
        statsTags: [
          { tagName: 'cluster_name', regex: '^cluster\\.((.+?(\\..+?\\.svc\\.cluster\\.local)?)\\.)' },
          { tagName: 'response_code', regex: '(_rq(_(\\d{3}))$)' },
          { tagName: 'mesh', fixedValue: 'm1' },
        ],
      }),
    );
    const { registry, stats } = registryWithCluster('outbound|80||api.example.com');
    stats.upstreamRqTotal = 7;
    const text = statsPrometheus(readStats(registry, policy, { usedOnly: true }), policy);
    expect(text).toBe(
      '# TYPE envoy_cluster_upstream_rq_total counter\n' +
        'envoy_cluster_upstream_rq_total{cluster_name="outbound|80||api.example.com",mesh="m1"} 7\n',
    );
  });

  it('are shown as stats_matcher says', () => {
    const { registry } = registryWithCluster('a');
    const names = (statsMatcher: object): readonly string[] => {
      const policy = compileStatsPolicy(fromJson(StatsConfigSchema, { statsMatcher } as never));
      return readStats(registry, policy).map(({ name }) => name);
    };
    expect(
      names({ inclusionList: { patterns: [{ suffix: 'upstream_rq_total' }, { safeRegex: { regex: '.*\\.upstream_cx_to.*' } }] } }),
    ).toEqual(['cluster.a.upstream_cx_total', 'cluster.a.upstream_rq_total']);
    expect(names({ exclusionList: { patterns: [{ prefix: 'cluster.' }] } })).toEqual([]);
    expect(names({ rejectAll: true })).toEqual([]);
  });

  it('refuse an expression of stats_config with its place', () => {
    const config = create(StatsConfigSchema, { statsTags: [{ tagName: 'x', tagValue: { case: 'regex', value: '((' } }] });
    expect(() => compileStatsPolicy(config)).toThrow(/stats_tags\[0\]\.regex/);
  });

  it('print histograms as Envoy does', () => {
    const { registry, stats } = registryWithCluster('a');
    stats.upstreamRqTime = new StatHistogram();
    for (const ms of [0, 1, 1, 30]) stats.upstreamRqTime.record(ms);
    const found = readStats(registry, everything, { kinds: ['histogram'] });
    expect(statsText(found, 'quantiles')).toMatch(
      /^cluster\.a\.upstream_rq_time: P0\(nan,0\) P25\(nan,0\) P50\(nan,1\.0333333333333334\) P75\(nan,1\.0666666666666667\) /,
    );
    expect(statsText(found, 'cumulative')).toMatch(
      /^cluster\.a\.upstream_rq_time: B0\.5\(0,1\) B1\(0,1\) B5\(0,3\) B10\(0,3\) B25\(0,3\) B50\(0,4\)/,
    );
    expect(statsText(found, 'disjoint')).toMatch(/ B5\(0,2\) B10\(0,0\) B25\(0,0\) B50\(0,1\) /);
    const text = statsPrometheus(found, everything);
    expect(text).toContain('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="5"} 3\n');
    expect(text).toContain('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="+Inf"} 4\n');
    expect(text).toContain('envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="a"} 32\n');
    expect(statsJson(found, 'quantiles')).toMatchObject({
      stats: [
        {
          histograms: {
            supported_quantiles: [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100],
            computed_quantiles: [{ name: 'cluster.a.upstream_rq_time' }],
          },
        },
      ],
    });
  });
});

describe('StatHistogram', () => {
  it('keeps two digits of any size of value', () => {
    const histogram = new StatHistogram();
    for (const value of [0.25, 12, 123_456, 9_999_999]) histogram.record(value);
    expect(histogram.quantile(25)).toBeCloseTo(0.255, 5);
    expect(histogram.quantile(50)).toBeCloseTo(12.5, 5);
    expect(histogram.quantile(75)).toBeCloseTo(125_000, 0);
    expect(histogram.quantile(100)).toBeCloseTo(9_950_000, 0);
    expect(histogram.countUpTo(100)).toBe(2);
  });

  // As Envoy 1.40 printed these values.
  it('has the quantiles that Envoy has', () => {
    const histogram = new StatHistogram();
    const values = [...Array(52).fill(0), 1, 1, 2, 2, 2, 3, 3, 41] as readonly number[];
    for (const value of values) histogram.record(value);
    expect([75, 90, 95, 99, 100].map((percent) => histogram.quantile(percent))).toEqual([0, 1.0666666666666667, 2.075, 41.5, 41.5]);
  });

  it('shows what was recorded of late beside all of it', () => {
    const { registry, stats } = registryWithCluster('a');
    const histogram = new StatHistogram();
    stats.upstreamRqTime = histogram;
    const intervals = new HistogramIntervals(registry);
    const show = (nowMs: number): string =>
      statsText(readStats(registry, everything, { kinds: ['histogram'] }), 'detailed', intervals.look(nowMs));
    histogram.record(7);
    expect(show(0)).toMatch(/totals=7,0.1:1\n {2}intervals=\n {2}summary=P0\(nan,7.05\)/);
    histogram.record(0);
    expect(show(1000)).toContain('intervals=\n');
    expect(show(5000)).toMatch(/totals=0,0:1, 7,0.1:1\n {2}intervals=0,0:1\n {2}summary=P0\(0,0\)/);
    histogram.record(20);
    expect(show(9000)).toContain('intervals=0,0:1, 20,1:1\n');
    expect(show(10_000)).toContain('intervals=20,1:1\n');
    histogram.clear();
    expect(show(11_000)).toContain('No recorded values');
  });
});

describe('bytes of open connections', () => {
  it('are counted when somebody looks, and once', () => {
    const registry = new StatRegistry();
    const counts = registry.counts(defineStats({ counters: { bytes: 'bytes' } }), { prefix: 'x' });
    let passed = 0;
    let counted = 0;
    const connection = {
      countBytes() {
        counts.bytes += passed - counted;
        counted = passed;
      },
    };
    const bytes = (): number | undefined => readStats(registry, everything)[0]?.value;
    openConnections.add(connection);
    passed = 5;
    expect([bytes(), bytes()]).toEqual([5, 5]);
    passed = 9;
    openConnections.remove(connection);
    passed = 11;
    expect(bytes()).toBe(9);
  });
});
