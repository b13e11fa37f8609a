import type { Clock } from '@mizzen/core';
import { durationMs, type Field } from '@mizzen/matching';
import type { TokenBucket as TokenBucketMessage } from '@mizzen/xds-api/envoy/type/v3/token_bucket';
import type { ProcessShare } from '../workers/process-share.ts';
import type { SharedSlot } from '../workers/shared-memory.ts';

export interface TokenRate {
  readonly maxTokens: number;
  readonly tokensPerMs: number;
}

/** Envoy's limit. Source: envoy LocalRateLimiterImpl (1.40). */
const MIN_FILL_INTERVAL_MS = 50;

export function compileTokenRate(message: TokenBucketMessage | undefined, field: Field): TokenRate {
  const { maxTokens = 0, tokensPerFill = 1 } = message ?? {};
  const intervalMs = durationMs(message?.fillInterval) ?? 0;
  if (maxTokens === 0) field.child('max_tokens').reject('must be above 0');
  if (tokensPerFill === 0) field.child('tokens_per_fill').reject('must be above 0');
  if (intervalMs < MIN_FILL_INTERVAL_MS) field.child('fill_interval').reject(`must be at least ${MIN_FILL_INTERVAL_MS} ms`);
  return { maxTokens, tokensPerMs: tokensPerFill / intervalMs };
}

/**
 * Fills all the time at its rate, as Envoy's does; full at first. With `share`, one that is made while a resource is compiled is the same in
 * all event loops of the process. Source: envoy AtomicTokenBucketImpl (1.40).
 */
export class TokenBucket {
  readonly rate: TokenRate;
  readonly #clock: Clock;
  /** When it would have been empty. */
  #emptyMs = Number.NEGATIVE_INFINITY;
  /** Where that stands for all event loops, in the time of the process. */
  readonly #shared: SharedSlot | undefined;

  constructor(rate: TokenRate, clock: Clock, share?: ProcessShare) {
    this.rate = rate;
    this.#clock = clock;
    this.#shared = share?.acquireCompiled(this);
  }

  get #tokens(): number {
    if (this.#shared !== undefined) return this.#tokensAt(processMs(), timeOf(this.#shared.getPair(0)));
    return this.#tokensAt(this.#clock.monotonic(), this.#emptyMs);
  }

  #tokensAt(nowMs: number, emptyMs: number): number {
    return Math.min(this.rate.maxTokens, (nowMs - emptyMs) * this.rate.tokensPerMs);
  }

  /** Takes a token; false where none is left. */
  take(): boolean {
    if (this.#shared !== undefined) return this.#takeShared(this.#shared);
    const tokens = this.#tokens;
    if (tokens < 1) return false;
    this.#emptyMs = this.#clock.monotonic() - (tokens - 1) / this.rate.tokensPerMs;
    return true;
  }

  #takeShared(shared: SharedSlot): boolean {
    for (;;) {
      const bits = shared.getPair(0);
      const nowMs = processMs();
      const tokens = this.#tokensAt(nowMs, timeOf(bits));
      if (tokens < 1) return false;
      if (shared.replacePair(0, bits, bitsOf(nowMs - (tokens - 1) / this.rate.tokensPerMs))) return true;
    }
  }

  get remaining(): number {
    return Math.floor(this.#tokens);
  }

  /** Until there is a token; 0 where there is one. */
  get untilNextMs(): number {
    const tokens = this.#tokens;
    return tokens >= 1 ? 0 : (1 - tokens) / this.rate.tokensPerMs;
  }
}

/** The monotonic clock of `Clock` begins anew in each thread; this one is the same in all. */
function processMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

const bits = new BigInt64Array(1);
const times = new Float64Array(bits.buffer);

/** A slot that nobody took a token from yet is 0. */
function timeOf(value: bigint): number {
  if (value === 0n) return Number.NEGATIVE_INFINITY;
  bits[0] = value;
  return times[0] as number;
}

function bitsOf(timeMs: number): bigint {
  times[0] = timeMs;
  return bits[0] as bigint;
}
