import { createPrivateKey, X509Certificate } from 'node:crypto';
import { errorMessage, Secret } from '@mizzen/core';

/** What a `credentialName` of a Gateway or DestinationRule names: a certificate with its key, or CA certificates, or both. */
export interface Credential {
  /** Leaf first. */
  readonly certChainPem?: string;
  readonly privateKey?: Secret<string>;
  /** Certificates that the other side is checked against. */
  readonly caPem?: string;
}

/** The parts as they were found. */
export interface CredentialText {
  readonly certChainPem: string | undefined;
  readonly key: string | undefined;
  readonly caPem: string | undefined;
}

// The keys of a Kubernetes Secret, in the order in which Istio looks for them (pilot/pkg/credentials/kube/secrets.go, 1.32 dev).
export const CERTIFICATE_KEYS: readonly string[] = ['tls.crt', 'cert'];
export const KEY_KEYS: readonly string[] = ['tls.key', 'key'];
export const CA_KEYS: readonly string[] = ['ca.crt', 'cacert'];
/** What is appended to the name of a credential where its CA certificates are held apart. */
export const CA_SUFFIX = '-cacert';

/** Checks that the parts are whole and belong together. */
export function readCredential({ certChainPem, key, caPem }: CredentialText): { credential: Credential } | { problem: string } {
  if (certChainPem === undefined && key === undefined && caPem === undefined) return { problem: 'tls.crt and tls.key are missing' };
  if (certChainPem === undefined && key !== undefined) return { problem: 'tls.crt is missing' };
  if (certChainPem !== undefined && key === undefined) return { problem: 'tls.key is missing' };
  try {
    if (caPem !== undefined) new X509Certificate(caPem);
    if (certChainPem === undefined || key === undefined) return { credential: { ...(caPem !== undefined && { caPem }) } };
    if (!new X509Certificate(certChainPem).checkPrivateKey(createPrivateKey(key)))
      return { problem: 'the key does not belong to the certificate' };
    return { credential: { certChainPem, privateKey: new Secret(key), ...(caPem !== undefined && { caPem }) } };
  } catch (thrown) {
    return { problem: `cannot be read: ${errorMessage(thrown)}` };
  }
}
