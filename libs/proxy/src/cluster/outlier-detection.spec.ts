import type { JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { clusterOf, endpointAt, fakeClock, localities, spread } from './testing.ts';

describe('outlier detection', () => {
  const outliers = { consecutive_5xx: 3, interval: '10s', base_ejection_time: '30s', max_ejection_percent: 50 };

  it('ejects an endpoint after consecutive failures, and lets it back after its time', () => {
    const clock = fakeClock();
    const cluster = clusterOf(localities({ ports: [1, 2] }), { outlier_detection: outliers }, clock);
    const bad = endpointAt(cluster, 1);
    bad.onResponse(503);
    bad.onResponse(200);
    for (let index = 0; index < 2; index++) bad.onResponse(503);
    expect(spread(cluster, 10)).toEqual({ 1: 5, 2: 5 });
    bad.onFailure();
    expect(spread(cluster, 10)).toEqual({ 2: 10 });
    clock.advance(29_000);
    expect(spread(cluster, 10)).toEqual({ 2: 10 });
    clock.advance(15_000);
    expect(spread(cluster, 10)).toEqual({ 1: 5, 2: 5 });
  });

  it('ejects no more than the given share', () => {
    const cluster = clusterOf(localities({ ports: [1, 2, 3, 4] }), { outlier_detection: outliers });
    for (const port of [1, 2, 3]) for (let index = 0; index < 3; index++) endpointAt(cluster, port).onResponse(500);
    expect(Object.keys(spread(cluster, 100))).toEqual(['3', '4']);
  });

  it('counts gateway errors and local failures apart when asked to', () => {
    const split = {
      ...outliers,
      consecutive_5xx: 100,
      consecutive_gateway_failure: 2,
      enforcing_consecutive_gateway_failure: 100,
      split_external_local_origin_errors: true,
      consecutive_local_origin_failure: 2,
    };
    const cluster = clusterOf(localities({ ports: [1, 2, 3, 4] }), { outlier_detection: split });
    for (let index = 0; index < 2; index++) {
      endpointAt(cluster, 1).onResponse(502);
      endpointAt(cluster, 2).onFailure();
      endpointAt(cluster, 3).onResponse(500);
    }
    expect(Object.keys(spread(cluster, 100))).toEqual(['3', '4']);
  });

  it('ejects nobody where one would be more than the share, unless one may always be', () => {
    const few = localities({ ports: [1, 2] });
    const detection = { consecutive_5xx: 1, max_ejection_percent: 10 };
    const strict = clusterOf(few, { outlier_detection: detection });
    endpointAt(strict, 1).onResponse(500);
    expect(Object.keys(spread(strict, 10))).toEqual(['1', '2']);
    expect(strict.outliers?.stats).toMatchObject({ overflow: 1, detectedConsecutive5xx: 1, enforcedTotal: 0, active: 0 });
    const generous = clusterOf(few, { outlier_detection: { ...detection, always_eject_one_host: true } });
    endpointAt(generous, 1).onResponse(500);
    endpointAt(generous, 2).onResponse(500);
    expect(Object.keys(spread(generous, 10))).toEqual(['2']);
  });

  it('detects without acting where nothing is enforced', () => {
    const cluster = clusterOf(localities({ ports: [1, 2] }), { outlier_detection: { ...outliers, enforcing_consecutive_5xx: 0 } });
    for (let index = 0; index < 3; index++) endpointAt(cluster, 1).onResponse(500);
    expect(cluster.outliers?.stats).toMatchObject({ detectedConsecutive5xx: 1, enforcedConsecutive5xx: 0, active: 0 });
  });

  it('keeps an endpoint out for longer with each ejection, up to the longest time', () => {
    const clock = fakeClock();
    const detection = { ...outliers, consecutive_5xx: 1, interval: '1s', base_ejection_time: '10s', max_ejection_time: '15s' };
    const cluster = clusterOf(localities({ ports: [1, 2] }), { outlier_detection: detection }, clock);
    const bad = endpointAt(cluster, 1);
    const secondsOut: number[] = [];
    for (let round = 0; round < 3; round++) {
      bad.onResponse(500);
      let seconds = 0;
      for (; bad.isEjected; seconds++) clock.advance(1000);
      secondsOut.push(seconds);
    }
    expect(secondsOut).toEqual([10, 15, 15]);
  });

  const statistical = {
    consecutive_5xx: 1000,
    interval: '10s',
    max_ejection_percent: 50,
    success_rate_minimum_hosts: 3,
    success_rate_request_volume: 10,
    failure_percentage_minimum_hosts: 3,
    failure_percentage_request_volume: 10,
  };

  function answerInTurn(detection: JsonValue): { ejected: number[]; stats: object } {
    const clock = fakeClock();
    const cluster = clusterOf(localities({ ports: [1, 2, 3, 4, 5] }), { outlier_detection: detection }, clock);
    for (let port = 1; port <= 5; port++) {
      for (let request = 0; request < 20; request++) endpointAt(cluster, port).onResponse(port === 5 && request % 10 !== 0 ? 500 : 200);
    }
    clock.advance(10_000);
    const ejected = [1, 2, 3, 4, 5].filter((port) => endpointAt(cluster, port).isEjected);
    return { ejected, stats: cluster.outliers?.stats ?? {} };
  }

  it('ejects by success rate what lies far below the others', () => {
    const { ejected, stats } = answerInTurn(statistical);
    expect(ejected).toEqual([5]);
    expect(stats).toMatchObject({ detectedSuccessRate: 1, enforcedSuccessRate: 1 });
  });

  it('ejects by failure percentage where that is enforced', () => {
    const { ejected, stats } = answerInTurn({ ...statistical, enforcing_success_rate: 0, enforcing_failure_percentage: 100 });
    expect(ejected).toEqual([5]);
    expect(stats).toMatchObject({ enforcedSuccessRate: 0, enforcedFailurePercentage: 1 });
  });

  it('compares no rates where too few endpoints have enough requests', () => {
    expect(answerInTurn({ ...statistical, success_rate_minimum_hosts: 6 }).ejected).toEqual([]);
    expect(answerInTurn({ ...statistical, success_rate_request_volume: 21 }).ejected).toEqual([]);
  });

  it('counts the limit over the whole cluster, whatever the priority', () => {
    const cluster = clusterOf(localities({ ports: [1, 2] }, { ports: [3, 4], priority: 1 }), {
      outlier_detection: { ...outliers, consecutive_5xx: 1 },
    });
    for (const port of [1, 2, 3]) endpointAt(cluster, port).onResponse(500);
    expect([1, 2, 3, 4].filter((port) => endpointAt(cluster, port).isEjected)).toEqual([1, 2]);
    expect(spread(cluster, 10)).toEqual({ 3: 5, 4: 5 });
  });

  it('refuses a longest ejection below the base, with its place', () => {
    expect(() =>
      clusterOf(localities({ ports: [1] }), { outlier_detection: { base_ejection_time: '10s', max_ejection_time: '5s' } }),
    ).toThrow('outlier_detection.max_ejection_time: must not be below base_ejection_time');
  });
});
