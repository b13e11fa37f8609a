import { backoffMs } from '@mizzen/core';
import { durationMs, type Field, refuseFields } from '@mizzen/matching';
import type { RemoteJwks } from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import { type AsyncResponse, type CallRuntime, sendAsyncRequest } from '../../http/async-client.ts';
import { HeaderMap } from '../../http/headers.ts';
import { Deadline } from '../../http/timer-wheel.ts';
import { type Jwks, type JwtKey, parseJwks } from './jwks.ts';
import type { JwtFailure } from './jwt-status.ts';

/** Where the keys of a provider come from. */
export interface JwksSource {
  /** What is in force now; undefined: they must be fetched first. */
  current(): Jwks | undefined;
  /** Calls back once, with keys or with why there are none; never before it has returned. */
  fetch(done: (keys: Jwks) => void): void;
}

/** Keys that stand in the configuration. */
export function fixedJwks(keys: Jwks): JwksSource {
  return { current: () => keys, fetch: (done) => queueMicrotask(() => done(keys)) };
}

export interface JwksStats {
  fetchSuccess: number;
  fetchFailed: number;
}

const DEFAULT_CACHE_MS = 600_000;
const DEFAULT_FAILED_REFETCH_MS = 1000;
/** Keys are fetched anew so long before they run out. Source: envoy JwksAsyncFetcher (1.40). */
const REFETCH_BEFORE_MS = 5000;
const MIN_REFETCH_MS = 1000;

interface RemoteConfig {
  readonly cluster: string;
  readonly authority: string;
  readonly path: string;
  readonly timeoutMs: number;
  readonly cacheMs: number;
  /** Fetches before it is asked, and again before the keys run out. */
  readonly isAsync: boolean;
  readonly failedRefetchMs: number;
  readonly retries: number;
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

/** Checks and compiles a RemoteJwks; undefined where it is rejected. */
export function compileRemoteJwks(message: RemoteJwks, field: Field): RemoteConfig | undefined {
  const uri = message.httpUri;
  const url = URL.parse(uri?.uri ?? '');
  const at = field.child('http_uri');
  if (uri === undefined || url === null || !/^https?:$/.test(url.protocol)) {
    at.child('uri').reject(`"${uri?.uri ?? ''}" is not a URL of a JWKS, as in https://issuer.example/keys`);
    return undefined;
  }
  if (uri.httpUpstreamType.case !== 'cluster' || uri.httpUpstreamType.value === '') at.child('cluster').reject('is required');
  const { retryPolicy } = message;
  if (retryPolicy !== undefined)
    refuseFields(field.child('retry_policy'), retryPolicy, [
      'retryOn',
      'retryPriority',
      'retryHostPredicate',
      'hostSelectionRetryMaxAttempts',
    ]);
  const retryBaseMs = durationMs(retryPolicy?.retryBackOff?.baseInterval) ?? 1000;
  return {
    cluster: uri.httpUpstreamType.value ?? '',
    authority: url.host,
    path: `${url.pathname}${url.search}`,
    timeoutMs: durationMs(uri.timeout) ?? 0,
    cacheMs: durationMs(message.cacheDuration) ?? DEFAULT_CACHE_MS,
    isAsync: message.asyncFetch !== undefined,
    failedRefetchMs: durationMs(message.asyncFetch?.failedRefetchDuration) ?? DEFAULT_FAILED_REFETCH_MS,
    retries: retryPolicy === undefined ? 0 : (retryPolicy.numRetries ?? 1),
    retryBaseMs,
    retryMaxMs: durationMs(retryPolicy?.retryBackOff?.maxInterval) ?? retryBaseMs * 10,
  };
}

/**
 * Keys that another server publishes. Who waits for them waits for one fetch together; where it fails they get nothing, and the keys that
 * were known stay in force only where they are fetched ahead. Source: envoy JwksAsyncFetcher, JwksCache (1.40).
 */
export class RemoteJwksSource implements JwksSource {
  readonly #config: RemoteConfig;
  readonly #runtime: CallRuntime;
  readonly #stats: JwksStats;
  readonly #timer: Deadline;
  #keys: readonly JwtKey[] | undefined;
  #expiresMs = 0;
  #waiting: ((keys: Jwks) => void)[] = [];
  #isFetching = false;

  constructor(config: RemoteConfig, runtime: CallRuntime, stats: JwksStats) {
    this.#config = config;
    this.#runtime = runtime;
    this.#stats = stats;
    // The wheel outlives the filter: a timer that held it would fetch for ever.
    const self = new WeakRef(this);
    this.#timer = new Deadline(runtime.wheel, () => {
      const source = self.deref();
      if (source !== undefined) source.#onTimer();
    });
    if (config.isAsync) this.#timer.arm(1);
  }

  current(): Jwks | undefined {
    return this.#runtime.context.clock.monotonic() < this.#expiresMs ? this.#keys : undefined;
  }

  fetch(done: (keys: Jwks) => void): void {
    this.#waiting.push(done);
    if (!this.#isFetching) this.#send(0);
  }

  #onTimer(): void {
    if (!this.#isFetching) this.#send(0);
  }

  #send(attempt: number): void {
    this.#isFetching = true;
    const { cluster, path, authority, timeoutMs } = this.#config;
    const request = { cluster, method: 'GET', path, authority, headers: new HeaderMap(), body: Buffer.alloc(0), timeoutMs };
    sendAsyncRequest(this.#runtime, request, {
      onResponse: (response) => this.#onResponse(response, attempt),
      onFailure: () => this.#onFailure(attempt),
    });
  }

  #onResponse({ status, body }: AsyncResponse, attempt: number): void {
    if (status >= 500) {
      this.#onFailure(attempt);
      return;
    }
    const keys = status === 200 ? parseJwks(body.toString('utf8')) : 'jwks-fetch-failed';
    if (typeof keys === 'string') this.#settle('jwks-fetch-failed');
    else this.#settle(keys);
  }

  #onFailure(attempt: number): void {
    const { retries, retryBaseMs, retryMaxMs } = this.#config;
    if (attempt >= retries) {
      this.#settle('jwks-fetch-failed');
      return;
    }
    const { clock, random } = this.#runtime.context;
    clock.after(backoffMs(attempt, { baseMs: retryBaseMs, maxMs: retryMaxMs, random }), () => this.#send(attempt + 1));
  }

  #settle(keys: readonly JwtKey[] | JwtFailure): void {
    const { isAsync, cacheMs, failedRefetchMs } = this.#config;
    this.#isFetching = false;
    if (typeof keys === 'string') {
      this.#stats.fetchFailed++;
      if (isAsync) this.#timer.arm(failedRefetchMs);
    } else {
      this.#stats.fetchSuccess++;
      this.#keys = keys;
      this.#expiresMs = isAsync ? Number.POSITIVE_INFINITY : this.#runtime.context.clock.monotonic() + cacheMs;
      if (isAsync) this.#timer.arm(Math.max(cacheMs - REFETCH_BEFORE_MS, MIN_REFETCH_MS));
    }
    for (const done of this.#waiting.splice(0)) done(keys);
  }
}
