import { type Clock, delay, errorMessage, type Logger, type Random, silentLogger, systemClock, type Timer, Watchable } from '@mizzen/core';
import type { KubeObject, LeaderElection, LeaderElectionOptions } from './contract.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { isConflict, isNotFound } from './kube-error.ts';
import { collectionPath, objectPath } from './paths.ts';

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

interface Lease extends KubeObject {
  readonly spec?: LeaseSpec;
}

// As client-go (tools/leaderelection): those who wait do not all come at once.
const RETRY_JITTER = 1.2;

/**
 * At most one leader, as long as clocks run about equally fast: others take the Lease over only after they saw it unchanged for its whole
 * duration, and a leader steps down when it could not renew for `renewDeadlineMs`, which is shorter. Times of different machines are
 * never compared. Source: client-go tools/leaderelection/leaderelection.go (0.34). `close` gives the Lease back.
 */
export function createLeaderElection(options: LeaderElectionOptions): LeaderElection {
  return new KubeLeaderElection(options);
}

class KubeLeaderElection implements LeaderElection {
  readonly isLeader = new Watchable(false);
  readonly #options: LeaderElectionOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  #observed: { readonly record: string; readonly atMs: number } | undefined;
  #lastFailure = '';
  #deadline: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#logger = options.logger ?? silentLogger;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryPeriodMs = options.retryPeriodMs ?? 2_000;
  }

  start(): void {
    this.#running ??= this.#run(this.#closing.signal);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    const wasLeader = this.isLeader.value;
    this.#stepDown();
    if (wasLeader) await this.#release().catch((thrown: unknown) => this.#failed(thrown));
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const askedAtMs = this.#clock.monotonic();
      try {
        if (await this.#acquireOrRenew(signal)) this.#lead(askedAtMs);
        else this.#stepDown();
        this.#lastFailure = '';
      } catch (thrown) {
        // A leader stays one until its deadline: the Lease is still its own.
        if (!signal.aborted) this.#failed(thrown);
      }
      const jitter = this.isLeader.value ? 1 : 1 + (RETRY_JITTER - 1) * this.#random();
      await delay(this.#clock, this.#retryPeriodMs * jitter, signal);
    }
  }

  /** Counted from when it was asked: the Lease may have been renewed as early as then. */
  #lead(askedAtMs: number): void {
    const leftMs = this.#renewDeadlineMs - (this.#clock.monotonic() - askedAtMs);
    if (leftMs <= 0) {
      this.#stepDown();
      return;
    }
    this.#deadline?.cancel();
    this.#deadline = this.#clock.after(leftMs, () => this.#stepDown());
    if (!this.isLeader.value) this.#logger.info({ lease: this.#options.name, identity: this.#options.identity }, 'leading');
    this.isLeader.set(true);
  }

  #stepDown(): void {
    this.#deadline?.cancel();
    if (this.isLeader.value) this.#logger.info({ lease: this.#options.name, identity: this.#options.identity }, 'not leading any more');
    this.isLeader.set(false);
  }

  async #acquireOrRenew(signal: AbortSignal): Promise<boolean> {
    const lease = await this.#read(signal);
    if (lease === undefined) return this.#write('POST', this.#recordAfter(undefined), signal);
    const spec = lease.spec ?? {};
    const record = JSON.stringify(spec);
    if (this.#observed?.record !== record) this.#observed = { record, atMs: this.#clock.monotonic() };
    const isOurs = spec.holderIdentity === this.#options.identity;
    const durationMs = spec.leaseDurationSeconds === undefined ? this.#leaseDurationMs : spec.leaseDurationSeconds * 1_000;
    const isHeld = (spec.holderIdentity ?? '') !== '' && this.#clock.monotonic() - this.#observed.atMs < durationMs;
    if (isHeld && !isOurs) return false;
    // The resourceVersion that was read makes the API server refuse it where somebody was faster.
    return this.#write('PUT', this.#recordAfter(lease), signal);
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    const { client, namespace, name } = this.#options;
    const path = objectPath(KINDS_OF_KUBERNETES.Lease, { namespace, name });
    try {
      return await client.request<Lease>({ method: 'GET', path, signal, timeoutMs: this.#renewDeadlineMs / 2 });
    } catch (thrown) {
      if (isNotFound(thrown)) return undefined;
      throw thrown;
    }
  }

  async #write(method: 'POST' | 'PUT', lease: Lease, signal?: AbortSignal): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const path =
      method === 'POST' ? collectionPath(KINDS_OF_KUBERNETES.Lease, namespace) : objectPath(KINDS_OF_KUBERNETES.Lease, { namespace, name });
    try {
      const written = await client.request<Lease>({
        method,
        path,
        body: lease,
        timeoutMs: this.#renewDeadlineMs / 2,
        ...(signal && { signal }),
      });
      this.#observed = { record: JSON.stringify(written.spec ?? {}), atMs: this.#clock.monotonic() };
      return true;
    } catch (thrown) {
      if (isConflict(thrown)) return false;
      throw thrown;
    }
  }

  #recordAfter(lease: Lease | undefined): Lease {
    const { name, namespace, identity } = this.#options;
    const { kind, apiVersion } = KINDS_OF_KUBERNETES.Lease;
    const now = microTime(this.#clock.now());
    const before = lease?.spec;
    const isRenewal = before?.holderIdentity === identity;
    return {
      apiVersion,
      kind,
      metadata: lease?.metadata ?? { name, namespace },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: Math.max(1, Math.round(this.#leaseDurationMs / 1_000)),
        acquireTime: (isRenewal && before?.acquireTime) || now,
        renewTime: now,
        leaseTransitions: (before?.leaseTransitions ?? 0) + (lease === undefined || isRenewal ? 0 : 1),
      },
    };
  }

  /** Leaves the Lease to whoever asks next, where it is still ours. */
  async #release(): Promise<void> {
    const lease = await this.#read(AbortSignal.timeout(this.#renewDeadlineMs / 2));
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    const spec: LeaseSpec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime(this.#clock.now()) };
    await this.#write('PUT', { ...lease, spec });
  }

  #failed(thrown: unknown): void {
    const reason = errorMessage(thrown);
    if (reason !== this.#lastFailure)
      this.#logger.warn({ lease: this.#options.name, reason }, 'the lease cannot be read or renewed; it is tried again');
    this.#lastFailure = reason;
  }
}

// Kubernetes' MicroTime has six digits after the point and takes no other number of them.
function microTime(nowMs: number): string {
  return new Date(nowMs).toISOString().replace('Z', '000Z');
}
