import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';

/** A certificate for a host that has nothing to do with the mesh, and the root that it leads to. */
export interface HostCertificate {
  readonly certChainPem: string;
  readonly privateKeyPem: string;
  readonly caPem: string;
}

/** Valid for an hour. */
export async function createHostCertificate(host: string): Promise<HostCertificate> {
  const now = Date.now();
  const root = await createSelfSignedRoot({ trustDomain: 'outside.example', now });
  const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
  const { publicKey, privateKey } = await generateKeys();
  const certChainPem = issueLeaf(issuer, {
    publicKey,
    names: { dnsNames: [host] },
    validity: { notBefore: now - 60_000, notAfter: now + 3_600_000 },
  });
  return { certChainPem, privateKeyPem: privateKeyToPem(privateKey), caPem: root.certificatePem };
}
