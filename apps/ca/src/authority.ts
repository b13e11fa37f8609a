import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { errorMessage, MizzenError } from '@mizzen/core';
import { chainViolation, describeCertificate, type Issuer, parseCertificates, splitCertificates } from '@mizzen/identity';

/** What a CA is made of, as PEM. Where it came from is said by `names`, for messages. */
export interface KeyMaterial {
  readonly key: string;
  /** The CA's certificate; what follows in the same text belongs to the chain. */
  readonly certificate: string;
  /** What lies between the certificate and the root; may be empty, and may repeat the certificate. */
  readonly chain: string;
  readonly root: string;
  readonly names: Readonly<Record<'key' | 'certificate' | 'chain' | 'root', string>>;
}

/** Everything that signing needs, whole and checked. Replaced as one. */
export interface Authority {
  readonly issuer: Issuer;
  /** PEM of the certificates between a leaf and the root, the issuer first; empty where the issuer is the root. */
  readonly intermediatePems: readonly string[];
  /** PEM of each root; several during a change of roots. */
  readonly rootPems: readonly string[];
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  readonly rootNotAfter: number;
}

/** Checks that the parts fit each other and are valid at `now`. Throws MIZZEN_IDENTITY naming the part that is wrong. */
export function parseAuthority(material: KeyMaterial, now: number): Authority {
  const { names } = material;
  const key = parseKey(material.key, names.key);
  const [certificate, ...following] = parseCertificates(material.certificate, names.certificate) as [X509Certificate];
  const roots = parseCertificates(material.root, names.root);
  const chain = [...following, ...(material.chain.trim() === '' ? [] : parseCertificates(material.chain, names.chain))];

  if (!certificate.ca) throw new MizzenError('MIZZEN_IDENTITY', `${names.certificate} is not the certificate of a certificate authority`);
  if (!certificate.checkPrivateKey(key))
    throw new MizzenError('MIZZEN_IDENTITY', `${names.key} is not the key of ${names.certificate}; replace both together`);
  const violation = chainViolation([certificate, ...chain], roots, now);
  if (violation) throw new MizzenError('MIZZEN_IDENTITY', `${names.certificate} does not lead to ${names.root}: ${violation}`);

  const isRoot = (candidate: X509Certificate): boolean => roots.some((root) => root.raw.equals(candidate.raw));
  const between = [certificate, ...chain].filter(
    (candidate, index, all) => all.findIndex((other) => other.raw.equals(candidate.raw)) === index,
  );
  return {
    issuer: { certificate, privateKey: key },
    intermediatePems: isRoot(certificate) ? [] : between.filter((candidate) => !isRoot(candidate)).map(String),
    rootPems: splitCertificates(material.root),
    notAfter: Date.parse(certificate.validTo),
    rootNotAfter: Math.min(...roots.map((root) => Date.parse(root.validTo))),
  };
}

export function parseKey(pem: string, name: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (thrown) {
    throw new MizzenError('MIZZEN_IDENTITY', `${name} holds no usable private key: ${errorMessage(thrown)}`, { cause: thrown });
  }
}

export function isSameAuthority(a: Authority, b: Authority): boolean {
  return (
    a.issuer.certificate.raw.equals(b.issuer.certificate.raw) &&
    a.rootPems.join() === b.rootPems.join() &&
    a.intermediatePems.join() === b.intermediatePems.join()
  );
}

export function trustBundleOf(authority: Authority): string {
  return authority.rootPems.join('');
}

export function describeAuthority(authority: Authority): string {
  return describeCertificate(authority.issuer.certificate);
}
