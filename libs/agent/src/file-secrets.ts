import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Clock, errorMessage, type Logger, MizzenError, type Running, type Timer } from '@mizzen/core';
import { parseCertificates } from '@mizzen/identity';
import type { Secret } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { keyPairSecret, rootsSecret } from './secret-messages.ts';

const CERT_PREFIX = 'file-cert:';
const ROOT_PREFIX = 'file-root:';
// Looking is cheap, and unlike a watch it also sees a file that appears later, and the symbolic links that Kubernetes swaps.
const LOOK_AGAIN_MS = 2000;

/** Whether the name of a secret says that it is in files. Source: istio security/pkg/credentials, model.SdsCertificateConfig (1.32). */
export function isFileSecret(name: string): boolean {
  return name.startsWith(CERT_PREFIX) || name.startsWith(ROOT_PREFIX);
}

export interface FileSecretsOptions {
  readonly deliver: (name: string, secret: Secret) => void;
  readonly onFailure: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Entry {
  content: string;
  lastFailure: string;
}

/** Reads the secrets `file-cert:<chain>~<key>` and `file-root:<path>` and follows their files. What cannot be used leaves the old in force. */
export class FileSecrets implements Running {
  readonly #options: FileSecretsOptions;
  readonly #entries = new Map<string, Entry>();
  #timer: Timer | undefined;
  #work: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: FileSecretsOptions) {
    this.#options = options;
  }

  /** Says which secrets are wanted from now on. */
  follow(names: Iterable<string>): void {
    const wanted = new Set([...names].filter(isFileSecret));
    for (const name of this.#entries.keys()) if (!wanted.has(name)) this.#entries.delete(name);
    const added = [...wanted].filter((name) => !this.#entries.has(name));
    for (const name of added) this.#entries.set(name, { content: '', lastFailure: '' });
    if (added.length > 0) this.#look();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#work;
  }

  #look(): void {
    this.#timer?.cancel();
    this.#work = this.#work.then(async () => {
      await Promise.all([...this.#entries].map(([name, entry]) => this.#read(name, entry)));
      if (this.#isClosed || this.#entries.size === 0) return;
      this.#timer?.cancel();
      this.#timer = this.#options.clock.after(LOOK_AGAIN_MS, () => this.#look());
    });
  }

  async #read(name: string, entry: Entry): Promise<void> {
    try {
      const { content, secret } = await readSecret(name);
      if (this.#isClosed || this.#entries.get(name) !== entry || content === entry.content) return;
      this.#options.deliver(name, secret);
      entry.content = content;
      entry.lastFailure = '';
    } catch (thrown) {
      const reason = errorMessage(thrown);
      if (reason === entry.lastFailure) return;
      entry.lastFailure = reason;
      this.#options.onFailure();
      this.#options.logger.warn({ secret: name, reason }, 'a secret cannot be read from its files');
    }
  }
}

async function readSecret(name: string): Promise<{ content: string; secret: Secret }> {
  if (name.startsWith(ROOT_PREFIX)) {
    const file = name.slice(ROOT_PREFIX.length);
    const rootsPem = await readFile(file, 'utf8');
    parseCertificates(rootsPem, file);
    return { content: rootsPem, secret: rootsSecret(name, rootsPem) };
  }
  const [chainFile, keyFile] = name.slice(CERT_PREFIX.length).split('~');
  if (!chainFile || !keyFile) throw new MizzenError('MIZZEN_IDENTITY', `"${name}" is not file-cert:CHAIN~KEY`);
  const [chainPem, keyPem] = await Promise.all([readFile(chainFile, 'utf8'), readFile(keyFile, 'utf8')]);
  const leaf = parseCertificates(chainPem, chainFile)[0] as X509Certificate;
  if (!leaf.checkPrivateKey(createPrivateKey(keyPem)))
    throw new MizzenError('MIZZEN_IDENTITY', `${keyFile} is not the key of ${chainFile}; replace both together`);
  return { content: chainPem + keyPem, secret: keyPairSecret(name, { chainPem, keyPem }) };
}
