import { backoffMs, type Clock, type Diagnostic, delay, errorMessage, type Logger, type Random, Watchable } from '@mizzen/core';
import { createReflector, decodeSecretData, KINDS_OF_KUBERNETES, type KubeClient, type KubeObject, type Reflector } from '@mizzen/kube';
import { CA_KEYS, CA_SUFFIX, CERTIFICATE_KEYS, type Credential, KEY_KEYS, readCredential } from '../credential.ts';
import type { CredentialSnapshot, CredentialSource } from '../credential-source.ts';

export interface KubernetesCredentialOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  /** Default: the system's. */
  readonly random?: Random;
  readonly logger: Logger;
  /** Names that the configuration asks for; in any namespace. */
  readonly wanted: Pick<Watchable<ReadonlySet<string>>, 'value' | 'watch'>;
}

interface SecretData {
  readonly certChainPem: string | undefined;
  readonly key: string | undefined;
  readonly caPem: string | undefined;
}

/** A Secret as it was read. */
interface Read {
  readonly version: string;
  readonly data: SecretData;
}

interface Known {
  readonly text: string;
  readonly credential?: Credential;
  readonly problem?: string;
}

const RETRY = { baseMs: 1_000, maxMs: 30_000 };

/**
 * Certificates from Secrets, keyed by `namespace/name`. Of all Secrets only names and versions are followed; the content is read, and held,
 * of those that the configuration names. A pair that does not belong together is a diagnostic; the last good pair stays.
 */
export function createKubernetesCredentialSource(options: KubernetesCredentialOptions): CredentialSource {
  return new SecretSource(options);
}

class SecretSource implements CredentialSource {
  readonly snapshot = new Watchable<CredentialSnapshot>({ credentials: new Map(), diagnostics: [] });
  readonly synced = new Watchable(false);
  readonly #options: KubernetesCredentialOptions;
  readonly #versions: Reflector<string>;
  readonly #closing = new AbortController();
  readonly #dirty = new Watchable(0);
  #read = new Map<string, Read>();
  #known = new Map<string, Known>();
  #stopWatching: () => void = () => {};
  #running: Promise<void> | undefined;

  constructor(options: KubernetesCredentialOptions) {
    const { client, clock, logger } = options;
    this.#options = options;
    this.#versions = createReflector({
      client,
      clock,
      logger,
      kind: KINDS_OF_KUBERNETES.Secret,
      isMetadataOnly: true,
      keep: ({ metadata }) => metadata.resourceVersion,
    });
  }

  async start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const { wanted } = this.#options;
    const touch = (): void => this.#dirty.set(this.#dirty.value + 1);
    const stops = [this.#versions.objects.watch(touch), wanted.watch(touch)];
    this.#stopWatching = () => {
      for (const stop of stops) stop();
    };
    this.#versions.start();
    await this.#versions.synced.until((isSynced) => isSynced, signal && { signal });
    this.#running = this.#run(this.#closing.signal);
    await this.synced.until((isSynced) => isSynced, signal && { signal });
  }

  async close(): Promise<void> {
    this.#stopWatching();
    this.#closing.abort();
    await this.#versions.close();
    await this.#running;
  }

  /** Brings what is held to what is wanted, whenever either changed, one run after the other. */
  async #run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      const seen = this.#dirty.value;
      const isComplete = await this.#update(signal);
      this.synced.set(true);
      failures = isComplete ? 0 : failures + 1;
      const changed = new AbortController();
      const untilChanged = this.#dirty
        .until((count) => count !== seen, { signal: AbortSignal.any([signal, changed.signal]) })
        .catch(() => {});
      const retry = isComplete
        ? untilChanged
        : delay(this.#options.clock, backoffMs(failures - 1, { ...RETRY, random: this.#options.random ?? Math.random }), signal);
      await Promise.race([untilChanged, retry]);
      changed.abort();
    }
  }

  /** False where something could not be read. */
  async #update(signal: AbortSignal): Promise<boolean> {
    const { wanted } = this.#options;
    const read = new Map<string, Read>();
    let isComplete = true;
    for (const [key, version] of this.#versions.objects.value) {
      const name = key.slice(key.indexOf('/') + 1);
      if (!wanted.value.has(name) && !wanted.value.has(nameWithoutSuffix(name))) continue;
      const before = this.#read.get(key);
      try {
        read.set(key, before?.version === version ? before : await this.#get(key, signal));
      } catch (thrown) {
        if (signal.aborted) return true;
        isComplete = false;
        if (before) read.set(key, before);
        this.#options.logger.warn({ secret: key, reason: errorMessage(thrown) }, 'a Secret cannot be read; it is tried again');
      }
    }
    this.#read = read;
    this.#publish();
    return isComplete;
  }

  async #get(key: string, signal: AbortSignal): Promise<Read> {
    const [namespace = '', name = ''] = key.split('/');
    const secret = await this.#options.client.request<KubeObject>({
      method: 'GET',
      path: `/api/v1/namespaces/${namespace}/secrets/${name}`,
      signal,
    });
    const data = decodeSecretData(secret);
    const first = (keys: readonly string[]): string | undefined => keys.map((each) => data[each]).find((value) => value);
    return {
      version: secret.metadata.resourceVersion ?? '',
      data: { certChainPem: first(CERTIFICATE_KEYS), key: first(KEY_KEYS), caPem: first(CA_KEYS) },
    };
  }

  #publish(): void {
    const next = new Map<string, Known>();
    for (const [key, { data }] of this.#read) {
      const { wanted } = this.#options;
      if (!wanted.value.has(key.slice(key.indexOf('/') + 1))) continue;
      const caPem = data.caPem ?? this.#read.get(`${key}${CA_SUFFIX}`)?.data.caPem;
      next.set(key, known({ ...data, caPem }, this.#known.get(key)));
    }
    const isChanged = next.size !== this.#known.size || [...next].some(([key, each]) => this.#known.get(key) !== each);
    this.#known = next;
    if (!isChanged) return;
    const credentials = new Map<string, Credential>();
    const diagnostics: Diagnostic[] = [];
    for (const [key, { credential, problem }] of next) {
      if (credential) credentials.set(key, credential);
      if (problem !== undefined) diagnostics.push(diagnosticOf(key, problem));
    }
    this.#options.logger.info({ credentials: credentials.size }, 'credentials read');
    this.snapshot.set({ credentials, diagnostics });
  }
}

function nameWithoutSuffix(name: string): string {
  return name.endsWith(CA_SUFFIX) ? name.slice(0, -CA_SUFFIX.length) : name;
}

function known(data: SecretData, before: Known | undefined): Known {
  const text = JSON.stringify([data.certChainPem, data.key, data.caPem]);
  if (text === before?.text) return before;
  const read = readCredential(data);
  if ('credential' in read) return { text, credential: read.credential };
  return { text, problem: read.problem, ...(before?.credential && { credential: before.credential }) };
}

function diagnosticOf(key: string, problem: string): Diagnostic {
  const [namespace = '', name = ''] = key.split('/');
  return {
    code: 'IST0101',
    severity: 'error',
    message: `the Secret cannot be used as a credential: ${problem}`,
    resource: { kind: 'Secret', namespace, name },
  };
}
