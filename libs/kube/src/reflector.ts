import { isDeepStrictEqual } from 'node:util';
import {
  backoffMs,
  type Clock,
  delay,
  errorMessage,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  type Timer,
  Watchable,
} from '@mizzen/core';
import type { KubeObject, Reflector, ReflectorOptions, WatchEvent } from './contract.ts';
import { errorOfAnswer, isExpired, isNotFound, KubeError } from './kube-error.ts';
import { listPages } from './list-pages.ts';
import { collectionPath, keyOfObject } from './paths.ts';

// client-go's reflector: 800 ms to 30 s (tools/cache/reflector.go).
const BACKOFF = { baseMs: 800, maxMs: 30_000 };
/** How often a kind that does not exist is asked for: its CRD may be installed any moment. */
const MISSING_KIND_RETRY_MS = 5_000;
/** As often a kind is missing in a row before the objects of it that are known are given up. */
const MISSING_KIND_CONFIRMATIONS = 3;
const WATCH_TIMEOUT_SECONDS = 240;
// The API server sends a bookmark every minute (cacher.go bookmarkFrequency), but none for a kind of which it saw no event since it started.
// So a silent watch may be half open or just idle: opening it anew costs one request and settles it.
const SILENCE_MS = 90_000;
/** A watch that ends sooner, without an event, counts as a failure: a server on its way down closes them at once. */
const SHORTEST_WATCH_MS = 1_000;
/** After so many failures in a row the objects are listed again: the revision may belong to another life of the store. */
const FAILURES_BEFORE_RELIST = 4;
const COALESCE_MS = 50;

interface Known<T> {
  readonly resourceVersion: string | undefined;
  readonly kept: T;
}

/** Lists, then watches. Constructors do no I/O: `start` does. */
export function createReflector<T>(options: ReflectorOptions<T>): Reflector<T> {
  return new KubeReflector(options);
}

/**
 *   listing ──all pages──> watching ──ended, broken, silent──> watching (from the last revision)
 *      ^                      └──410, or nothing works──> listing
 *      └── failed: again after a while; what is known stays
 */
class KubeReflector<T> implements Reflector<T> {
  readonly objects = new Watchable<ReadonlyMap<string, T>>(new Map());
  readonly synced = new Watchable(false);
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  #known = new Map<string, Known<T>>();
  #resourceVersion: string | undefined;
  #failures = 0;
  #missing = 0;
  #lastFailure = '';
  #publishing: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#logger = options.logger ?? silentLogger;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#publishing?.cancel();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) await this.#list(signal);
        await this.#watch(signal);
        this.#failures = 0;
        this.#lastFailure = '';
      } catch (thrown) {
        if (signal.aborted) return;
        await delay(this.#clock, this.#afterFailure(thrown), signal);
      }
    }
  }

  /** Decides what comes next and after how long. Unit: ms. */
  #afterFailure(thrown: unknown): number {
    const { isOptional, kind } = this.#options;
    if (isOptional && isNotFound(thrown)) {
      this.#resourceVersion = undefined;
      this.#missing++;
      if (this.#known.size === 0 || this.#missing >= MISSING_KIND_CONFIRMATIONS) this.#replace(new Map());
      return MISSING_KIND_RETRY_MS * (0.8 + 0.4 * this.#random());
    }
    this.#failures++;
    if (isExpired(thrown) || this.#failures % FAILURES_BEFORE_RELIST === 0) this.#resourceVersion = undefined;
    if (isExpired(thrown) && this.#failures === 1) return 0;
    const message = errorMessage(thrown);
    const about = { kind: kind.kind, reason: message, failures: this.#failures };
    if (message !== this.#lastFailure) this.#logger.warn(about, 'objects cannot be followed; what is known stays, it is tried again');
    else this.#logger.debug(about, 'objects still cannot be followed');
    this.#lastFailure = message;
    return backoffMs(this.#failures - 1, { ...BACKOFF, random: this.#random });
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, kind } = this.#options;
    const next = new Map<string, Known<T>>();
    let resourceVersion = '';
    for await (const page of listPages(client, kind, { ...this.#options, signal })) {
      resourceVersion = page.resourceVersion;
      for (const object of page.items) this.#put(next, object);
    }
    this.#resourceVersion = resourceVersion;
    this.#missing = 0;
    this.#replace(next);
    this.#logger.debug({ kind: kind.kind, objects: next.size, resourceVersion }, 'objects listed');
  }

  #replace(next: Map<string, Known<T>>): void {
    const isSame = next.size === this.#known.size && [...next].every(([key, { kept }]) => this.#known.get(key)?.kept === kept);
    this.#known = next;
    if (!isSame) this.#publish();
    this.synced.set(true);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, kind } = this.#options;
    const silence = new AbortController();
    let timer: Timer | undefined;
    const heard = (): void => {
      timer?.cancel();
      timer = this.#clock.after(SILENCE_MS, () => silence.abort());
    };
    heard();
    const startedAt = this.#clock.monotonic();
    let events = 0;
    try {
      const stream = await client.watch(kind, {
        ...this.#options,
        resourceVersion: this.#resourceVersion ?? '',
        timeoutSeconds: Math.round(WATCH_TIMEOUT_SECONDS * (1 + this.#random())),
        signal: AbortSignal.any([signal, silence.signal]),
      });
      for await (const event of stream) {
        heard();
        events++;
        this.#take(event);
      }
    } finally {
      timer?.cancel();
    }
    if (silence.signal.aborted) {
      this.#logger.debug({ kind: kind.kind, silentMs: SILENCE_MS }, 'silent watch opened anew');
      return;
    }
    if (events === 0 && !signal.aborted && this.#clock.monotonic() - startedAt < SHORTEST_WATCH_MS)
      throw new KubeError(`watch of ${kind.plural}: the API server ended it at once`, { status: 0 });
  }

  #take(event: WatchEvent): void {
    const { kind } = this.#options;
    if (event.type === 'ERROR') {
      const { code } = event.object;
      throw errorOfAnswer(`watch ${collectionPath(kind)}`, typeof code === 'number' ? code : 0, event.object);
    }
    this.#failures = 0;
    this.#resourceVersion = event.object.metadata.resourceVersion ?? this.#resourceVersion;
    if (event.type === 'BOOKMARK') return;
    const key = keyOfObject(event.object.metadata);
    const before = this.#known.get(key);
    if (event.type === 'DELETED') this.#known.delete(key);
    else this.#put(this.#known, event.object);
    if (this.#known.get(key)?.kept !== before?.kept) this.#publishing ??= this.#clock.after(COALESCE_MS, () => this.#publish());
  }

  /** Keeps the object that is known where what is kept of it did not change, so that nobody is told of a heartbeat. */
  #put(into: Map<string, Known<T>>, object: KubeObject): void {
    const key = keyOfObject(object.metadata);
    const { resourceVersion } = object.metadata;
    const before = this.#known.get(key);
    if (before !== undefined && resourceVersion !== undefined && before.resourceVersion === resourceVersion) {
      into.set(key, before);
      return;
    }
    const fresh = this.#keep(object);
    if (fresh === undefined) into.delete(key);
    else into.set(key, { resourceVersion, kept: before !== undefined && isDeepStrictEqual(before.kept, fresh) ? before.kept : fresh });
  }

  #keep(object: KubeObject): T | undefined {
    try {
      return this.#options.keep(object);
    } catch (thrown) {
      this.#logger.error(
        { err: thrown, kind: this.#options.kind.kind, name: keyOfObject(object.metadata) },
        'an object could not be read; it is left out',
      );
      return undefined;
    }
  }

  #publish(): void {
    this.#publishing?.cancel();
    this.#publishing = undefined;
    this.objects.set(new Map([...this.#known].map(([key, { kept }]) => [key, kept])));
  }
}
