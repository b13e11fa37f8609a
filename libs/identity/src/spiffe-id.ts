import { MizzenError } from '@mizzen/core';

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, checked. Only this file makes one. */
export type SpiffeId = string & { readonly brand: 'SpiffeId' };

export interface SpiffeIdParts {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

// SPIFFE-ID 1.0 §2: at most 2048 bytes; trust domain lower case, path segments of letters, digits, dots, dashes and underscores.
// So narrow an alphabet also means that no comma, quote, blank or NUL of a certificate can pass as part of an identity.
const MAX_LENGTH = 2048;
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;

/** The parts of an identity, or undefined where the text is not one of Istio's form. */
export function parseSpiffeId(text: string): (SpiffeIdParts & { readonly id: SpiffeId }) | undefined {
  if (text.length > MAX_LENGTH || !text.startsWith('spiffe://')) return undefined;
  const [trustDomain, ns, namespace, sa, serviceAccount, ...more] = text.slice('spiffe://'.length).split('/');
  if (ns !== 'ns' || sa !== 'sa' || more.length > 0) return undefined;
  if (trustDomain === undefined || namespace === undefined || serviceAccount === undefined) return undefined;
  if (!TRUST_DOMAIN.test(trustDomain) || !SEGMENT.test(namespace) || !SEGMENT.test(serviceAccount)) return undefined;
  return { id: text as SpiffeId, trustDomain, namespace, serviceAccount };
}

/**
 * Throws MIZZEN_IDENTITY when a part has a character that an identity may not have.
 * `@` in a trust domain becomes `.`. Source: istio pkg/spiffe/spiffe.go (1.32).
 */
export function formatSpiffeId(parts: SpiffeIdParts): SpiffeId {
  const text = `spiffe://${parts.trustDomain.replaceAll('@', '.')}/ns/${parts.namespace}/sa/${parts.serviceAccount}`;
  const parsed = parseSpiffeId(text);
  if (!parsed)
    throw new MizzenError(
      'MIZZEN_IDENTITY',
      `"${text}" is not a valid SPIFFE id: use letters, digits, dots and dashes (the trust domain in lower case)`,
    );
  return parsed.id;
}
