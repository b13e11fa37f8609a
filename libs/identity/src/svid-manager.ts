import { readFile } from 'node:fs/promises';
import {
  backoffMs,
  type Clock,
  delay,
  errorMessage,
  isMizzenError,
  type Logger,
  MizzenError,
  type Random,
  type Running,
  Watchable,
} from '@mizzen/core';
import { CALLER_REFUSED, type CallerProof, requestCertificate } from './ca-client.ts';
import { createCsr } from './csr.ts';
import { generateKeys, type KeyAlgorithm, privateKeyToPem } from './keys.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { assembleSvid, type Svid } from './svid.ts';
import { createSvidStore, type SvidStore } from './svid-store.ts';

export interface SvidManagerOptions {
  /** `host:port` of the CA. */
  readonly caAddress: string;
  /** The name that the CA's certificate has to be for. Default: the host of the address. */
  readonly caServerName?: string | undefined;
  /** File with the roots that the CA's certificate must lead to; read again for every request, and waited for while it is missing. */
  readonly caRootFile: string;
  /** A join token, asked for anew whenever no valid SVID is there; undefined where there is none at present. */
  readonly joinToken: () => Promise<string | undefined>;
  /** The identity that the CA is expected to certify; another one is refused. */
  readonly spiffeId?: SpiffeId;
  /** Wished life of a certificate. Unit: ms, whole seconds. Default 0: what the CA gives to who wishes nothing (24 h there). */
  readonly ttlMs?: number;
  /** Part of a life after which it is renewed. Default 0.5: Istio's SECRET_GRACE_PERIOD_RATIO. */
  readonly rotationRatio?: number;
  /** Spread of that moment, as part of a life, both ways. Default 0.01: Istio's SECRET_GRACE_PERIOD_RATIO_JITTER. */
  readonly jitterRatio?: number;
  readonly keyAlgorithm?: KeyAlgorithm;
  /** Folder (made 0700) where the SVID outlives a restart. Default: it does not. */
  readonly stateFolder?: string;
  /** How often the clock and the root file are looked at between renewals. Unit: ms. Default 30 s. */
  readonly checkMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What the manager is at: `starting` → `valid` ⇄ `renewing` → (failure) `retrying` → `valid`; `closed` ends every state. */
export type SvidState =
  | { readonly kind: 'starting' }
  | { readonly kind: 'valid'; readonly renewsAt: number }
  | { readonly kind: 'renewing' }
  | { readonly kind: 'retrying'; readonly attempt: number; readonly reason: string }
  | { readonly kind: 'closed' };

/** Owns the identity of one workload: gets the first SVID and renews it for as long as it runs. */
export interface SvidManager extends Running {
  /** The SVID in force; undefined before the first. One that expired while the CA was away stays until it is replaced. */
  readonly svid: Watchable<Svid | undefined>;
  readonly state: Watchable<SvidState>;
  /** Begins to work; resolves with the first SVID. Rejects with the signal's reason, or when closed before. */
  start(options?: { signal?: AbortSignal }): Promise<Svid>;
}

const CA_DECIDES_MS = 0;
const RETRY_BASE_MS = 250;
const RETRY_MAX_MS = 15_000;
// A machine that slept wakes with timers that are late by as long as it slept; so long waits look at the clock now and then.
const DEFAULT_CHECK_MS = 30_000;

/** Does no I/O until `start`. The private key stays in the process, apart from `stateFolder`. */
export function createSvidManager(options: SvidManagerOptions): SvidManager {
  return new RotatingSvidManager(options);
}

/** Token source that reads a file each time: whoever writes the file may renew the token. */
export function joinTokenFromFile(file: string): () => Promise<string | undefined> {
  return async () => {
    try {
      const token = (await readFile(file, 'utf8')).trim();
      return token === '' ? undefined : token;
    } catch (thrown) {
      throw new MizzenError('MIZZEN_IDENTITY', `the join token file ${file} cannot be read: ${errorMessage(thrown)}`, { cause: thrown });
    }
  };
}

class RotatingSvidManager implements SvidManager {
  readonly svid = new Watchable<Svid | undefined>(undefined);
  readonly state = new Watchable<SvidState>({ kind: 'starting' });
  readonly #options: SvidManagerOptions;
  readonly #store: SvidStore | undefined;
  readonly #closing = new AbortController();
  #work: Promise<void> | undefined;
  #isSvidRefused = false;
  /** What the root file said when the SVID in force was asked for. */
  #rootsOfSvid: string | undefined;

  constructor(options: SvidManagerOptions) {
    this.#options = options;
    this.#store = options.stateFolder === undefined ? undefined : createSvidStore(options.stateFolder, options.spiffeId);
  }

  async start(options: { signal?: AbortSignal } = {}): Promise<Svid> {
    this.#work ??= this.#run();
    const signals = [this.#closing.signal, ...(options.signal ? [options.signal] : [])];
    return (await this.svid.until((svid) => svid !== undefined, { signal: AbortSignal.any(signals) })) as Svid;
  }

  async close(): Promise<void> {
    this.#closing.abort(new MizzenError('MIZZEN_IDENTITY', 'the SVID manager was closed'));
    await this.#work;
    this.state.set({ kind: 'closed' });
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    await this.#load();
    while (!signal.aborted) {
      if (this.svid.value) await this.#waitForRenewal(this.svid.value);
      if (!signal.aborted) await this.#renew();
    }
  }

  async #load(): Promise<void> {
    if (!this.#store) return;
    try {
      this.svid.set(await this.#store.load(this.#options.clock.now()));
    } catch (thrown) {
      this.#options.logger.warn({ reason: errorMessage(thrown) }, 'the stored SVID cannot be used; a new one is asked for');
    }
  }

  async #waitForRenewal(svid: Svid): Promise<void> {
    const { clock, random, rotationRatio = 0.5, jitterRatio = 0.01, checkMs = DEFAULT_CHECK_MS } = this.#options;
    const lifeMs = svid.notAfter - svid.issuedAt;
    const renewsAt = svid.issuedAt + lifeMs * (rotationRatio + jitterRatio * (2 * random() - 1));
    this.state.set({ kind: 'valid', renewsAt });
    for (let left = renewsAt - clock.now(); left > 0 && !this.#closing.signal.aborted; left = renewsAt - clock.now()) {
      await delay(clock, Math.min(left, checkMs), this.#closing.signal);
      if (await this.#haveRootsChanged()) return;
    }
  }

  /**
   * Other roots: the CA is another one, or is about to be. The control plane and the peers that have its certificates already cannot be
   * talked to with the old ones, so the renewal does not wait for half of a life. Source: istio security/pkg/nodeagent/cache (1.32),
   * which follows its root file too.
   */
  async #haveRootsChanged(): Promise<boolean> {
    const present = await this.#readRootFile().catch(() => undefined);
    if (present === undefined || this.#rootsOfSvid === undefined || present === this.#rootsOfSvid) return false;
    this.#options.logger.info({ file: this.#options.caRootFile }, 'the roots of the CA have changed; renewing the SVID');
    return true;
  }

  #readRootFile(): Promise<string> {
    return readFile(this.#options.caRootFile, 'utf8');
  }

  /** Tries until there is a new SVID or the manager is closed. */
  async #renew(): Promise<void> {
    const { clock, logger } = this.#options;
    const { signal } = this.#closing;
    let lastReason = '';
    this.state.set({ kind: 'renewing' });
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const svid = await this.#request();
        if (signal.aborted) return;
        await this.#save(svid);
        this.#isSvidRefused = false;
        this.svid.set(svid);
        logger.info({ spiffeId: svid.spiffeId, notAfter: new Date(svid.notAfter).toISOString() }, 'SVID received');
        return;
      } catch (thrown) {
        if (signal.aborted) return;
        const reason = errorMessage(thrown);
        if (reason !== lastReason) logger.warn({ reason, spiffeId: this.#options.spiffeId }, 'no SVID yet; trying again');
        lastReason = reason;
        // The SVID was refused: the next attempt tries a join token instead, and so on in turn.
        this.#isSvidRefused = isMizzenError(thrown) && thrown.details['reason'] === CALLER_REFUSED && !this.#isSvidRefused;
        this.state.set({ kind: 'retrying', attempt, reason });
        await delay(clock, this.#retryDelayMs(attempt), signal);
      }
    }
  }

  async #request(): Promise<Svid> {
    const { caAddress, caServerName, clock, keyAlgorithm, spiffeId } = this.#options;
    const rootPem = await this.#roots();
    const rootFile = await this.#readRootFile().catch(() => undefined);
    const proof = await this.#proof();
    const keys = await generateKeys(keyAlgorithm);
    const chainPem = await requestCertificate({
      caAddress,
      caServerName,
      rootPem,
      proof,
      csrPem: createCsr(keys, spiffeId),
      ttlMs: this.#options.ttlMs ?? CA_DECIDES_MS,
      signal: this.#closing.signal,
    });
    const now = clock.now();
    const svid = assembleSvid({ chainPem, privateKeyPem: privateKeyToPem(keys.privateKey), expected: spiffeId, issuedAt: now, now });
    this.#rootsOfSvid = rootFile;
    return svid;
  }

  /** The configured roots, and those that the CA gave since: either may be the newer in a change of roots. */
  async #roots(): Promise<string> {
    const { caRootFile } = this.#options;
    try {
      return `${await this.#readRootFile()}\n${this.svid.value?.trustBundlePem ?? ''}`;
    } catch (thrown) {
      if (this.svid.value) return this.svid.value.trustBundlePem;
      throw new MizzenError('MIZZEN_IDENTITY', `the CA's root ${caRootFile} cannot be read: ${errorMessage(thrown)}`, { cause: thrown });
    }
  }

  async #proof(): Promise<CallerProof> {
    const svid = this.svid.value;
    const isSvidValid = svid !== undefined && svid.notAfter > this.#options.clock.now();
    if (isSvidValid && !this.#isSvidRefused) return { kind: 'svid', svid };
    const token = await this.#options.joinToken();
    if (token !== undefined) return { kind: 'token', token };
    if (isSvidValid) return { kind: 'svid', svid };
    throw new MizzenError('MIZZEN_IDENTITY', 'there is neither a valid SVID nor a join token; give one with --join-token-file');
  }

  async #save(svid: Svid): Promise<void> {
    try {
      await this.#store?.save(svid);
    } catch (thrown) {
      this.#options.logger.warn({ reason: errorMessage(thrown) }, 'the SVID cannot be stored; it is lost when the process ends');
    }
  }

  // The closer the end, the more often: a life of seconds must survive a CA that is away for a moment.
  #retryDelayMs(attempt: number): number {
    const { clock, random } = this.#options;
    const leftMs = this.svid.value === undefined ? Infinity : this.svid.value.notAfter - clock.now();
    const maxMs = Math.max(RETRY_BASE_MS, Math.min(RETRY_MAX_MS, leftMs / 4));
    return backoffMs(attempt, { baseMs: RETRY_BASE_MS, maxMs: this.svid.value === undefined ? Math.min(maxMs, 2000) : maxMs, random });
  }
}
