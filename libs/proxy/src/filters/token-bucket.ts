import type { Clock } from '@mizzen/core';
import { durationMs, type Field } from '@mizzen/matching';
import type { TokenBucket as TokenBucketMessage } from '@mizzen/xds-api/envoy/type/v3/token_bucket';

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

/** Fills all the time at its rate, as Envoy's does; full at first. Source: envoy AtomicTokenBucketImpl (1.40). */
export class TokenBucket {
  readonly rate: TokenRate;
  readonly #clock: Clock;
  /** When it would have been empty. */
  #emptyMs = Number.NEGATIVE_INFINITY;

  constructor(rate: TokenRate, clock: Clock) {
    this.rate = rate;
    this.#clock = clock;
  }

  get #tokens(): number {
    return Math.min(this.rate.maxTokens, (this.#clock.monotonic() - this.#emptyMs) * this.rate.tokensPerMs);
  }

  /** Takes a token; false where none is left. */
  take(): boolean {
    const tokens = this.#tokens;
    if (tokens < 1) return false;
    this.#emptyMs = this.#clock.monotonic() - (tokens - 1) / this.rate.tokensPerMs;
    return true;
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
