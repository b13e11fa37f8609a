import { X509Certificate } from 'node:crypto';
import type { SecretStore } from './secret-store.ts';

const DAY_MS = 86_400_000;
/** Envoy's word for no certificate at all: the largest number of 32 bits. */
const NO_CERTIFICATE = 2 ** 32 - 1;

/** By secret: what was read once is not read again. */
const known = new WeakMap<object, number>();

/** Whole days until the first of the certificates that secrets hold expires; 0 for one that has. Source: envoy SslContextManager (1.40). */
export function daysUntilExpiry(secrets: SecretStore, nowMs: number): number {
  let firstMs = Number.POSITIVE_INFINITY;
  for (const { content } of secrets.entries()) {
    let expiresMs = known.get(content);
    if (expiresMs === undefined) {
      expiresMs = firstExpiryMs((content.kind === 'keyPair' ? content.keyPair.chain : content.trust.roots) ?? '');
      known.set(content, expiresMs);
    }
    firstMs = Math.min(firstMs, expiresMs);
  }
  return firstMs === Number.POSITIVE_INFINITY ? NO_CERTIFICATE : Math.max(0, Math.floor((firstMs - nowMs) / DAY_MS));
}

function firstExpiryMs(pem: string): number {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return Math.min(...blocks.map((block) => Date.parse(new X509Certificate(block).validTo)));
}
