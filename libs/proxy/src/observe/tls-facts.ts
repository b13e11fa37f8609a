import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { CertificateFacts, TlsFacts } from '@mizzen/telemetry';
import type { DownstreamConnection } from '../contract.ts';
import { encodedSession, peerX509Certificate } from '../tls/peer-certificate.ts';
import { parseSubjectAltNames } from '../tls/subject-alt-names.ts';

const known = new WeakMap<Socket, TlsFacts>();

/** What access logs print of a connection's TLS; read from the socket once, when somebody asks. undefined without TLS. */
export function tlsFactsOf({ tls, socket }: DownstreamConnection): TlsFacts | undefined {
  return tls === undefined ? undefined : tlsFactsOfSocket(socket);
}

/** The same of any socket: undefined for one without TLS. */
export function tlsFactsOfSocket(socket: Socket): TlsFacts | undefined {
  let facts = known.get(socket);
  if (facts !== undefined) return facts;
  if ((socket as Partial<TLSSocket>).getProtocol === undefined) return undefined;
  facts = readFacts(socket as TLSSocket);
  known.set(socket, facts);
  return facts;
}

// A socket that is closed already tells nothing more.
function readFacts(socket: TLSSocket): TlsFacts {
  const session = encodedSession(socket);
  return {
    version: socket.getProtocol?.() ?? '',
    cipher: socket.getCipher?.()?.standardName ?? '',
    sessionId: session === undefined ? '' : sessionIdOf(session),
    group: groupOf(socket),
    peer: certificateFacts(peerX509Certificate(socket)),
    local: certificateFacts(socket.getX509Certificate?.()),
  };
}

function groupOf(socket: TLSSocket): string {
  const info = socket.getEphemeralKeyInfo?.();
  return info !== null && info !== undefined && 'name' in info ? String(info.name) : '';
}

/**
 * The session id within OpenSSL's serialized session (ASN.1 SSL_SESSION: version, protocol, cipher, session id). TLS 1.3 has none before a
 * ticket.
 */
function sessionIdOf(session: Buffer): string {
  const header = session[1] === 0x82 ? 4 : session[1] === 0x81 ? 3 : 2;
  let position = header;
  for (let skipped = 0; skipped < 3; skipped++) position += 2 + (session[position + 1] ?? 0);
  if (session[position] !== 0x04) return '';
  const length = session[position + 1] ?? 0;
  return session.toString('hex', position + 2, position + 2 + length);
}

function certificateFacts(certificate: X509Certificate | undefined): CertificateFacts | undefined {
  if (certificate === undefined) return undefined;
  const names = parseSubjectAltNames(certificate.subjectAltName);
  return {
    subject: rfc2253(certificate.subject),
    issuer: rfc2253(certificate.issuer),
    serial: certificate.serialNumber.toLowerCase(),
    sha256: hex(certificate.fingerprint256),
    sha1: hex(certificate.fingerprint),
    uriSans: names.uris,
    dnsSans: names.dns,
    ipSans: names.ips,
    emailSans: emailsOf(certificate),
    validFromMs: Date.parse(certificate.validFrom),
    validToMs: Date.parse(certificate.validTo),
    pem: certificate.toString(),
  };
}

function emailsOf({ subjectAltName = '' }: X509Certificate): readonly string[] {
  return [...subjectAltName.matchAll(/(?:^|, )email:([^,]+)/g)].map(([, email]) => email as string);
}

/** Most specific part first, as Envoy prints names. Node has no text for a name without parts, as SPIFFE's certificates have. */
function rfc2253(name: string | undefined): string {
  return (name ?? '')
    .split('\n')
    .filter((part) => part !== '')
    .reverse()
    .join(',');
}

function hex(fingerprint: string): string {
  return fingerprint.replaceAll(':', '').toLowerCase();
}
