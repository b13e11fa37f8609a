import { X509Certificate } from 'node:crypto';
import { Secret } from '@mizzen/core';
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  type TlsCertificate,
  TlsCertificateSchema,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import type { Secret as SecretMessage } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { readDataSource } from '../config/values.ts';
import { compilePeerRules, demandsProof, type PeerRules } from './peer-verification.ts';
import { parseSubjectAltNames } from './subject-alt-names.ts';
import type { TlsMaterial } from './tls-context.ts';

/** A certificate chain (leaf first) with its private key, PEM. */
export interface KeyPair {
  readonly chain: string;
  readonly key: Secret<string>;
  /** Of an encrypted key. */
  readonly password: Secret<string> | undefined;
  /** First URI SAN of the leaf, or ''. */
  readonly uriSan: string;
  /** DNS names of the leaf, lower-case; its common name where it has none. */
  readonly names: readonly string[];
  /** `rsa`, `ec`, …: a server has one certificate of each for a name. */
  readonly keyKind: string;
}

/** What a secret holds: one of the two. */
export type SecretContent = { readonly kind: 'keyPair'; readonly keyPair: KeyPair } | { readonly kind: 'trust'; readonly trust: Trust };

/** Whom to trust: roots in PEM, and what more a certificate must fulfil. */
export interface Trust {
  readonly roots: string | undefined;
  readonly crl: string | undefined;
  /** What a certificate must fulfil besides a chain to the roots. */
  readonly rules: PeerRules;
  readonly usesSystemRoots: boolean;
}

/** Secrets by name (SDS), with a version that grows on each change. One per proxy. */
export class SecretStore {
  /** Secure contexts made from the present secrets, by a digest of what they are made of. */
  readonly materials = new Map<string, TlsMaterial>();
  readonly #secrets = new Map<string, { readonly content: SecretContent; readonly version: string; readonly updatedMs: number }>();
  readonly #watchers = new Set<(name: string) => void>();
  readonly #wanted = new Map<string, number>();
  #generation = 0;

  get(name: string): SecretContent | undefined {
    return this.#secrets.get(name)?.content;
  }

  /** Changes whenever any secret does: what was made from secrets is stale once it differs. */
  get generation(): number {
    return this.#generation;
  }

  /** The same content again is no change: what was made from it stays. */
  set(name: string, content: SecretContent, origin: { readonly version: string; readonly nowMs: number }): void {
    const known = this.#secrets.get(name)?.content;
    const isSame = known !== undefined && isSameContent(known, content);
    this.#secrets.set(name, { content: isSame ? known : content, version: origin.version, updatedMs: origin.nowMs });
    if (isSame) return;
    this.#generation++;
    this.materials.clear();
    for (const watcher of [...this.#watchers]) watcher(name);
  }

  remove(name: string): void {
    if (this.#secrets.delete(name)) this.#generation++;
  }

  entries(): readonly { readonly name: string; readonly content: SecretContent; readonly version: string; readonly updatedMs: number }[] {
    return [...this.#secrets].map(([name, entry]) => ({ name, ...entry }));
  }

  /** Calls `watcher` with the name of each secret that arrives or changes. Returns what ends it. */
  watch(watcher: (name: string) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Counts who needs a secret, for the SDS subscription. */
  want(names: Iterable<string>): void {
    for (const name of names) this.#wanted.set(name, (this.#wanted.get(name) ?? 0) + 1);
  }

  release(names: Iterable<string>): void {
    for (const name of names) {
      const count = (this.#wanted.get(name) ?? 0) - 1;
      if (count > 0) this.#wanted.set(name, count);
      else this.#wanted.delete(name);
    }
  }

  wantedNames(): ReadonlySet<string> {
    return new Set(this.#wanted.keys());
  }
}

function isSameContent(a: SecretContent, b: SecretContent): boolean {
  if (a.kind === 'keyPair') return b.kind === 'keyPair' && isSameKeyPair(a.keyPair, b.keyPair);
  return b.kind === 'trust' && isSameTrust(a.trust, b.trust);
}

function isSameKeyPair(a: KeyPair, b: KeyPair): boolean {
  return a.chain === b.chain && a.key.reveal() === b.key.reveal() && a.password?.reveal() === b.password?.reveal();
}

/** Rules are functions, which cannot be compared: trust that has any counts as another. */
function isSameTrust(a: Trust, b: Trust): boolean {
  const hasRules = [a.rules, b.rules].some((rules) => demandsProof(rules) || rules.acceptsUntrusted || Number.isFinite(rules.maxDepth));
  return !hasRules && a.roots === b.roots && a.crl === b.crl && a.usesSystemRoots === b.usesSystemRoots;
}

const SUPPORTED = {
  [TlsCertificateSchema.typeName]: ['certificate_chain', 'private_key', 'password', 'watched_directory'],
  [CertificateValidationContextSchema.typeName]: [
    'trusted_ca',
    'system_root_certs',
    'match_typed_subject_alt_names',
    'match_subject_alt_names',
    'verify_certificate_hash',
    'verify_certificate_spki',
    'trust_chain_verification',
    'max_verify_depth',
    'crl',
    'watched_directory',
  ],
};

/** Reads a Secret message. Throws ConfigError. */
export function compileSecret(message: SecretMessage): SecretContent {
  if (message.type.case === 'tlsCertificate') return { kind: 'keyPair', keyPair: compileKeyPair(message.type.value, 'tls_certificate') };
  if (message.type.case === 'validationContext') return { kind: 'trust', trust: compileTrust(message.type.value, 'validation_context') };
  throw new ConfigError(message.type.case ?? '', 'is not a secret that this proxy uses; give tls_certificate or validation_context');
}

export function compileKeyPair(message: TlsCertificate, path: string): KeyPair {
  refuseUnsupportedFields(TlsCertificateSchema, message, { supported: SUPPORTED, path });
  const chain = readDataSource(message.certificateChain, `${path}.certificate_chain`)?.toString('latin1');
  const key = readDataSource(message.privateKey, `${path}.private_key`)?.toString('latin1');
  if (chain === undefined) throw new ConfigError(`${path}.certificate_chain`, 'is required');
  if (key === undefined) throw new ConfigError(`${path}.private_key`, 'is required');
  const password = readDataSource(message.password, `${path}.password`)?.toString('utf8').trimEnd();
  return { chain, key: new Secret(key), password: password === undefined ? undefined : new Secret(password), ...describeLeaf(chain, path) };
}

export function compileTrust(message: CertificateValidationContext, path: string): Trust {
  refuseUnsupportedFields(CertificateValidationContextSchema, message, { supported: SUPPORTED, path });
  return {
    roots: readDataSource(message.trustedCa, `${path}.trusted_ca`)?.toString('latin1'),
    crl: readDataSource(message.crl, `${path}.crl`)?.toString('latin1'),
    rules: within(path, () => compilePeerRules(message)),
    usesSystemRoots: message.systemRootCerts !== undefined,
  };
}

function describeLeaf(chain: string, path: string): Pick<KeyPair, 'uriSan' | 'names' | 'keyKind'> {
  try {
    const leaf = new X509Certificate(chain);
    const { uris, dns } = parseSubjectAltNames(leaf.subjectAltName);
    const commonName = /^CN=(.+)$/m.exec(leaf.subject ?? '')?.[1];
    const names = dns.length > 0 || commonName === undefined ? dns : [commonName];
    return {
      uriSan: uris[0] ?? '',
      names: names.map((name) => name.toLowerCase()),
      keyKind: leaf.publicKey.asymmetricKeyType ?? '',
    };
  } catch {
    throw new ConfigError(`${path}.certificate_chain`, 'is not a certificate in PEM');
  }
}
