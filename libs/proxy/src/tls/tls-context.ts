import { constants, createHash } from 'node:crypto';
import { createSecureContext, getCACertificates, type SecureContext, type SecureContextOptions } from 'node:tls';
import { errorMessage } from '@mizzen/core';
import type { CertificateValidationContext } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { TlsParametersSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { type CommonTlsContext, CommonTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { chooseKeyPairs } from './certificate-choice.ts';
import { demandsProof, mergePeerRules, NO_RULES, type PeerRules } from './peer-verification.ts';
import { presentedChain } from './presented-chain.ts';
import { compileKeyPair, compileTrust, type KeyPair, type SecretStore, type Trust } from './secret-store.ts';
import { compileTlsParameters } from './tls-parameters.ts';

const SUPPORTED = {
  [CommonTlsContextSchema.typeName]: [
    'tls_params',
    'tls_certificates',
    'tls_certificate_sds_secret_configs',
    'validation_context',
    'validation_context_sds_secret_config',
    'combined_validation_context',
    'alpn_protocols',
  ],
  [TlsParametersSchema.typeName]: [
    'tls_minimum_protocol_version',
    'tls_maximum_protocol_version',
    'cipher_suites',
    'ecdh_curves',
    'signature_algorithms',
  ],
};

/** What is needed for one handshake, made once per version of the secrets. */
export interface TlsMaterial {
  readonly secureContext: SecureContext;
  /** Whether peers' chains are verified against roots. */
  readonly verifiesPeer: boolean;
  /** First URI SAN of the certificate that this side presents, or ''. */
  readonly localUriSan: string;
}

export interface TlsContextOptions {
  /** Clients may resume sessions by tickets; only where no certificate of theirs is verified. */
  readonly tickets?: { readonly keys: Buffer | undefined; readonly lifetimeSeconds: number | undefined } | undefined;
  /** A client whose server name no certificate carries is given the first certificate that it can check, and not just the first. */
  readonly scansAllCertificates?: boolean;
}

/**
 * The part of a TLS context that both directions share: certificates and roots, static or by SDS, parameters and what peers must prove.
 * Secrets rotate by making a new secure context for new handshakes; live connections keep theirs.
 */
export class TlsContext {
  readonly alpnProtocols: readonly string[];
  readonly secretNames: readonly string[];
  readonly #secrets: SecretStore;
  readonly #options: TlsContextOptions;
  readonly #staticKeyPairs: readonly KeyPair[];
  readonly #keyPairNames: readonly string[];
  readonly #staticTrust: Trust | undefined;
  readonly #trustName: string | undefined;
  readonly #parameters: SecureContextOptions;
  /**
   * Where the material for a server name is in the store, as long as no secret changes. The store alone holds it: a cluster that makes no
   * connections must not keep what was made of old certificates.
   */
  #materialKeys = new Map<string, string>();
  #generation = -1;
  #merged: { readonly trust: Trust | undefined; readonly rules: PeerRules } | undefined;

  /** Throws ConfigError with a path below `common_tls_context`. */
  constructor(message: CommonTlsContext, secrets: SecretStore, options: TlsContextOptions = {}) {
    refuseUnsupportedFields(CommonTlsContextSchema, message, { supported: SUPPORTED });
    this.#secrets = secrets;
    this.#options = options;
    this.alpnProtocols = message.alpnProtocols;
    this.#parameters = within('tls_params', () => compileTlsParameters(message.tlsParams));
    this.#staticKeyPairs = message.tlsCertificates.map((certificate, index) => compileKeyPair(certificate, `tls_certificates[${index}]`));
    this.#keyPairNames = message.tlsCertificateSdsSecretConfigs.map(({ name }) => name);
    const validation = validationOf(message);
    const { context } = validation;
    this.#staticTrust = context === undefined ? undefined : compileTrust(context, validation.path);
    this.#trustName = validation.secretName;
    this.secretNames = this.#trustName === undefined ? this.#keyPairNames : [...this.#keyPairNames, this.#trustName];
    if (this.secretNames.length === 0) {
      this.#requireRoots(validation.path);
      this.material();
    }
  }

  /** Whether every secret that it names has arrived. */
  get isReady(): boolean {
    return this.secretNames.every((name) => this.#secrets.get(name) !== undefined);
  }

  /** Whether which certificate is presented depends on the name that the peer asks for. */
  get hasSeveralCertificates(): boolean {
    return this.#staticKeyPairs.length + this.#keyPairNames.length > 1;
  }

  /** What peers' certificates must fulfil besides their chain. */
  get peerRules(): PeerRules {
    const trust = this.#trustBySecret();
    if (this.#merged === undefined || this.#merged.trust !== trust) {
      const base = this.#staticTrust?.rules ?? NO_RULES;
      const rules = trust === undefined ? base : mergePeerRules(base, trust.rules);
      this.#merged = { trust, rules };
    }
    return this.#merged.rules;
  }

  /** For a peer that asks for `serverName`; undefined while a secret is missing. Throws ConfigError where the certificates do not fit together. */
  material(serverName = ''): TlsMaterial | undefined {
    const { generation } = this.#secrets;
    if (this.#generation !== generation) {
      this.#materialKeys = new Map();
      this.#generation = generation;
    }
    const name = this.hasSeveralCertificates ? serverName.toLowerCase() : '';
    const knownKey = this.#materialKeys.get(name);
    const known = knownKey === undefined ? undefined : this.#secrets.materials.get(knownKey);
    if (known !== undefined) return known;
    const keyPairs = this.#keyPairs();
    const roots = this.#roots();
    if (keyPairs === undefined || roots === undefined) return undefined;
    const chosen = chooseKeyPairs(keyPairs, name, this.#options.scansAllCertificates ?? false);
    const key = this.#materialKey(chosen, roots);
    // Clients choose the names: they must not be remembered without end.
    if (this.#materialKeys.size >= MAX_REMEMBERED_NAMES) this.#materialKeys.clear();
    this.#materialKeys.set(name, key);
    return this.#shared(key, () => this.#createMaterial(chosen, roots));
  }

  /** A thousand clusters that present the same SVID share one context. */
  #shared(key: string, create: () => TlsMaterial): TlsMaterial {
    const value = this.#secrets.materials.get(key) ?? create();
    this.#secrets.materials.set(key, value);
    return value;
  }

  #materialKey(keyPairs: readonly KeyPair[], roots: Roots): string {
    const { tickets } = this.#options;
    return digest([
      JSON.stringify([this.#parameters, tickets?.lifetimeSeconds, tickets === undefined]),
      tickets?.keys?.toString('latin1') ?? '',
      ...keyPairs.flatMap((pair) => [pair.chain, pair.key.reveal()]),
      roots.pem ?? '',
      roots.crl ?? '',
    ]);
  }

  #createMaterial(keyPairs: readonly KeyPair[], roots: Roots): TlsMaterial {
    const options: SecureContextOptions = { ...this.#parameters, ...this.#sessionOptions(roots) };
    if (keyPairs.length > 0) {
      options.cert = keyPairs.map((pair) => presentedChain(pair.chain, roots.pem));
      options.key = keyPairs.map((pair) => ({ pem: pair.key.reveal(), passphrase: pair.password?.reveal() }));
    }
    if (roots.pem !== undefined) options.ca = roots.pem;
    if (roots.crl !== undefined) options.crl = roots.crl;
    try {
      const [presented] = keyPairs;
      return { secureContext: createSecureContext(options), verifiesPeer: roots.pem !== undefined, localUriSan: presented?.uriSan ?? '' };
    } catch (thrown) {
      throw new ConfigError('', `the certificates cannot be used: ${errorMessage(thrown)}`);
    }
  }

  /** No tickets where a certificate is verified: a resumed session would skip the check of it against today's roots. */
  #sessionOptions(roots: Roots): SecureContextOptions {
    const { tickets } = this.#options;
    if (tickets === undefined || roots.pem !== undefined || demandsProof(this.peerRules))
      return { secureOptions: (this.#parameters.secureOptions ?? 0) | constants.SSL_OP_NO_TICKET };
    return {
      ...(tickets.keys === undefined ? undefined : { ticketKeys: tickets.keys }),
      ...(tickets.lifetimeSeconds === undefined ? undefined : { sessionTimeout: tickets.lifetimeSeconds }),
    };
  }

  #requireRoots(path: string): void {
    const names = this.#staticTrust?.rules.sanMatchers.length ?? 0;
    // Envoy: "SAN-based verification of peer certificates without trusted CA is insecure and not allowed".
    if (names > 0 && this.#roots()?.pem === undefined)
      throw new ConfigError(path, 'names are matched but no chain is verified, which proves nothing; give trusted_ca');
  }

  #keyPairs(): readonly KeyPair[] | undefined {
    if (this.#keyPairNames.length === 0) return this.#staticKeyPairs;
    const pairs = [...this.#staticKeyPairs];
    for (const name of this.#keyPairNames) {
      const secret = this.#secrets.get(name);
      if (secret?.kind !== 'keyPair') return undefined;
      pairs.push(secret.keyPair);
    }
    return pairs;
  }

  #roots(): Roots | undefined {
    const bySecret = this.#trustBySecret();
    if (this.#trustName !== undefined && bySecret === undefined) return undefined;
    const pem = bySecret?.roots ?? this.#staticTrust?.roots ?? (this.#staticTrust?.usesSystemRoots ? systemRoots() : undefined);
    return { pem, crl: bySecret?.crl ?? this.#staticTrust?.crl };
  }

  #trustBySecret(): Trust | undefined {
    const secret = this.#trustName === undefined ? undefined : this.#secrets.get(this.#trustName);
    return secret?.kind === 'trust' ? secret.trust : undefined;
  }
}

const MAX_REMEMBERED_NAMES = 1000;

let knownSystemRoots: string | undefined;

/** The roots that the machine trusts, read once; where it has none (a bare container), those that come with Node. */
function systemRoots(): string {
  if (knownSystemRoots === undefined) {
    const ofMachine = getCACertificates('system');
    knownSystemRoots = [...(ofMachine.length > 0 ? ofMachine : getCACertificates('bundled')), ...getCACertificates('extra')].join('\n');
  }
  return knownSystemRoots;
}

interface Roots {
  readonly pem: string | undefined;
  readonly crl: string | undefined;
}

function validationOf(message: CommonTlsContext): {
  path: string;
  context: CertificateValidationContext | undefined;
  secretName: string | undefined;
} {
  const type = message.validationContextType;
  if (type.case === 'validationContext') return { path: 'validation_context', context: type.value, secretName: undefined };
  if (type.case === 'validationContextSdsSecretConfig') return { path: '', context: undefined, secretName: type.value.name };
  if (type.case === 'combinedValidationContext') {
    return {
      path: 'combined_validation_context.default_validation_context',
      context: type.value.defaultValidationContext,
      secretName: type.value.validationContextSdsSecretConfig?.name,
    };
  }
  return { path: '', context: undefined, secretName: undefined };
}

function digest(parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('base64');
}
