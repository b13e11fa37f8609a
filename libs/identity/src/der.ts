import type { asn1 as forgeAsn1 } from 'node-forge';
import asn1 from 'node-forge/lib/asn1.js';

/** A node of an ASN.1 tree. Strings in it are binary: one character an octet. */
export type Asn1Node = forgeAsn1.Asn1;

export const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  rsaWithSha256: '1.2.840.113549.1.1.11',
  rsaWithSha384: '1.2.840.113549.1.1.12',
  rsaWithSha512: '1.2.840.113549.1.1.13',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  extensionRequest: '1.2.840.113549.1.9.14',
} as const;

const { Class, Type } = asn1;

const primitive = (type: forgeAsn1.Type, value: string): Asn1Node => asn1.create(Class.UNIVERSAL, type, false, value);

export const sequence = (...nodes: Asn1Node[]): Asn1Node => asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, nodes);
export const set = (...nodes: Asn1Node[]): Asn1Node => asn1.create(Class.UNIVERSAL, Type.SET, true, nodes);
export const oid = (dotted: string): Asn1Node => primitive(Type.OID, asn1.oidToDer(dotted).getBytes());
export const nullNode = (): Asn1Node => primitive(Type.NULL, '');
export const boolean = (value: boolean): Asn1Node => primitive(Type.BOOLEAN, value ? '\xff' : '\x00');
export const octetString = (bytes: Buffer): Asn1Node => primitive(Type.OCTETSTRING, bytes.toString('latin1'));
export const utf8String = (text: string): Asn1Node => primitive(Type.UTF8, Buffer.from(text, 'utf8').toString('latin1'));

export const bitString = (bytes: Buffer, unusedBits = 0): Asn1Node =>
  primitive(Type.BITSTRING, String.fromCharCode(unusedBits) + bytes.toString('latin1'));

/** A non-negative INTEGER of big-endian bytes. */
export function integer(bytes: Buffer): Asn1Node {
  const isNegative = ((bytes[0] ?? 0) & 0x80) !== 0;
  return primitive(Type.INTEGER, (isNegative ? '\x00' : '') + bytes.toString('latin1'));
}

/** `[tag] IMPLICIT` over octets. */
export const implicit = (tag: number, bytes: Buffer): Asn1Node => asn1.create(Class.CONTEXT_SPECIFIC, tag, false, bytes.toString('latin1'));
/** `[tag]` around nodes: EXPLICIT of one, or an IMPLICIT SEQUENCE OF or SET OF. */
export const tagged = (tag: number, ...nodes: Asn1Node[]): Asn1Node => asn1.create(Class.CONTEXT_SPECIFIC, tag, true, nodes);

// RFC 5280 §4.1.2.5: years up to 2049 as UTCTime, later ones as GeneralizedTime.
export function time(epochMs: number): Asn1Node {
  const date = new Date(epochMs);
  return date.getUTCFullYear() < 2050
    ? primitive(Type.UTCTIME, asn1.dateToUtcTime(date))
    : primitive(Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(date));
}

export function encodeDer(node: Asn1Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}

/** Throws on anything that is not one whole, well-formed value. */
export function decodeDer(bytes: Buffer): Asn1Node {
  // `decodeBitStrings` off: a BIT STRING's content is ours to interpret, and its octets must come back unchanged.
  const options = { strict: true, parseAllBytes: true, decodeBitStrings: false };
  return asn1.fromDer(bytes.toString('latin1'), options as unknown as boolean);
}

/** The child nodes of a constructed node; throws for a primitive one. */
export function childrenOf(node: Asn1Node | undefined): Asn1Node[] {
  if (node === undefined || !Array.isArray(node.value)) throw new Error('a constructed value was expected');
  return node.value;
}

/** The octets of a primitive node; throws for a constructed one. */
export function octetsOf(node: Asn1Node | undefined): Buffer {
  if (node === undefined || typeof node.value !== 'string') throw new Error('a primitive value was expected');
  return Buffer.from(node.value, 'latin1');
}

/** The octets of a BIT STRING without unused bits. */
export function bitsOf(node: Asn1Node | undefined): Buffer {
  const octets = octetsOf(node);
  if (node?.type !== Type.BITSTRING || node.tagClass !== Class.UNIVERSAL || octets[0] !== 0)
    throw new Error('a whole BIT STRING was expected');
  return octets.subarray(1);
}

export function oidOf(node: Asn1Node | undefined): string {
  if (node?.type !== Type.OID || node.tagClass !== Class.UNIVERSAL) throw new Error('an OBJECT IDENTIFIER was expected');
  return asn1.derToOid(octetsOf(node).toString('latin1'));
}

/** Whether the node is the context-specific `[tag]`. */
export function isTagged(node: Asn1Node, tag: number): boolean {
  return node.tagClass === Class.CONTEXT_SPECIFIC && (node.type as number) === tag;
}

export function isSequence(node: Asn1Node): boolean {
  return node.tagClass === Class.UNIVERSAL && node.type === Type.SEQUENCE && node.constructed;
}
