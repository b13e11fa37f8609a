import { createHash } from 'node:crypto';
import type { RateLimitDescriptor } from '@mizzen/xds-api/envoy/extensions/common/ratelimit/v3/ratelimit';
import { RateLimitResponse_RateLimit_Unit } from '@mizzen/xds-api/envoy/service/ratelimit/v3/rls';

export type Unit = 'SECOND' | 'MINUTE' | 'HOUR' | 'DAY';

export const UNITS: Readonly<Record<Unit, { readonly windowMs: number; readonly message: RateLimitResponse_RateLimit_Unit }>> = {
  SECOND: { windowMs: 1000, message: RateLimitResponse_RateLimit_Unit.SECOND },
  MINUTE: { windowMs: 60_000, message: RateLimitResponse_RateLimit_Unit.MINUTE },
  HOUR: { windowMs: 3_600_000, message: RateLimitResponse_RateLimit_Unit.HOUR },
  DAY: { windowMs: 86_400_000, message: RateLimitResponse_RateLimit_Unit.DAY },
};

/** What is counted together, and how much of it may pass. */
export interface Limit {
  /** Names the counter. */
  readonly key: string;
  readonly requests: number;
  readonly unit: Unit;
}

/** The entry that says the limit itself: `10/SECOND`. Every other entry tells counters apart. See docs/adr/0017. */
const LIMIT_KEY = 'limit';
/** Values of headers are in keys, and clients choose those. */
const MAX_KEY_LENGTH = 256;
/** What an answer can say, and a window count. */
const MAX_REQUESTS = 2 ** 32 - 1;

/** The limit that a descriptor asks for; undefined where it says none. The entries of the domain's descriptor are its counter. */
export function limitOf(domain: string, descriptor: Pick<RateLimitDescriptor, 'entries'>): Limit | undefined {
  const { entries } = descriptor;
  const written = entries.find(({ key }) => key === LIMIT_KEY)?.value ?? '';
  const [, requests = '', unit = ''] = /^([1-9]\d{0,9})\/(SECOND|MINUTE|HOUR|DAY)$/.exec(written) ?? [];
  if (unit === '') return undefined;
  const others = entries.filter(({ key }) => key !== LIMIT_KEY).map(({ key, value }) => [key, value]);
  return { key: bounded(JSON.stringify([domain, others])), requests: Math.min(Number(requests), MAX_REQUESTS), unit: unit as Unit };
}

function bounded(key: string): string {
  return key.length <= MAX_KEY_LENGTH ? key : createHash('sha256').update(key).digest('base64url');
}
