import { createHash, X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { PeerCertificate } from '../contract.ts';
import { parseSubjectAltNames, type SubjectAltNames } from './subject-alt-names.ts';

/** What a certificate says. Nothing here tells whether it is genuine: that is found out in each handshake. */
export class CertificateFacts {
  readonly names: SubjectAltNames;
  readonly #der: Buffer;
  #subject: string | undefined;
  #sha256: string | undefined;
  #spkiSha256: string | undefined;

  /** Throws where it is no certificate. */
  constructor(der: Buffer) {
    this.#der = der;
    this.names = parseSubjectAltNames(this.x509().subjectAltName);
  }

  get subject(): string {
    this.#subject ??= formatSubject(this.x509().subject);
    return this.#subject;
  }

  /** Of the DER, lower-case hex. */
  get sha256(): string {
    this.#sha256 ??= createHash('sha256').update(this.#der).digest('hex');
    return this.#sha256;
  }

  /** Of the public key, base64. */
  get spkiSha256(): string {
    this.#spkiSha256 ??= createHash('sha256')
      .update(this.x509().publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64');
    return this.#spkiSha256;
  }

  get pem(): string {
    return this.x509().toString();
  }

  /** Made anew each time: it takes three times what is kept here. */
  x509(): X509Certificate {
    return new X509Certificate(this.#der);
  }
}

/** Each holds some 3 kB; peers choose what they show, so there must be an end. */
const MAX_REMEMBERED = 512;
const remembered = new Map<string, CertificateFacts>();

/**
 * The certificate that the peer of a finished handshake showed, undefined without one. Read out of the session: `getPeerX509Certificate` loses
 * the memory of each certificate that came with it (Node 24: X509Certificate::New deletes them from their stack without a release), and makes
 * again what is known of a peer that has been here before.
 */
export function peerCertificate(socket: TLSSocket): CertificateFacts | undefined {
  const session = encodedSession(socket);
  const der = session && certificateOfSession(session);
  if (der === undefined) return ofHandle(socket);
  const facts = der.length === 0 ? undefined : recall(der);
  // It holds the session's secret too.
  session?.fill(0);
  return facts;
}

/** The same as Node's object, for whoever needs all of it. */
export function peerX509Certificate(socket: TLSSocket): X509Certificate | undefined {
  return peerCertificate(socket)?.x509();
}

/** Where there is no session that can be read. */
function ofHandle(socket: TLSSocket): CertificateFacts | undefined {
  const der = socket.getPeerX509Certificate()?.raw;
  return der === undefined ? undefined : recall(der);
}

/**
 * OpenSSL's encoding of the session; undefined for a socket that is closed. The public `getSession` puts a text of Node's own before that
 * of a client.
 */
export function encodedSession(socket: TLSSocket): Buffer | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { getSession?: () => Buffer | undefined } | null };
  return handle?.getSession?.();
}

function recall(der: Buffer): CertificateFacts {
  const key = der.toString('latin1');
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const facts = new CertificateFacts(Buffer.from(der));
  if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value as string);
  remembered.set(key, facts);
  return facts;
}

const SEQUENCE = 0x30;
/** `peer [3] EXPLICIT X509 OPTIONAL`. */
const PEER = 0xa3;

/**
 * The peer's certificate in an encoded session: empty where there is none, undefined where the bytes are no session.
 * Source: OpenSSL ssl/ssl_asn1.c SSL_SESSION_ASN1 (3.5).
 */
export function certificateOfSession(session: Buffer): Buffer | undefined {
  const whole = readElement(session, 0);
  if (whole === undefined || whole.tag !== SEQUENCE || whole.end !== session.length) return undefined;
  for (let at = whole.start; at < whole.end; ) {
    const element = readElement(session, at);
    if (element === undefined) return undefined;
    if (element.tag === PEER) return session.subarray(element.start, element.end);
    at = element.end;
  }
  return session.subarray(0, 0);
}

/** One element of DER, whose tags are all of one byte; undefined where it does not fit. Source: X.690 §8.1. */
function readElement(bytes: Buffer, at: number): { readonly tag: number; readonly start: number; readonly end: number } | undefined {
  const first = bytes[at + 1];
  if (first === undefined) return undefined;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  const start = at + 2 + lengthBytes;
  if (lengthBytes > 4 || first === 0x80 || start > bytes.length) return undefined;
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
  return start + length > bytes.length ? undefined : { tag: bytes[at] as number, start, end: start + length };
}

const chains = new WeakMap<TLSSocket, X509Certificate>();

/** The peer's certificate with those that came with it behind it; for rare rules, since those are lost (see above). */
export function shownChain(socket: TLSSocket): X509Certificate | undefined {
  // Once: Node takes the chain away from the connection when it hands it out.
  const chain = chains.get(socket) ?? socket.getPeerX509Certificate();
  if (chain !== undefined) chains.set(socket, chain);
  return chain;
}

/** What the other parts of the proxy are told of a peer. `socket` is the connection that the certificate came over. */
export function describePeer(facts: CertificateFacts, socket: TLSSocket): PeerCertificate {
  return new Peer(facts, socket);
}

class Peer implements PeerCertificate {
  readonly #facts: CertificateFacts;
  readonly #socket: TLSSocket;
  #chain: string | undefined;

  constructor(facts: CertificateFacts, socket: TLSSocket) {
    this.#facts = facts;
    this.#socket = socket;
  }

  get uriSans(): readonly string[] {
    return this.#facts.names.uris;
  }

  get dnsSans(): readonly string[] {
    return this.#facts.names.dns;
  }

  get subject(): string {
    return this.#facts.subject;
  }

  get sha256(): string {
    return this.#facts.sha256;
  }

  pem(): string {
    return this.#facts.pem;
  }

  /** Only XFCC with `chain` asks for it. */
  chainPem(): string {
    if (this.#chain === undefined) {
      this.#chain = '';
      for (let next = shownChain(this.#socket); next !== undefined; next = issuerOf(next)) this.#chain += next.toString();
    }
    return this.#chain === '' ? this.#facts.pem : this.#chain;
  }
}

function issuerOf(certificate: X509Certificate): X509Certificate | undefined {
  const issuer = certificate.issuerCertificate;
  return issuer === undefined || issuer.fingerprint256 === certificate.fingerprint256 ? undefined : issuer;
}

/** RFC 2253 order and separators, as Envoy prints subjects: Node gives one attribute a line, the outermost first. */
function formatSubject(subject: string | undefined): string {
  return subject === undefined || subject === '' ? '' : subject.split('\n').reverse().join(',');
}
