import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

export const KEY_ALGORITHMS = ['ec-p256', 'ec-p384', 'rsa-2048'] as const;
/** Default everywhere: `ec-p256`. The other two are Istio's ECC_CURVE P384 and its default RSA. */
export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number];

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

const generate = promisify(generateKeyPair);

export async function generateKeys(algorithm: KeyAlgorithm = 'ec-p256'): Promise<KeyPair> {
  switch (algorithm) {
    case 'ec-p256':
      return generate('ec', { namedCurve: 'prime256v1' });
    case 'ec-p384':
      return generate('ec', { namedCurve: 'secp384r1' });
    case 'rsa-2048':
      return generate('rsa', { modulusLength: 2048 });
  }
}

export function privateKeyToPem(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }) as string;
}

export function publicKeyToDer(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' });
}

// Verifying with a huge modulus is what a stranger could make the CA pay for.
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;

/** Why a public key may not get a certificate, or undefined where it may: P-256, P-384, or RSA of 2048 to 4096 bits. */
export function keyPolicyViolation(key: KeyObject): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'ec') {
    const curve = details?.namedCurve ?? 'unknown';
    return curve === 'prime256v1' || curve === 'secp384r1' ? undefined : `the curve ${curve} is not accepted; use P-256 or P-384`;
  }
  if (type === 'rsa') {
    const bits = details?.modulusLength ?? 0;
    if (bits < MIN_RSA_BITS) return `an RSA key of ${bits} bits is too short; use at least ${MIN_RSA_BITS}`;
    if (bits > MAX_RSA_BITS) return `an RSA key of ${bits} bits is too long; use at most ${MAX_RSA_BITS}`;
    return (details?.publicExponent ?? 0n) < 65_537n ? 'the RSA public exponent is too small; use 65537' : undefined;
  }
  return `keys of type ${type ?? 'unknown'} are not accepted; use ECDSA P-256`;
}
