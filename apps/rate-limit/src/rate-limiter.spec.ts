import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { grpcMethodDefinition } from '@mizzen/xds-api';
import {
  RateLimitRequestSchema,
  type RateLimitResponse,
  RateLimitResponse_Code,
  RateLimitResponse_RateLimit_Unit,
  RateLimitService,
} from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';
import { type RateLimiter, startRateLimiter } from './rate-limiter.ts';

const OK = RateLimitResponse_Code.OK;
const OVER = RateLimitResponse_Code.OVER_LIMIT;

let limiter: RateLimiter;
let client: Client;

beforeEach(async () => {
  const about = { host: '127.0.0.1', port: 0, httpPort: 0, maxCounters: 100, clock: systemClock, logger: silentLogger };
  limiter = await startRateLimiter(about);
  client = new Client(`127.0.0.1:${limiter.port}`, credentials.createInsecure());
});

afterEach(async () => {
  client?.close();
  await limiter?.close();
});

function ask(
  descriptors: Record<string, string>[],
  more: MessageInitShape<typeof RateLimitRequestSchema> = {},
): Promise<RateLimitResponse> {
  const { path, requestSerialize, responseDeserialize } = grpcMethodDefinition(RateLimitService.method.shouldRateLimit);
  const request = create(RateLimitRequestSchema, {
    domain: 'mizzen',
    descriptors: descriptors.map((entries) => ({ entries: Object.entries(entries).map(([key, value]) => ({ key, value })) })),
    ...more,
  });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, answer) =>
      error || answer === undefined ? reject(error) : resolve(answer),
    );
  });
}

describe('the rate limit service', () => {
  it('counts what the question names, by the limit that it says', async () => {
    const answers: RateLimitResponse[] = [];
    for (let count = 0; count < 3; count++) answers.push(await ask([{ rule: 'a/b/c', limit: '2/HOUR', caller: 'x' }]));
    expect(answers.map(({ overallCode }) => overallCode)).toEqual([OK, OK, OVER]);
    expect(answers.map(({ statuses }) => statuses[0]?.limitRemaining)).toEqual([1, 0, 0]);
    expect(answers[2]?.statuses[0]?.currentLimit).toMatchObject({ requestsPerUnit: 2, unit: RateLimitResponse_RateLimit_Unit.HOUR });
    expect(Number(answers[2]?.statuses[0]?.durationUntilReset?.seconds)).toBeGreaterThan(3500);
    expect((await ask([{ rule: 'a/b/c', limit: '2/HOUR', caller: 'y' }])).overallCode).toBe(OK);
  });

  it('goes on counting where the limit changes', async () => {
    await ask([{ rule: 'r', limit: '2/HOUR' }]);
    expect((await ask([{ rule: 'r', limit: '1/HOUR' }])).overallCode).toBe(OVER);
    expect((await ask([{ rule: 'r', limit: '3/HOUR' }])).statuses[0]?.limitRemaining).toBe(1);
  });

  it('is over where one of several limits is, and does not know what says none', async () => {
    await ask([{ rule: 'narrow', limit: '1/HOUR' }]);
    const { overallCode, statuses } = await ask([
      { rule: 'wide', limit: '9/HOUR' },
      { other: 'thing' },
      { rule: 'narrow', limit: '1/HOUR' },
    ]);
    expect([overallCode, statuses.map(({ code }) => code)]).toEqual([OVER, [OK, OK, OVER]]);
    expect(statuses.map(({ limitRemaining }) => limitRemaining)).toEqual([9, 0, 0]);
    for (const limit of ['', '0/SECOND', '-1/SECOND', '10/WEEK', '1e9/DAY', '10'])
      expect((await ask([{ rule: 'r', limit }])).statuses[0]?.currentLimit).toBeUndefined();
  });

  it('counts several requests at once, and tells domains and long values apart', async () => {
    expect((await ask([{ rule: 'r', limit: '5/DAY' }], { hitsAddend: 4 })).statuses[0]?.limitRemaining).toBe(1);
    expect((await ask([{ rule: 'r', limit: '5/DAY' }], { domain: 'other' })).statuses[0]?.limitRemaining).toBe(4);
    const long = 'x'.repeat(5000);
    await ask([{ rule: long, limit: '5/DAY' }]);
    expect((await ask([{ rule: long, limit: '5/DAY' }])).statuses[0]?.limitRemaining).toBe(3);
    expect((await ask([{ rule: `${long}y`, limit: '5/DAY' }])).statuses[0]?.limitRemaining).toBe(4);
  });

  it('limits as far as it can count', async () => {
    const { statuses } = await ask([{ rule: 'r', limit: '9999999999/DAY' }]);
    expect(statuses[0]?.currentLimit?.requestsPerUnit).toBe(2 ** 32 - 1);
  });

  it('says how it fares', async () => {
    await ask([{ rule: 'r', limit: '1/DAY' }]);
    await ask([{ rule: 'r', limit: '1/DAY' }]);
    await ask([]);
    const page = (path: string) => fetch(`http://127.0.0.1:${limiter.httpPort}${path}`);
    expect((await page('/ready')).status).toBe(200);
    const metrics = await (await page('/metrics')).text();
    expect(metrics.match(/^mizzen_rate_limit_\w+(?:\{.*\})? \d+$/gm)).toEqual([
      'mizzen_rate_limit_requests_total{code="ok"} 1',
      'mizzen_rate_limit_requests_total{code="over_limit"} 1',
      'mizzen_rate_limit_requests_total{code="unlimited"} 1',
      'mizzen_rate_limit_counters 1',
      'mizzen_rate_limit_forgotten_total 0',
    ]);
  });

  it('says why it cannot listen', async () => {
    const taken = { host: '127.0.0.1', port: limiter.port, httpPort: 0, maxCounters: 1, clock: systemClock, logger: silentLogger };
    await expect(startRateLimiter(taken)).rejects.toMatchObject({ code: 'MIZZEN_PORT_IN_USE' });
  });
});
