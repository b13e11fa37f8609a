import { X509Certificate } from 'node:crypto';
import { CLOCK_SKEW_MS, isSelfSigned, parseCertificates, renewAuthority, splitCertificates } from '@mizzen/identity';
import { type KeyMaterial, parseKey } from './authority.ts';

// Source: istio security/pkg/pki/ca/selfsignedcarootcertrotator.go, CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE 20 and
// CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL 1 h (1.32).
const LAST_PART_RATIO = 0.2;
export const RENEWAL_CHECK_MS = 3_600_000;

/**
 * The material with a new root of the same key and name, once the old one is in the last fifth of its life (or over); undefined before, and
 * for a CA that is not its own root. What the old root signed is valid under the new one too, and the other way round.
 */
export function renewedRoot(material: KeyMaterial, options: { now: number; ttlMs: number }): KeyMaterial | undefined {
  const [certificate] = parseCertificates(material.certificate, material.names.certificate) as [X509Certificate];
  const privateKey = parseKey(material.key, material.names.key);
  if (!isSelfSigned(certificate) || !certificate.checkPrivateKey(privateKey)) return undefined;
  const endsAt = Date.parse(certificate.validTo);
  const lifeMs = endsAt - Date.parse(certificate.validFrom);
  if (options.now < endsAt - lifeMs * LAST_PART_RATIO) return undefined;
  const validity = { notBefore: options.now - CLOCK_SKEW_MS, notAfter: options.now + options.ttlMs };
  const renewed = renewAuthority({ certificate, privateKey }, validity);
  const otherRoots = splitCertificates(material.root).filter((pem) => !new X509Certificate(pem).raw.equals(certificate.raw));
  return { ...material, certificate: renewed, root: [renewed, ...otherRoots].join('') };
}

export function hasExpired(material: KeyMaterial, now: number): boolean {
  const [certificate] = parseCertificates(material.certificate, material.names.certificate) as [X509Certificate];
  return Date.parse(certificate.validTo) <= now;
}
