import { createPrivateKey, sign, X509Certificate } from 'node:crypto';

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const UTC_TIME = 0x17;
/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2. */
const ECDSA_WITH_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');

/** A certificate revocation list (RFC 5280 §5.1) in PEM, signed by a root with an ECDSA key. Valid from yesterday until tomorrow. */
export function createRevocationList(
  root: { readonly certificatePem: string; readonly privateKeyPem: string },
  options: { readonly now: number; readonly revoked: readonly X509Certificate[] },
): string {
  const { now, revoked } = options;
  const dayMs = 86_400_000;
  const entries = revoked.map(({ serialNumber }) => der(SEQUENCE, integer(Buffer.from(serialNumber, 'hex')), utcTime(now - dayMs)));
  const list = der(
    SEQUENCE,
    integer(Buffer.from([1])),
    ECDSA_WITH_SHA256,
    subjectOf(new X509Certificate(root.certificatePem)),
    utcTime(now - dayMs),
    utcTime(now + dayMs),
    ...(entries.length === 0 ? [] : [der(SEQUENCE, ...entries)]),
  );
  const signature = sign('sha256', list, createPrivateKey(root.privateKeyPem));
  const signed = der(SEQUENCE, list, ECDSA_WITH_SHA256, der(BIT_STRING, Buffer.from([0]), signature));
  const lines = signed.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN X509 CRL-----', ...lines, '-----END X509 CRL-----', ''].join('\n');
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const size = content.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

function integer(bytes: Buffer): Buffer {
  return der(INTEGER, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

function utcTime(epochMs: number): Buffer {
  const text = new Date(epochMs).toISOString().replace(/[-:T]|\.\d+/g, '');
  return der(UTC_TIME, Buffer.from(text.slice(2)));
}

/** The sixth element of the part that is signed: version, serial, algorithm, issuer, validity, subject. */
function subjectOf({ raw }: X509Certificate): Buffer {
  let at = contentStart(raw, contentStart(raw, 0));
  for (let element = 0; element < 5; element++) at = endOf(raw, at);
  return raw.subarray(at, endOf(raw, at));
}

function contentStart(bytes: Buffer, at: number): number {
  const first = bytes[at + 1] ?? 0;
  return at + 2 + (first < 0x80 ? 0 : first & 0x7f);
}

function endOf(bytes: Buffer, at: number): number {
  const first = bytes[at + 1] ?? 0;
  const start = contentStart(bytes, at);
  return start + (first < 0x80 ? first : bytes.readUIntBE(at + 2, first & 0x7f));
}
