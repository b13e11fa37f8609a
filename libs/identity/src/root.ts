import { createPublicKey, type KeyObject } from 'node:crypto';
import { issueAuthority } from './certificate.ts';
import { generateKeys, type KeyAlgorithm, privateKeyToPem } from './keys.ts';

export interface SelfSignedRoot {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

const TEN_YEARS_MS = 10 * 365 * 86_400_000;
// Clocks of the machines of a mesh differ. Source: istio security/pkg/pki/util ClockSkewGracePeriod (1.32), 2 min.
export const CLOCK_SKEW_MS = 120_000;
/** What the common name of a root begins with that Mizzen made. */
export const OWN_ROOT_NAME = 'Mizzen root of';

/** A new root for a mesh. `ttlMs` default 10 years: Istio's CITADEL_SELF_SIGNED_CA_CERT_TTL. */
export async function createSelfSignedRoot(options: {
  trustDomain: string;
  now: number;
  ttlMs?: number;
  algorithm?: KeyAlgorithm;
  /** A key that is there already: a root that is renewed keeps its key, so that what it signed stays valid. */
  privateKey?: KeyObject;
}): Promise<SelfSignedRoot> {
  const privateKey = options.privateKey ?? (await generateKeys(options.algorithm)).privateKey;
  const publicKey = createPublicKey(privateKey);
  const certificatePem = issueAuthority(undefined, {
    publicKey,
    privateKey,
    commonName: `${OWN_ROOT_NAME} ${options.trustDomain}`.slice(0, 64),
    organization: options.trustDomain.slice(0, 64),
    validity: { notBefore: options.now - CLOCK_SKEW_MS, notAfter: options.now + (options.ttlMs ?? TEN_YEARS_MS) },
  });
  return { certificatePem, privateKeyPem: privateKeyToPem(privateKey) };
}
