import { constants, createHash } from 'node:crypto';
import { createSecureContext, getCACertificates, type SecureContext, type SecureContextOptions, type SecureVersion } from 'node:tls';
import { errorMessage } from '@mizzen/core';
import { compileStringMatcher, Field } from '@mizzen/matching';
import {
  type CertificateValidationContext,
  SubjectAltNameMatcher_SanType as SanType,
  TlsParametersSchema,
  TlsParameters_TlsProtocol as TlsProtocol,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { type CommonTlsContext, CommonTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileKeyPair, compileTrust, type KeyPair, type SecretStore, type Trust } from './secret-store.ts';
import { dnsNameCovers, parseSubjectAltNames, type SubjectAltNames } from './subject-alt-names.ts';

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
  [TlsParametersSchema.typeName]: ['tls_minimum_protocol_version', 'tls_maximum_protocol_version', 'cipher_suites', 'ecdh_curves'],
};

/** What is needed for one handshake, made once per version of the secrets. */
export interface TlsMaterial {
  readonly secureContext: SecureContext;
  /** Whether peers' chains are verified against roots. */
  readonly verifiesPeer: boolean;
  /** First URI SAN of the certificate that this side presents, or ''. */
  readonly localUriSan: string;
}

/**
 * The part of a TLS context that both directions share: certificates and roots, static or by SDS, parameters and SAN matchers.
 * Secrets rotate by making a new secure context for new handshakes; live connections keep theirs.
 */
export class TlsContext {
  readonly alpnProtocols: readonly string[];
  readonly secretNames: readonly string[];
  readonly #secrets: SecretStore;
  readonly #staticKeyPairs: readonly KeyPair[];
  readonly #keyPairName: string | undefined;
  readonly #staticTrust: Trust | undefined;
  readonly #trustName: string | undefined;
  readonly #parameters: SecureContextOptions;
  readonly #staticMatchers: readonly SanMatcher[];
  #material: { readonly generation: number; readonly value: TlsMaterial } | undefined;
  #sdsMatchers: { readonly trust: Trust; readonly matchers: readonly SanMatcher[] } | undefined;

  /** Throws ConfigError with a path below `common_tls_context`. */
  constructor(message: CommonTlsContext, secrets: SecretStore) {
    refuseUnsupportedFields(CommonTlsContextSchema, message, { supported: SUPPORTED });
    this.#secrets = secrets;
    this.alpnProtocols = message.alpnProtocols;
    this.#parameters = compileParameters(message);
    this.#staticKeyPairs = message.tlsCertificates.map((certificate, index) => compileKeyPair(certificate, `tls_certificates[${index}]`));
    if (message.tlsCertificateSdsSecretConfigs.length > 1)
      throw new ConfigError('tls_certificate_sds_secret_configs', 'more than one is not supported');
    this.#keyPairName = message.tlsCertificateSdsSecretConfigs[0]?.name;
    const validation = validationOf(message);
    this.#staticTrust = validation.context === undefined ? undefined : compileTrust(validation.context, validation.path);
    this.#staticMatchers =
      validation.context === undefined
        ? []
        : within(validation.path, () => compileSanMatchers(validation.context as CertificateValidationContext));
    this.#trustName = validation.secretName;
    this.secretNames = [this.#keyPairName, this.#trustName].filter((name) => name !== undefined);
    if (this.secretNames.length === 0) this.material();
  }

  /** Whether every secret that it names has arrived. */
  get isReady(): boolean {
    return this.secretNames.every((name) => this.#secrets.get(name) !== undefined);
  }

  /** undefined while a secret is missing. Throws ConfigError where the certificates do not fit together. */
  material(): TlsMaterial | undefined {
    const { generation } = this.#secrets;
    if (this.#material?.generation === generation) return this.#material.value;
    const keyPairs = this.#keyPairs();
    const roots = this.#roots();
    if (keyPairs === undefined || roots === undefined) return undefined;
    // A thousand clusters that present the same SVID share one context.
    const key = digest([
      JSON.stringify(this.#parameters),
      ...keyPairs.flatMap((pair) => [pair.chain, pair.key.reveal()]),
      roots.pem ?? '',
      roots.crl ?? '',
    ]);
    const value = this.#secrets.materials.get(key) ?? this.#createMaterial(keyPairs, roots);
    this.#secrets.materials.set(key, value);
    this.#material = { generation, value };
    return value;
  }

  /** Whether a verified certificate carries one of the names that are asked for. True where none is asked for. */
  acceptsNames(certificate: { readonly subjectAltName: string | undefined }): boolean {
    const matchers = [...this.#staticMatchers, ...this.#matchersBySecret()];
    if (matchers.length === 0) return true;
    const names = parseSubjectAltNames(certificate.subjectAltName);
    return matchers.some((matcher) => matcher(names));
  }

  #createMaterial(keyPairs: readonly KeyPair[], roots: Roots): TlsMaterial {
    const options: SecureContextOptions = { ...this.#parameters };
    if (keyPairs.length > 0) {
      options.cert = keyPairs.map((pair) => pair.chain);
      options.key = keyPairs.map((pair) => pair.key.reveal());
    }
    if (roots.pem !== undefined) options.ca = roots.pem;
    if (roots.crl !== undefined) options.crl = roots.crl;
    try {
      return { secureContext: createSecureContext(options), verifiesPeer: roots.pem !== undefined, localUriSan: keyPairs[0]?.uriSan ?? '' };
    } catch (thrown) {
      throw new ConfigError('', `the certificates cannot be used: ${errorMessage(thrown)}`);
    }
  }

  #keyPairs(): readonly KeyPair[] | undefined {
    if (this.#keyPairName === undefined) return this.#staticKeyPairs;
    const secret = this.#secrets.get(this.#keyPairName);
    return secret?.kind === 'keyPair' ? [secret.keyPair] : undefined;
  }

  #roots(): Roots | undefined {
    const bySecret = this.#trustBySecret();
    if (this.#trustName !== undefined && bySecret === undefined) return undefined;
    const pem = bySecret?.roots ?? this.#staticTrust?.roots ?? (this.#staticTrust?.context.systemRootCerts ? systemRoots() : undefined);
    return { pem, crl: bySecret?.crl ?? this.#staticTrust?.crl };
  }

  #trustBySecret(): Trust | undefined {
    const secret = this.#trustName === undefined ? undefined : this.#secrets.get(this.#trustName);
    return secret?.kind === 'trust' ? secret.trust : undefined;
  }

  #matchersBySecret(): readonly SanMatcher[] {
    const trust = this.#trustBySecret();
    if (trust === undefined) return [];
    if (this.#sdsMatchers?.trust !== trust) this.#sdsMatchers = { trust, matchers: compileSanMatchers(trust.context) };
    return this.#sdsMatchers.matchers;
  }
}

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

const VERSIONS: Readonly<Record<number, SecureVersion>> = {
  [TlsProtocol.TLSv1_0]: 'TLSv1',
  [TlsProtocol.TLSv1_1]: 'TLSv1.1',
  [TlsProtocol.TLSv1_2]: 'TLSv1.2',
  [TlsProtocol.TLSv1_3]: 'TLSv1.3',
};

// Envoy's defaults for both directions: 1.2 to 1.3. Source: envoy docs, TlsParameters.
function compileParameters(message: CommonTlsContext): SecureContextOptions {
  const given = message.tlsParams;
  const options: SecureContextOptions = {
    // No tickets: a resumed session would skip the check of a peer's certificate against today's roots.
    // No renegotiation, as in Envoy: one client could ask a TLS 1.2 connection for handshake after handshake.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    minVersion: VERSIONS[given?.tlsMinimumProtocolVersion ?? 0] ?? 'TLSv1.2',
    maxVersion: VERSIONS[given?.tlsMaximumProtocolVersion ?? 0] ?? 'TLSv1.3',
  };
  // TLS 1.3's suites are not configurable in Envoy; OpenSSL wants them in the same list.
  const suites = given?.cipherSuites.flatMap((suite) => suite.replace(/^\[|\]$/g, '').split('|')) ?? [];
  if (suites.length > 0)
    options.ciphers = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256', ...suites].join(':');
  if (given !== undefined && given.ecdhCurves.length > 0) options.ecdhCurve = given.ecdhCurves.join(':');
  return options;
}

type SanMatcher = (names: SubjectAltNames) => boolean;

function compileSanMatchers(context: CertificateValidationContext): readonly SanMatcher[] {
  const typed = context.matchTypedSubjectAltNames.map((matcher, index): SanMatcher => {
    const accepts = compileMatcher(matcher.matcher, `match_typed_subject_alt_names[${index}].matcher`);
    const acceptsDns = dnsMatcher(matcher.matcher) ?? accepts;
    if (matcher.sanType === SanType.URI) return (names) => names.uris.some(accepts);
    if (matcher.sanType === SanType.DNS) return (names) => names.dns.some(acceptsDns);
    if (matcher.sanType === SanType.EMAIL) return (names) => names.emails.some(accepts);
    if (matcher.sanType === SanType.IP_ADDRESS) return (names) => names.ips.some(accepts);
    throw new ConfigError(`match_typed_subject_alt_names[${index}].san_type`, 'must be EMAIL, DNS, URI or IP_ADDRESS');
  });
  const untyped = context.matchSubjectAltNames.map((matcher, index): SanMatcher => {
    const accepts = compileMatcher(matcher, `match_subject_alt_names[${index}]`);
    const acceptsDns = dnsMatcher(matcher) ?? accepts;
    return (names) => names.uris.some(accepts) || names.dns.some(acceptsDns) || names.emails.some(accepts) || names.ips.some(accepts);
  });
  return [...typed, ...untyped];
}

/** An exact name is also what a wildcard certificate stands for; every other matcher looks at the text of the certificate. */
function dnsMatcher(matcher: Parameters<typeof compileStringMatcher>[0]): ((certified: string) => boolean) | undefined {
  if (matcher?.matchPattern.case !== 'exact') return undefined;
  const name = matcher.matchPattern.value;
  return (certified) => dnsNameCovers(certified, name);
}

function compileMatcher(matcher: Parameters<typeof compileStringMatcher>[0], path: string): (value: string) => boolean {
  const field = new Field(path, []);
  const accepts = compileStringMatcher(matcher, field);
  const [rejection] = field.rejections;
  if (rejection !== undefined) throw new ConfigError(rejection.path, rejection.reason);
  return accepts;
}

function digest(parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('base64');
}
