import { type KeyObject, sign, verify } from 'node:crypto';
import { type Asn1Node, childrenOf, nullNode, OID, oid, oidOf, sequence } from './der.ts';

interface SignatureAlgorithm {
  readonly oid: string;
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly keyType: 'ec' | 'rsa';
}

// SHA-1 and MD5 are missing on purpose.
const ALGORITHMS: readonly SignatureAlgorithm[] = [
  { oid: OID.ecdsaWithSha256, hash: 'sha256', keyType: 'ec' },
  { oid: OID.ecdsaWithSha384, hash: 'sha384', keyType: 'ec' },
  { oid: OID.ecdsaWithSha512, hash: 'sha512', keyType: 'ec' },
  { oid: OID.rsaWithSha256, hash: 'sha256', keyType: 'rsa' },
  { oid: OID.rsaWithSha384, hash: 'sha384', keyType: 'rsa' },
  { oid: OID.rsaWithSha512, hash: 'sha512', keyType: 'rsa' },
];

function algorithmFor(key: KeyObject): SignatureAlgorithm {
  const isP384 = key.asymmetricKeyDetails?.namedCurve === 'secp384r1';
  const found = ALGORITHMS.find((entry) => entry.keyType === key.asymmetricKeyType && entry.hash === (isP384 ? 'sha384' : 'sha256'));
  if (!found) throw new Error(`keys of type ${key.asymmetricKeyType} cannot sign certificates; use ECDSA or RSA`);
  return found;
}

/** The AlgorithmIdentifier that `signWith` of the same key goes with. RFC 4055 wants a NULL for RSA, RFC 5758 none for ECDSA. */
export function signatureAlgorithmOf(key: KeyObject): Asn1Node {
  const algorithm = algorithmFor(key);
  return algorithm.keyType === 'rsa' ? sequence(oid(algorithm.oid), nullNode()) : sequence(oid(algorithm.oid));
}

export function signWith(key: KeyObject, data: Buffer): Buffer {
  return sign(algorithmFor(key).hash, data, key);
}

/** Whether `signature` over `data` is the key's, under the algorithm that the AlgorithmIdentifier names. */
export function isSignedBy(key: KeyObject, input: { data: Buffer; signature: Buffer; algorithm: Asn1Node | undefined }): boolean {
  const name = oidOf(childrenOf(input.algorithm)[0]);
  const algorithm = ALGORITHMS.find((entry) => entry.oid === name);
  if (!algorithm) throw new Error(`the signature algorithm ${name} is not accepted; use ECDSA or RSA with SHA-256`);
  if (algorithm.keyType !== key.asymmetricKeyType) throw new Error('the signature algorithm does not fit the key');
  return verify(algorithm.hash, input.data, key, input.signature);
}
