import type { HeaderMap } from '../http/headers.ts';

// Where a request came from, and to which host it goes, is nobody's to take away. Source: envoy Http::Utility::sanitizeConnectionHeader (1.40).
const NOT_TO_BE_NOMINATED: ReadonlySet<string> = new Set(['host', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']);
const USUAL: ReadonlySet<string> = new Set(['', 'close', 'keep-alive', 'upgrade', 'te', 'http2-settings']);
const MAX_NOMINATED = 10;

/**
 * Removes the headers that the Connection header (lower-cased) says are for this hop only (RFC 9110 §7.6.1). False where it names one
 * that must reach the next hop, or too many.
 */
export function removeNominated(headers: HeaderMap, connection: string): boolean {
  if (USUAL.has(connection)) return true;
  const names = connection.split(',').map((name) => name.trim());
  if (names.length > MAX_NOMINATED) return false;
  for (const name of names) {
    if (NOT_TO_BE_NOMINATED.has(name) || name.startsWith(':')) return false;
    if (!USUAL.has(name)) headers.remove(name);
  }
  return true;
}
