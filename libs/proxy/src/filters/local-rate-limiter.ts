import type { Clock } from '@mizzen/core';
import type { RateLimitEntry } from '@mizzen/matching';
import type { ProcessShare } from '../workers/process-share.ts';
import { TokenBucket, type TokenRate } from './token-bucket.ts';

export interface LocalLimits {
  /** undefined: what no descriptor limits is not limited. */
  readonly bucket: TokenRate | undefined;
  readonly descriptors: readonly { readonly entries: readonly RateLimitEntry[]; readonly rate: TokenRate }[];
  /** The bucket for all gives a token for requests of a descriptor too. */
  readonly alwaysTakesDefault: boolean;
}

export interface LocalRateLimitResult {
  readonly isAllowed: boolean;
  /** The bucket that decided, for the headers that tell of it. */
  readonly bucket: TokenBucket | undefined;
}

/** The buckets of one policy. Source: envoy LocalRateLimiterImpl::requestAllowed (1.40). */
export class LocalRateLimiter {
  readonly #default: TokenBucket | undefined;
  readonly #byDescriptor = new Map<string, TokenBucket>();
  readonly #alwaysTakesDefault: boolean;

  /** `share`: as for TokenBucket. */
  constructor(limits: LocalLimits, clock: Clock, share?: ProcessShare) {
    this.#default = limits.bucket && new TokenBucket(limits.bucket, clock, share);
    for (const { entries, rate } of limits.descriptors) this.#byDescriptor.set(keyOf(entries), new TokenBucket(rate, clock, share));
    this.#alwaysTakesDefault = limits.alwaysTakesDefault;
  }

  get hasDescriptors(): boolean {
    return this.#byDescriptor.size > 0;
  }

  /** Takes a token of each bucket that the descriptors name, the slowest first, then one of the bucket for all. */
  allow(descriptors: readonly (readonly RateLimitEntry[])[]): LocalRateLimitResult {
    const matched: TokenBucket[] = [];
    for (const descriptor of descriptors) {
      const bucket = this.#byDescriptor.get(keyOf(descriptor));
      if (bucket !== undefined) matched.push(bucket);
    }
    matched.sort((a, b) => a.rate.tokensPerMs - b.rate.tokensPerMs);
    for (const bucket of matched) if (!bucket.take()) return { isAllowed: false, bucket };
    const first = matched[0];
    if (first !== undefined && !this.#alwaysTakesDefault) return { isAllowed: true, bucket: first };
    if (this.#default !== undefined && !this.#default.take()) return { isAllowed: false, bucket: this.#default };
    return { isAllowed: true, bucket: first ?? this.#default };
  }
}

function keyOf(entries: readonly RateLimitEntry[]): string {
  return JSON.stringify(entries.map(({ key, value }) => [key, value]));
}
