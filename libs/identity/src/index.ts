export { CALLER_REFUSED, type CallerProof, requestCertificate, type SigningRequest } from './ca-client.ts';
export { type Issuer, issueAuthority, issueLeaf, renewAuthority, type Validity } from './certificate.ts';
export { chainViolation, describeCertificate, isSelfSigned } from './chain.ts';
export { createMtlsChannelCredentials } from './channel-credentials.ts';
export { createCsr, verifyCsr } from './csr.ts';
export {
  createJoinToken,
  DEFAULT_JOIN_TOKEN_TTL_MS,
  ensureJoinTokenKey,
  isJoinToken,
  type JoinClaims,
  verifyJoinToken,
} from './join-token.ts';
export { generateKeys, KEY_ALGORITHMS, type KeyAlgorithm, type KeyPair, keyPolicyViolation, privateKeyToPem } from './keys.ts';
export { parseCertificates, splitCertificates } from './pem.ts';
export { createFileOnce, makePrivateFolder, requireOwnerOnly, writeFileAtomically } from './private-files.ts';
export { CLOCK_SKEW_MS, createSelfSignedRoot, OWN_ROOT_NAME, type SelfSignedRoot } from './root.ts';
export { createServerCredentials, peerSpiffeId, type TlsIdentity, tlsIdentityOf } from './server-credentials.ts';
export { formatSpiffeId, parseSpiffeId, type SpiffeId, type SpiffeIdParts } from './spiffe-id.ts';
export { type SubjectAltNames, spiffeIdOf, uriSansOf } from './subject-alt-names.ts';
export { assembleSvid, type Svid } from './svid.ts';
export { createSvidManager, joinTokenFromFile, type SvidManager, type SvidManagerOptions, type SvidState } from './svid-manager.ts';
export { TRUST_BUNDLE_CONFIG_MAP, trustBundleConfigMap, trustBundleIn } from './trust-bundle-object.ts';
