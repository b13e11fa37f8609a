import type { TLSSocket } from 'node:tls';
import { compileStringMatcher } from '@mizzen/matching';
import {
  type CertificateValidationContext,
  SubjectAltNameMatcher_SanType as SanType,
  CertificateValidationContext_TrustChainVerification as TrustChain,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { ConfigError, collected } from '../config/config-error.ts';
import { type CertificateFacts, shownChain } from './peer-certificate.ts';
import { dnsNameCovers, type SubjectAltNames } from './subject-alt-names.ts';

/** What a peer's certificate failed at: the counter's field, and a reason for the log. */
export interface VerificationFailure {
  readonly counter: 'failVerifyNoCert' | 'failVerifyError' | 'failVerifySan' | 'failVerifyCertHash';
  readonly reason: string;
}

/** What a certificate must fulfil besides a chain to a root. */
export interface PeerRules {
  readonly sanMatchers: readonly SanMatcher[];
  /** SHA-256 of certificates, lower-case hex. With `spkiHashes`: one of all must fit. */
  readonly certificateHashes: ReadonlySet<string>;
  /** SHA-256 of public keys, base64. */
  readonly spkiHashes: ReadonlySet<string>;
  /** Certificates between the peer's and the root, at most. */
  readonly maxDepth: number;
  /** A certificate that fails is taken all the same, and proves nothing. */
  readonly acceptsUntrusted: boolean;
}

export type SanMatcher = (names: SubjectAltNames) => boolean;

export const NO_RULES: PeerRules = {
  sanMatchers: [],
  certificateHashes: new Set(),
  spkiHashes: new Set(),
  maxDepth: Number.POSITIVE_INFINITY,
  acceptsUntrusted: false,
};

/** Throws ConfigError with a path below the validation context. */
export function compilePeerRules(context: CertificateValidationContext): PeerRules {
  return {
    sanMatchers: compileSanMatchers(context),
    certificateHashes: new Set(
      context.verifyCertificateHash.map((text, index) => {
        const hash = text.replaceAll(':', '').toLowerCase();
        if (!/^[0-9a-f]{64}$/.test(hash)) throw new ConfigError(`verify_certificate_hash[${index}]`, 'is not a SHA-256 in hex');
        return hash;
      }),
    ),
    spkiHashes: new Set(
      context.verifyCertificateSpki.map((text, index) => {
        if (Buffer.from(text, 'base64').length !== 32)
          throw new ConfigError(`verify_certificate_spki[${index}]`, 'is not a SHA-256 in base64');
        return text;
      }),
    ),
    maxDepth: context.maxVerifyDepth ?? Number.POSITIVE_INFINITY,
    acceptsUntrusted: context.trustChainVerification === TrustChain.ACCEPT_UNTRUSTED,
  };
}

/** Rules of a default and of a secret together, as their messages would merge. */
export function mergePeerRules(base: PeerRules, more: PeerRules): PeerRules {
  return {
    sanMatchers: [...base.sanMatchers, ...more.sanMatchers],
    certificateHashes: new Set([...base.certificateHashes, ...more.certificateHashes]),
    spkiHashes: new Set([...base.spkiHashes, ...more.spkiHashes]),
    maxDepth: Math.min(base.maxDepth, more.maxDepth),
    acceptsUntrusted: base.acceptsUntrusted || more.acceptsUntrusted,
  };
}

/** Whether a certificate must fulfil something although there may be no roots to verify it against. */
export function demandsProof(rules: PeerRules): boolean {
  return pinsCertificates(rules) || rules.sanMatchers.length > 0;
}

function pinsCertificates(rules: PeerRules): boolean {
  return rules.certificateHashes.size > 0 || rules.spkiHashes.size > 0;
}

/**
 * Judges the certificate of a finished handshake. `hasRoots`: OpenSSL verified its chain, and what it found counts. undefined: it is fine.
 * Source: envoy DefaultCertValidator::verifyCertificate (1.40).
 */
export function verifyPeer(
  socket: TLSSocket,
  certificate: CertificateFacts,
  {
    rules,
    hasRoots,
    names: wanted,
  }: { readonly rules: PeerRules; readonly hasRoots: boolean; readonly names?: readonly string[] | undefined },
): VerificationFailure | undefined {
  if (hasRoots) {
    const chainError = verifyError(socket);
    if (chainError !== undefined) return { counter: 'failVerifyError', reason: chainError };
    if (Number.isFinite(rules.maxDepth) && depthOf(socket) > rules.maxDepth)
      return { counter: 'failVerifyError', reason: 'the chain is longer than max_verify_depth' };
  }
  if (rules.sanMatchers.length > 0) {
    // A name that nobody vouches for is no proof: roots that did not come must not open the door.
    if (!hasRoots) return { counter: 'failVerifyError', reason: NAMES_WITHOUT_ROOTS };
    const { names } = certificate;
    if (!rules.sanMatchers.some((matcher) => matcher(names))) return { counter: 'failVerifySan', reason: 'verify SAN list' };
  }
  if (wanted !== undefined && !hasRoots) return { counter: 'failVerifyError', reason: NAMES_WITHOUT_ROOTS };
  if (wanted !== undefined && !carriesOneOf(certificate.names, wanted)) return { counter: 'failVerifySan', reason: 'verify SAN list' };
  if (pinsCertificates(rules) && !isPinned(certificate, rules)) return { counter: 'failVerifyCertHash', reason: 'verify certificate hash' };
  return undefined;
}

const NAMES_WITHOUT_ROOTS = 'names are matched and there are no roots to verify them by';

/** Source: envoy Utility::verifySubjectAltName (1.40). */
function carriesOneOf({ dns, uris, ips }: SubjectAltNames, wanted: readonly string[]): boolean {
  return wanted.some((name) => dns.some((certified) => dnsNameCovers(certified, name)) || uris.includes(name) || ips.includes(name));
}

function isPinned(certificate: CertificateFacts, { certificateHashes, spkiHashes }: PeerRules): boolean {
  return certificateHashes.has(certificate.sha256) || (spkiHashes.size > 0 && spkiHashes.has(certificate.spkiSha256));
}

/** How many certificates stand between the peer's and the root. */
function depthOf(socket: TLSSocket): number {
  let depth = -1;
  let issuer = shownChain(socket)?.issuerCertificate;
  // A chain that leads back to itself would be no chain; OpenSSL has taken none with more than 100.
  while (issuer !== undefined && depth < 100) {
    depth++;
    issuer = issuer.checkIssued(issuer) ? undefined : issuer.issuerCertificate;
  }
  return Math.max(0, depth);
}

/**
 * What OpenSSL found when it verified the peer's chain, or undefined when it is fine. `tls.Server` asks the same handle; a TLSSocket of one's
 * own has no public way. Fails closed where Node no longer has it.
 */
function verifyError(socket: TLSSocket): string | undefined {
  const handle = (
    socket as unknown as {
      readonly _handle?: { verifyError?: () => { readonly code?: string; readonly message: string } | null | undefined };
    }
  )._handle;
  if (handle?.verifyError === undefined) return 'cannot be verified';
  const error = handle.verifyError();
  return error ? (error.code ?? error.message) : undefined;
}

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
  return collected((field) => compileStringMatcher(matcher, field), path);
}
