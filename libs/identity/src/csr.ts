import { createPublicKey, type KeyObject } from 'node:crypto';
import { errorMessage, MizzenError } from '@mizzen/core';
import {
  type Asn1Node,
  bitString,
  bitsOf,
  childrenOf,
  decodeDer,
  encodeDer,
  integer,
  isSequence,
  OID,
  octetString,
  oid,
  sequence,
  set,
  tagged,
} from './der.ts';
import { type KeyPair, keyPolicyViolation, publicKeyToDer } from './keys.ts';
import { derToPem, pemToDer } from './pem.ts';
import { isSignedBy, signatureAlgorithmOf, signWith } from './signature.ts';
import { buildGeneralNames } from './subject-alt-names.ts';

/** A PKCS#10 request (RFC 2986) as PEM, with an empty subject and the wished SPIFFE id as its only SAN, as Istio's agent makes it. */
export function createCsr(keys: KeyPair, wishedSpiffeId?: string): string {
  const attributes = wishedSpiffeId === undefined ? [] : [extensionRequest(wishedSpiffeId)];
  const info = sequence(integer(Buffer.from([0])), sequence(), decodeDer(publicKeyToDer(keys.publicKey)), tagged(0, ...attributes));
  const signature = signWith(keys.privateKey, encodeDer(info));
  return derToPem('CERTIFICATE REQUEST', encodeDer(sequence(info, signatureAlgorithmOf(keys.privateKey), bitString(signature))));
}

function extensionRequest(uri: string): Asn1Node {
  const names = octetString(encodeDer(buildGeneralNames({ uris: [uri] })));
  return sequence(oid(OID.extensionRequest), set(sequence(sequence(oid(OID.subjectAltName), names))));
}

// The largest honest request, RSA 4096 with its SANs, stays under 2 kB.
const MAX_CSR_BYTES = 16 * 1024;

/**
 * The public key of a request, once its signature proves that the sender has the private key and the key keeps the policy.
 * Nothing else of the request is read: who may be named in a certificate is for the caller's proof to say.
 * Throws MIZZEN_IDENTITY with what is wrong.
 */
export function verifyCsr(pem: string): KeyObject {
  if (pem.length > MAX_CSR_BYTES) throw refused(`it is larger than ${MAX_CSR_BYTES} bytes`);
  const der = pemToDer(['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'], pem);
  if (!der) throw refused('it is not a PEM CERTIFICATE REQUEST');
  let key: KeyObject;
  let isSigned: boolean;
  try {
    const [info, algorithm, signature] = signedParts(der);
    key = createPublicKey({ key: encodeDer(childrenOf(info)[2] as Asn1Node), format: 'der', type: 'spki' });
    const violation = keyPolicyViolation(key);
    if (violation) throw new Error(violation);
    isSigned = isSignedBy(key, { data: encodeDer(info), signature: bitsOf(signature), algorithm });
  } catch (thrown) {
    throw refused(errorMessage(thrown), thrown);
  }
  if (!isSigned) throw refused('its signature is not that of its key');
  return key;
}

function signedParts(der: Buffer): [Asn1Node, Asn1Node, Asn1Node] {
  const root = decodeDer(der);
  // What is verified is re-encoded from the tree; that is the signed text only where the encoding is canonical.
  if (!encodeDer(root).equals(der)) throw new Error('it is not DER');
  const [info, algorithm, signature, ...more] = childrenOf(root);
  if (!info || !algorithm || !signature || more.length > 0 || childrenOf(info).length < 3 || ![root, info, algorithm].every(isSequence)) {
    throw new Error('it is not a PKCS#10 request');
  }
  return [info, algorithm, signature];
}

function refused(reason: string, cause?: unknown): MizzenError {
  return new MizzenError('MIZZEN_IDENTITY', `the certificate request is refused: ${reason}`, { cause });
}
