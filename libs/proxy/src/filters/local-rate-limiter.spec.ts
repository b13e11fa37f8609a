import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { TokenBucketSchema } from '@mizzen/xds-api/envoy/type/v3/token_bucket';
import { collected } from '../config/config-error.ts';
import { HandClock } from '../http2/testing.ts';
import { LocalRateLimiter } from './local-rate-limiter.ts';
import { compileTokenRate, TokenBucket } from './token-bucket.ts';

const perSecond = (tokens: number, maxTokens = tokens) => ({ maxTokens, tokensPerMs: tokens / 1000 });
const entry = (key: string, value: string) => ({ key, value });

describe('TokenBucket', () => {
  it('is full at first and fills at its rate, up to its size', () => {
    const clock = new HandClock();
    const bucket = new TokenBucket(perSecond(2), clock);
    expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([true, true, false]);
    expect(bucket.untilNextMs).toBe(500);
    clock.advance(499);
    expect(bucket.take()).toBe(false);
    clock.advance(1);
    expect([bucket.take(), bucket.take()]).toEqual([true, false]);
    clock.advance(60_000);
    expect([bucket.remaining, bucket.untilNextMs]).toEqual([2, 0]);
  });

  it('refuses what could never fill', () => {
    const compile = (fields: MessageInitShape<typeof TokenBucketSchema>): unknown =>
      collected((field) => compileTokenRate(create(TokenBucketSchema, fields), field), 'token_bucket');
    const fillInterval = { seconds: 0n, nanos: 100e6 };
    expect(compile({ maxTokens: 3, tokensPerFill: 2, fillInterval })).toEqual({ maxTokens: 3, tokensPerMs: 0.02 });
    expect(() => compile({ fillInterval })).toThrow('token_bucket.max_tokens: must be above 0');
    expect(() => compile({ maxTokens: 1, tokensPerFill: 0, fillInterval })).toThrow('token_bucket.tokens_per_fill: must be above 0');
    expect(() => compile({ maxTokens: 1, fillInterval: { seconds: 0n, nanos: 49e6 } })).toThrow(
      'token_bucket.fill_interval: must be at least 50 ms',
    );
  });
});

describe('LocalRateLimiter', () => {
  const descriptors = [
    { entries: [entry('user', 'a')], rate: perSecond(1) },
    { entries: [entry('plan', 'free')], rate: perSecond(0.1, 3) },
  ];

  it('takes of each descriptor that matches, the slowest first, and of the bucket for all', () => {
    const limiter = new LocalRateLimiter({ bucket: perSecond(2), descriptors, alwaysTakesDefault: true }, new HandClock());
    const both = [[entry('user', 'a')], [entry('plan', 'free')]];
    const first = limiter.allow(both);
    expect([first.isAllowed, first.bucket?.rate.maxTokens]).toEqual([true, 3]);
    const second = limiter.allow(both);
    expect([second.isAllowed, second.bucket?.rate.maxTokens]).toEqual([false, 1]);
    expect(limiter.allow([[entry('user', 'b')]]).isAllowed).toBe(true);
    expect(limiter.allow([]).isAllowed).toBe(false);
  });

  it('leaves the bucket for all to the others where it is told so', () => {
    const limiter = new LocalRateLimiter({ bucket: perSecond(1), descriptors, alwaysTakesDefault: false }, new HandClock());
    expect(limiter.allow([[entry('user', 'a')]]).isAllowed).toBe(true);
    expect([limiter.allow([]).isAllowed, limiter.allow([]).isAllowed]).toEqual([true, false]);
  });

  it('limits nothing that no descriptor limits where there is no bucket for all', () => {
    const limiter = new LocalRateLimiter({ bucket: undefined, descriptors, alwaysTakesDefault: true }, new HandClock());
    expect(limiter.allow([])).toEqual({ isAllowed: true, bucket: undefined });
  });

  it('does not take entries in another order for the same', () => {
    const two = [{ entries: [entry('a', '1'), entry('b', '2')], rate: perSecond(0.001, 1) }];
    const limiter = new LocalRateLimiter({ bucket: undefined, descriptors: two, alwaysTakesDefault: true }, new HandClock());
    expect(limiter.allow([[entry('b', '2'), entry('a', '1')]]).bucket).toBeUndefined();
    expect(limiter.allow([[entry('a', '1'), entry('b', '2')]]).bucket).toBeDefined();
  });
});
