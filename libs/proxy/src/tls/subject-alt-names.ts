import type { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from '../contract.ts';

export interface SubjectAltNames {
  readonly uris: readonly string[];
  readonly dns: readonly string[];
  readonly ips: readonly string[];
  readonly emails: readonly string[];
}

/**
 * The subject alternative names of a certificate. Node prints them as one string and quotes (as JSON) a value that holds a comma, a quote
 * or a control character, so that no value can pass for another (CVE-2021-44532). What does not parse gives no name at all.
 */
export function parseSubjectAltNames(text: string | undefined): SubjectAltNames {
  const names = { uris: [] as string[], dns: [] as string[], ips: [] as string[], emails: [] as string[] };
  const none: SubjectAltNames = { uris: [], dns: [], ips: [], emails: [] };
  let rest = text ?? '';
  while (rest !== '') {
    const match = /^([A-Za-z0-9 .]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/.exec(rest);
    if (match === null) return none;
    const value = unquote(match[2] as string);
    // A NUL would end the name for a C program further on.
    if (value === undefined || value.includes('\0')) return none;
    if (match[1] === 'URI') names.uris.push(value);
    else if (match[1] === 'DNS') names.dns.push(value);
    else if (match[1] === 'IP Address') names.ips.push(value);
    else if (match[1] === 'email') names.emails.push(value);
    rest = rest.slice(match[0].length);
  }
  return names;
}

/**
 * Whether a DNS name of a certificate, which may have a wildcard in its first label, stands for `name`. Letters of either case are equal.
 * Source: envoy extensions/transport_sockets/tls/utility.cc dnsNameMatch (1.40); RFC 6125 §6.4.3.
 */
export function dnsNameCovers(certified: string, name: string): boolean {
  const [pattern, host] = [certified.toLowerCase(), name.toLowerCase()];
  if (pattern === host) return true;
  const [patternDot, hostDot] = [pattern.indexOf('.'), host.indexOf('.')];
  // Both need a second label, and that must be equal from there on.
  if (patternDot < 0 || hostDot < 0 || pattern.slice(patternDot) !== host.slice(hostDot)) return false;
  const label = pattern.slice(0, patternDot);
  const [before, after, another] = label.split('*');
  // An internationalised label is no text that a wildcard could stand in.
  if (before === undefined || after === undefined || another !== undefined || label.startsWith('xn--')) return false;
  const own = host.slice(0, hostDot);
  return own.length >= label.length - 1 && own.startsWith(before) && own.endsWith(after);
}

function unquote(text: string): string | undefined {
  if (!text.startsWith('"')) return text;
  try {
    return String(JSON.parse(text));
  } catch {
    return undefined;
  }
}

export function describePeer(certificate: X509Certificate): PeerCertificate {
  return new Peer(certificate);
}

/** Each text that Node makes of a certificate costs as much as a small request, and few of them are asked for. */
class Peer implements PeerCertificate {
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly #certificate: X509Certificate;
  #subject: string | undefined;
  #sha256: string | undefined;

  constructor(certificate: X509Certificate) {
    const names = parseSubjectAltNames(certificate.subjectAltName);
    this.uriSans = names.uris;
    this.dnsSans = names.dns;
    this.#certificate = certificate;
  }

  get subject(): string {
    this.#subject ??= formatSubject(this.#certificate.subject);
    return this.#subject;
  }

  get sha256(): string {
    this.#sha256 ??= this.#certificate.fingerprint256.replaceAll(':', '').toLowerCase();
    return this.#sha256;
  }

  pem(): string {
    return this.#certificate.toString();
  }

  chainPem(): string {
    return chainOf(this.#certificate);
  }
}

/** A certificate and those that it was sent with, as PEM. */
function chainOf(leaf: X509Certificate): string {
  let text = '';
  for (let certificate: X509Certificate | undefined = leaf; certificate !== undefined; certificate = issuerOf(certificate))
    text += certificate.toString();
  return text;
}

function issuerOf(certificate: X509Certificate): X509Certificate | undefined {
  const issuer = certificate.issuerCertificate;
  return issuer === undefined || issuer.fingerprint256 === certificate.fingerprint256 ? undefined : issuer;
}

/** RFC 2253 order and separators, as Envoy prints subjects: Node gives one attribute a line, the outermost first. */
function formatSubject(subject: string | undefined): string {
  return subject === undefined || subject === '' ? '' : subject.split('\n').reverse().join(',');
}
