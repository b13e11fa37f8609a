import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { MizzenError, Secret } from '@mizzen/core';
import { chainViolation, isSelfSigned } from './chain.ts';
import { parseCertificates, splitCertificates } from './pem.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { spiffeIdOf } from './subject-alt-names.ts';

/** A certificate that proves a SPIFFE id, with its key and the roots that its issuer trusts. */
export interface Svid {
  readonly spiffeId: SpiffeId;
  /** PEM, leaf first, intermediates after it, without the root. */
  readonly certChainPem: string;
  /** PEM (PKCS#8). */
  readonly privateKeyPem: Secret<string>;
  /** PEM of all roots to trust. */
  readonly trustBundlePem: string;
  /** Milliseconds since the epoch. `issuedAt` is when it was received: NotBefore lies earlier on purpose. */
  readonly issuedAt: number;
  readonly notAfter: number;
}

/**
 * Puts together what a CA answered: certificates leaf first, roots (self-signed) last.
 * Throws MIZZEN_IDENTITY where the answer does not fit the key, names another identity or does not lead to its own root.
 */
export function assembleSvid(input: {
  chainPem: string;
  privateKeyPem: string;
  expected?: SpiffeId | undefined;
  issuedAt: number;
  now: number;
}): Svid {
  const blocks = splitCertificates(input.chainPem);
  const certificates = parseCertificates(input.chainPem, "the CA's answer");
  const leaf = certificates[0] as X509Certificate;
  const spiffeId = spiffeIdOf(leaf);
  if (!spiffeId) throw new MizzenError('MIZZEN_IDENTITY', "the CA's certificate names no SPIFFE id");
  if (input.expected !== undefined && spiffeId !== input.expected) {
    throw new MizzenError('MIZZEN_IDENTITY', `the CA certified ${spiffeId}, not ${input.expected}: the join token is another workload's`);
  }
  if (!leaf.checkPrivateKey(createPrivateKey(input.privateKeyPem)))
    throw new MizzenError('MIZZEN_IDENTITY', "the CA's certificate is for another key");
  const roots = certificates.filter(isSelfSigned);
  const violation = chainViolation(certificates, roots, input.now);
  if (violation) throw new MizzenError('MIZZEN_IDENTITY', `the CA's certificate cannot be used: ${violation}`);
  return {
    spiffeId,
    certChainPem: blocks.filter((_, index) => !roots.includes(certificates[index] as X509Certificate)).join(''),
    privateKeyPem: new Secret(input.privateKeyPem),
    trustBundlePem: blocks.filter((_, index) => roots.includes(certificates[index] as X509Certificate)).join(''),
    issuedAt: input.issuedAt,
    notAfter: Date.parse(leaf.validTo),
  };
}
