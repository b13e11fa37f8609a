import { X509Certificate } from 'node:crypto';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
/** As many as OpenSSL would put together by itself. */
const MAX_DEPTH = 100;

/**
 * A certificate that comes alone, and behind it who issued it, as far as the trusted roots have them. OpenSSL puts the same together by
 * itself, but in every handshake, and verifies the signatures each time; a chain that is given it sends as it is. All PEM.
 * Source: OpenSSL ssl/statem/statem_lib.c ssl_add_cert_chain (3.5).
 */
export function presentedChain(chain: string, roots: string | undefined): string {
  const parts = certificatesOf(chain);
  const leaf = parts.length === 1 ? parse(parts[0] as string) : undefined;
  if (leaf === undefined || roots === undefined) return chain;
  const trusted = certificatesOf(roots).flatMap((pem) => {
    const certificate = parse(pem);
    return certificate === undefined ? [] : [{ pem, certificate }];
  });
  let current = leaf;
  while (parts.length <= MAX_DEPTH && !isIssuedBy(current, current)) {
    const issued = current;
    const issuer = trusted.find(({ certificate }) => isIssuedBy(issued, certificate));
    if (issuer === undefined) break;
    parts.push(issuer.pem);
    current = issuer.certificate;
  }
  return `${parts.join('\n')}\n`;
}

function certificatesOf(pem: string): string[] {
  return pem.match(CERTIFICATE) ?? [];
}

/** What is broken is for OpenSSL to refuse. */
function parse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}
