import { createHash, type KeyObject, randomBytes, type X509Certificate } from 'node:crypto';
import {
  type Asn1Node,
  bitString,
  bitsOf,
  boolean,
  childrenOf,
  decodeDer,
  encodeDer,
  implicit,
  integer,
  isTagged,
  OID,
  octetString,
  octetsOf,
  oid,
  oidOf,
  sequence,
  set,
  tagged,
  time,
  utf8String,
} from './der.ts';
import { publicKeyToDer } from './keys.ts';
import { derToPem } from './pem.ts';
import { signatureAlgorithmOf, signWith } from './signature.ts';
import { buildGeneralNames, type SubjectAltNames } from './subject-alt-names.ts';

/** Who signs: a CA certificate and its key. */
export interface Issuer {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

export interface Validity {
  /** Milliseconds since the epoch; a certificate has whole seconds, `notBefore` and `notAfter` are rounded down. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * A leaf for TLS in both roles, as PEM: empty subject, critical SAN, random 127-bit serial. `notAfter` is cut to the issuer's own.
 * Source: SPIFFE X509-SVID §4, istio security/pkg/pki/util/generate_cert.go (1.32).
 */
export function issueLeaf(issuer: Issuer, leaf: { publicKey: KeyObject; names: SubjectAltNames; validity: Validity }): string {
  const issuerNotAfter = Date.parse(issuer.certificate.validTo);
  const validity = { ...leaf.validity, notAfter: Math.min(leaf.validity.notAfter, issuerNotAfter) };
  return signCertificate(issuer.privateKey, {
    issuerName: subjectNodeOf(issuer.certificate),
    subjectName: sequence(),
    publicKey: leaf.publicKey,
    validity,
    extensions: [
      extension(OID.keyUsage, keyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.keyEncipherment), true),
      extension(OID.extendedKeyUsage, sequence(oid(OID.serverAuth), oid(OID.clientAuth))),
      extension(OID.basicConstraints, sequence(), true),
      extension(OID.authorityKeyIdentifier, sequence(implicit(0, keyIdentifierOf(issuer.certificate)))),
      extension(OID.subjectAltName, buildGeneralNames(leaf.names), true),
    ],
  });
}

/** A certificate that may sign others, as PEM; self-signed where `issuer` is undefined. */
export function issueAuthority(
  issuer: Issuer | undefined,
  authority: { publicKey: KeyObject; privateKey: KeyObject; commonName: string; organization: string; validity: Validity },
): string {
  const subjectName = sequence(attribute(OID.organization, authority.organization), attribute(OID.commonName, authority.commonName));
  const ownKey = keyIdentifier(authority.publicKey);
  return signCertificate(issuer?.privateKey ?? authority.privateKey, {
    issuerName: issuer ? subjectNodeOf(issuer.certificate) : subjectName,
    subjectName,
    publicKey: authority.publicKey,
    validity: authority.validity,
    extensions: authorityExtensions({ subject: ownKey, issuer: issuer ? keyIdentifierOf(issuer.certificate) : ownKey }),
  });
}

/** The certificate of a root again, as PEM: same name and key, another validity. `root` is self-signed. */
export function renewAuthority(root: Issuer, validity: Validity): string {
  const { certificate, privateKey } = root;
  const name = subjectNodeOf(certificate);
  const identifier = keyIdentifierOf(certificate);
  return signCertificate(privateKey, {
    issuerName: name,
    subjectName: name,
    publicKey: certificate.publicKey,
    validity,
    extensions: authorityExtensions({ subject: identifier, issuer: identifier }),
  });
}

function authorityExtensions(keys: { subject: Buffer; issuer: Buffer }): Asn1Node[] {
  return [
    extension(OID.keyUsage, keyUsage(KEY_USAGE.keyCertSign, KEY_USAGE.cRLSign), true),
    extension(OID.basicConstraints, sequence(boolean(true)), true),
    extension(OID.subjectKeyIdentifier, octetString(keys.subject)),
    extension(OID.authorityKeyIdentifier, sequence(implicit(0, keys.issuer))),
  ];
}

interface CertificateContent {
  readonly issuerName: Asn1Node;
  readonly subjectName: Asn1Node;
  readonly publicKey: KeyObject;
  readonly validity: Validity;
  readonly extensions: Asn1Node[];
}

function signCertificate(privateKey: KeyObject, content: CertificateContent): string {
  const algorithm = signatureAlgorithmOf(privateKey);
  const tbs = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(randomSerial()),
    algorithm,
    content.issuerName,
    sequence(time(content.validity.notBefore), time(content.validity.notAfter)),
    content.subjectName,
    decodeDer(publicKeyToDer(content.publicKey)),
    tagged(3, sequence(...content.extensions)),
  );
  return derToPem('CERTIFICATE', encodeDer(sequence(tbs, algorithm, bitString(signWith(privateKey, encodeDer(tbs))))));
}

// Positive and never zero in its first octet, so that its length does not vary.
function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40;
  return serial;
}

// RFC 5280 §4.2.1.3: bit numbers of KeyUsage.
const KEY_USAGE = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;

function keyUsage(...bits: number[]): Asn1Node {
  const octet = bits.reduce((sum, bit) => sum | (0x80 >> bit), 0);
  return bitString(Buffer.from([octet]), 7 - Math.max(...bits));
}

function extension(id: string, value: Asn1Node, isCritical = false): Asn1Node {
  const content = octetString(encodeDer(value));
  return isCritical ? sequence(oid(id), boolean(true), content) : sequence(oid(id), content);
}

function attribute(id: string, text: string): Asn1Node {
  return set(sequence(oid(id), utf8String(text)));
}

// The issuer's name must be the very octets of its subject, whatever string types those use.
function subjectNodeOf(certificate: X509Certificate): Asn1Node {
  return tbsFieldsOf(certificate)[4] as Asn1Node;
}

/** TBSCertificate from the serial number on: serial, signature, issuer, validity, subject, key, extensions. */
function tbsFieldsOf(certificate: X509Certificate): Asn1Node[] {
  const fields = childrenOf(childrenOf(decodeDer(certificate.raw))[0]);
  return fields[0] && isTagged(fields[0], 0) ? fields.slice(1) : fields;
}

function keyIdentifierOf(certificate: X509Certificate): Buffer {
  const extensions = tbsFieldsOf(certificate).find((node) => isTagged(node, 3));
  for (const entry of extensions ? childrenOf(childrenOf(extensions)[0]) : []) {
    const fields = childrenOf(entry);
    if (oidOf(fields[0]) === OID.subjectKeyIdentifier) return octetsOf(decodeDer(octetsOf(fields.at(-1))));
  }
  return keyIdentifier(certificate.publicKey);
}

// RFC 5280 §4.2.1.2 (1): SHA-1 of the key's bits. A name, not a protection.
function keyIdentifier(publicKey: KeyObject): Buffer {
  const bits = bitsOf(childrenOf(decodeDer(publicKeyToDer(publicKey)))[1]);
  return createHash('sha1').update(bits).digest();
}
