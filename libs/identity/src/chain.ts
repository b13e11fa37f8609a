import type { X509Certificate } from 'node:crypto';

// Root, two intermediates and a leaf are usual; a bound keeps a hostile chain cheap.
const MAX_DEPTH = 10;

/**
 * Why the first certificate of `chain` does not lead to one of `roots` at `now` (milliseconds since the epoch), or undefined where it does.
 * The rest of `chain` may stand in any order and may hold more than is needed.
 */
export function chainViolation(chain: readonly X509Certificate[], roots: readonly X509Certificate[], now: number): string | undefined {
  let current = chain[0];
  if (!current) return 'the chain is empty';
  const intermediates = chain.slice(1);
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const outside = validityViolation(current, now);
    if (outside) return outside;
    const subject: X509Certificate = current;
    if (roots.some((root) => root.raw.equals(subject.raw))) return undefined;
    const issuer =
      roots.find((root) => isIssuedBy(subject, root)) ??
      intermediates.find((candidate) => candidate !== subject && isIssuedBy(subject, candidate));
    if (!issuer) return `no certificate authority that is trusted issued ${describeCertificate(subject)}`;
    current = issuer;
  }
  return 'the chain is too long';
}

function isIssuedBy(certificate: X509Certificate, candidate: X509Certificate): boolean {
  return candidate.ca && certificate.checkIssued(candidate) && certificate.verify(candidate.publicKey);
}

function validityViolation(certificate: X509Certificate, now: number): string | undefined {
  if (now < Date.parse(certificate.validFrom)) return `${describeCertificate(certificate)} is not valid before ${certificate.validFrom}`;
  if (now > Date.parse(certificate.validTo)) return `${describeCertificate(certificate)} expired at ${certificate.validTo}`;
  return undefined;
}

/** Whether the certificate is signed by its own key: a root. */
export function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

/** For messages: the subject or, of an SVID, its names. */
export function describeCertificate(certificate: X509Certificate): string {
  const name = certificate.subject === undefined || certificate.subject === '' ? certificate.subjectAltName : certificate.subject;
  return `the certificate of ${(name ?? 'nobody').replace(/\s+/g, ' ')}`;
}
