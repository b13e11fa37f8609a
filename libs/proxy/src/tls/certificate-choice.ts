import type { KeyPair } from './secret-store.ts';

/**
 * Which certificates a server offers to a client that named `serverName` ('' without SNI): of each kind of key the first that carries the name,
 * exactly or as a wildcard. Where none does, the first of all, or with `scansAll` (and without SNI) the first of each kind of key; of two,
 * OpenSSL takes the one whose signatures the client can check. Source: envoy docs, "Certificate selection" (1.40).
 */
export function chooseKeyPairs(pairs: readonly KeyPair[], serverName: string, scansAll: boolean): readonly KeyPair[] {
  if (pairs.length < 2) return pairs;
  if (serverName === '') return firstOfEachKind(pairs);
  const exact = pairs.filter(({ names }) => names.includes(serverName));
  if (exact.length > 0) return firstOfEachKind(exact);
  const wildcard = `*${serverName.slice(serverName.indexOf('.'))}`;
  const covering = serverName.includes('.') ? pairs.filter(({ names }) => names.includes(wildcard)) : [];
  if (covering.length > 0) return firstOfEachKind(covering);
  return scansAll ? firstOfEachKind(pairs) : pairs.slice(0, 1);
}

// The certificate with the cheaper signatures stands last: OpenSSL prefers it among those that fit.
function firstOfEachKind(pairs: readonly KeyPair[]): readonly KeyPair[] {
  const kinds = new Map<string, KeyPair>();
  for (const pair of pairs) if (!kinds.has(pair.keyKind)) kinds.set(pair.keyKind, pair);
  return [...kinds.values()].sort((a, b) => Number(a.keyKind === 'ec') - Number(b.keyKind === 'ec'));
}
