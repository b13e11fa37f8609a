import { X509Certificate } from 'node:crypto';
import { at, textAt } from './json.ts';
import type { Section } from './section.ts';

/** `proxy-config secret`: the certificates that the proxy holds. */
export const secretSection: Section = {
  header: ['RESOURCE NAME', 'TYPE', 'STATUS', 'VALID CERT', 'SERIAL NUMBER', 'NOT AFTER', 'NOT BEFORE'],
  select: ({ dump }, filter) => dump.secrets.filter(({ view }) => filter.name === undefined || textAt(view, 'name') === filter.name),
  rows: ({ view }) => {
    const name = textAt(view, 'name');
    const secret = at(view, 'secret');
    const isChain = at(secret, 'tls_certificate') !== undefined;
    const source = isChain ? at(secret, 'tls_certificate', 'certificate_chain') : at(secret, 'validation_context', 'trusted_ca');
    const pem = pemOf(source);
    const type = isChain ? 'Cert Chain' : 'CA';
    const certificate = firstCertificate(pem);
    if (!certificate) return [[name, type, pem === '' ? 'WARMING' : 'ACTIVE', 'false', '-', '-', '-']];
    const { validFromDate, validToDate, serialNumber } = certificate;
    const nowMs = Date.now();
    const isValid = validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime();
    return [[name, type, 'ACTIVE', String(isValid), serialNumber.toLowerCase(), isoSeconds(validToDate), isoSeconds(validFromDate)]];
  },
};

function pemOf(source: unknown): string {
  const bytes = textAt(source, 'inline_bytes');
  return bytes === '' ? textAt(source, 'inline_string') : Buffer.from(bytes, 'base64').toString('utf8');
}

/** The first certificate of a PEM text, the leaf of a chain; undefined where there is none that can be read. */
function firstCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function isoSeconds(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}
