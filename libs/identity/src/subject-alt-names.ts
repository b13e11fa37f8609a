import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { type Asn1Node, childrenOf, decodeDer, implicit, isSequence, isTagged, OID, octetsOf, oidOf, sequence } from './der.ts';
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts';

export interface SubjectAltNames {
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

// RFC 5280 §4.2.1.6 GeneralName.
const TAG = { dnsName: 2, uri: 6, ipAddress: 7 } as const;

/** The GeneralNames of a certificate to be issued. */
export function buildGeneralNames(names: SubjectAltNames): Asn1Node {
  return sequence(
    ...(names.uris ?? []).map((uri) => implicit(TAG.uri, Buffer.from(uri, 'latin1'))),
    ...(names.dnsNames ?? []).map((name) => implicit(TAG.dnsName, Buffer.from(name, 'latin1'))),
    ...(names.ipAddresses ?? []).map((address) => implicit(TAG.ipAddress, ipToBytes(address))),
  );
}

function ipToBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  if (isIP(address) !== 6) throw new Error(`"${address}" is not an IP address`);
  const [head = '', tail] = address.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const all = tail === undefined ? before : [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

/**
 * The URI SANs of a certificate, read from its DER and never from the printed form, in which a comma, a quote or a NUL inside one name
 * can pass as the beginning of another (Node CVE-2021-44532, Istio ISTIO-SECURITY-2025-003). Throws on a malformed certificate.
 */
export function uriSansOf(certificate: X509Certificate): string[] {
  return generalNamesOf(certificate)
    .filter((name) => isTagged(name, TAG.uri))
    .map((name) => octetsOf(name).toString('latin1'));
}

function generalNamesOf(certificate: X509Certificate): Asn1Node[] {
  const tbs = childrenOf(childrenOf(decodeDer(certificate.raw))[0]);
  const extensions = tbs.find((node) => isTagged(node, 3) && node.constructed);
  if (!extensions) return [];
  for (const extension of childrenOf(childrenOf(extensions)[0])) {
    const fields = childrenOf(extension);
    if (oidOf(fields[0]) !== OID.subjectAltName) continue;
    const names = decodeDer(octetsOf(fields.at(-1)));
    if (!isSequence(names)) throw new Error('the subject alternative name is not a sequence');
    return childrenOf(names);
  }
  return [];
}

/**
 * The identity that a certificate proves: its only URI SAN, where that is a SPIFFE id of Istio's form; else undefined. Never throws.
 * More than one URI SAN proves nothing (SPIFFE X509-SVID §2: a validator must reject it).
 */
export function spiffeIdOf(certificate: X509Certificate): SpiffeId | undefined {
  try {
    const uris = uriSansOf(certificate);
    return uris.length === 1 ? parseSpiffeId(uris[0] as string)?.id : undefined;
  } catch {
    return undefined;
  }
}
