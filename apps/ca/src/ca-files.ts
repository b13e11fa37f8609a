import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, errorMessage, MizzenError } from '@mizzen/core';
import {
  chainViolation,
  createFileOnce,
  createSelfSignedRoot,
  describeCertificate,
  generateKeys,
  type Issuer,
  type KeyAlgorithm,
  makePrivateFolder,
  parseCertificates,
  privateKeyToPem,
  requireOwnerOnly,
  splitCertificates,
} from '@mizzen/identity';

/**
 * Names as in Istio's `cacerts` Secret. A self-signed CA has the root as its own certificate and no chain;
 * for a plugged-in one `cert-chain.pem` holds what lies between its certificate and the root.
 */
export const CA_FILE = {
  key: 'ca-key.pem',
  certificate: 'ca-cert.pem',
  chain: 'cert-chain.pem',
  root: 'root-cert.pem',
  joinTokenKey: 'join-token-key.pem',
  usedTokens: 'used-join-tokens.json',
} as const;

/** Everything that signing needs, whole and checked. Replaced as one. */
export interface Authority {
  readonly issuer: Issuer;
  /** PEM of the certificates between a leaf and the root, the issuer first; empty where the issuer is the root. */
  readonly intermediatePems: readonly string[];
  /** PEM of each root; several during a change of roots. */
  readonly rootPems: readonly string[];
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  readonly rootNotAfter: number;
}

export function trustBundleOf(authority: Authority): string {
  return authority.rootPems.join('');
}

/**
 * Makes a self-signed root where the folder has no CA yet. Two processes that start at once, or one that was killed
 * half way, end up with one key and its certificate. True when this call made the root.
 */
export async function ensureCaFiles(
  folder: string,
  root: { trustDomain: string; ttlMs: number; algorithm: KeyAlgorithm; now: number },
): Promise<boolean> {
  await makePrivateFolder(folder);
  const [keyFile, certificateFile, rootFile] = [CA_FILE.key, CA_FILE.certificate, CA_FILE.root].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const present = await Promise.all([certificateFile, rootFile].map(readIfThere));
  if (present.some((content) => content !== undefined)) return false;
  if ((await readIfThere(keyFile)) === undefined)
    await createFileOnce(keyFile, privateKeyToPem((await generateKeys(root.algorithm)).privateKey));
  const made = await createSelfSignedRoot({ ...root, privateKey: parseKey(await readRequired(keyFile), keyFile) });
  const isFirst = await createFileOnce(rootFile, made.certificatePem, 0o644);
  await createFileOnce(certificateFile, await readRequired(rootFile), 0o644);
  return isFirst;
}

/** Reads and checks the CA's files. Throws MIZZEN_IDENTITY naming the file that is missing, broken, too open or does not fit the others. */
export async function loadAuthority(folder: string, now: number): Promise<Authority> {
  const keyFile = join(folder, CA_FILE.key);
  const key = parseKey(await readRequired(keyFile), keyFile);
  await requireOwnerOnly(keyFile);
  const certificateFile = join(folder, CA_FILE.certificate);
  const certificatePem = await readRequired(certificateFile);
  const certificate = parseCertificates(certificatePem, certificateFile)[0] as X509Certificate;
  const rootFile = join(folder, CA_FILE.root);
  const rootPem = await readRequired(rootFile);
  const roots = parseCertificates(rootPem, rootFile);
  const chainFile = join(folder, CA_FILE.chain);
  const chainPem = (await readIfThere(chainFile)) ?? '';
  const chain = chainPem.trim() === '' ? [] : parseCertificates(chainPem, chainFile);

  if (!certificate.ca) throw new MizzenError('MIZZEN_IDENTITY', `${certificateFile} is not the certificate of a certificate authority`);
  if (!certificate.checkPrivateKey(key))
    throw new MizzenError('MIZZEN_IDENTITY', `${keyFile} is not the key of ${certificateFile}; replace both together`);
  const violation = chainViolation([certificate, ...chain], roots, now);
  if (violation) throw new MizzenError('MIZZEN_IDENTITY', `${certificateFile} does not lead to ${rootFile}: ${violation}`);

  const isRoot = roots.some((root) => root.raw.equals(certificate.raw));
  const between = [certificate, ...chain].filter(
    (candidate, index, all) => all.findIndex((other) => other.raw.equals(candidate.raw)) === index,
  );
  return {
    issuer: { certificate, privateKey: key },
    intermediatePems: isRoot
      ? []
      : between.filter((candidate) => !roots.some((root) => root.raw.equals(candidate.raw))).map((candidate) => candidate.toString()),
    rootPems: splitCertificates(rootPem),
    notAfter: Date.parse(certificate.validTo),
    rootNotAfter: Math.min(...roots.map((root) => Date.parse(root.validTo))),
  };
}

function parseKey(pem: string, file: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (thrown) {
    throw new MizzenError('MIZZEN_IDENTITY', `${file} holds no usable private key: ${errorMessage(thrown)}`, { cause: thrown });
  }
}

async function readRequired(file: string): Promise<string> {
  const content = await readIfThere(file);
  if (content === undefined) {
    throw new MizzenError(
      'MIZZEN_IDENTITY',
      `${file} is missing beside the other files of the CA: restore it, or empty the folder and a new root is made`,
    );
  }
  return content;
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return undefined;
    throw new MizzenError('MIZZEN_IDENTITY', `${file} cannot be read: ${errorMessage(thrown)}`, { cause: thrown });
  }
}

export function describeAuthority(authority: Authority): string {
  return describeCertificate(authority.issuer.certificate);
}
