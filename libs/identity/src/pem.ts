import { X509Certificate } from 'node:crypto';
import { errorMessage, MizzenError } from '@mizzen/core';

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g;

export function derToPem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** The DER of the first block that has one of the labels, or undefined. */
export function pemToDer(labels: readonly string[], pem: string): Buffer | undefined {
  for (const [, label, body] of pem.matchAll(BLOCK)) {
    if (labels.includes(label as string)) return Buffer.from((body as string).replace(/\s/g, ''), 'base64');
  }
  return undefined;
}

/** Every certificate of a PEM file, in its order; other blocks and text between them are passed over. */
export function splitCertificates(pem: string): string[] {
  return [...pem.matchAll(BLOCK)].filter(([, label]) => label === 'CERTIFICATE').map(([block]) => `${block}\n`);
}

/** Parses every certificate of a PEM text. Throws MIZZEN_IDENTITY where there is none or one is broken; `what` names the text. */
export function parseCertificates(pem: string, what: string): X509Certificate[] {
  const blocks = splitCertificates(pem);
  if (blocks.length === 0) throw new MizzenError('MIZZEN_IDENTITY', `${what} holds no PEM certificate`);
  return blocks.map((block) => {
    try {
      return new X509Certificate(block);
    } catch (thrown) {
      throw new MizzenError('MIZZEN_IDENTITY', `${what} holds a certificate that cannot be parsed: ${errorMessage(thrown)}`, {
        cause: thrown,
      });
    }
  });
}
