import type { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, errorMessage, MizzenError } from '@mizzen/core';
import {
  createFileOnce,
  createSelfSignedRoot,
  generateKeys,
  type KeyAlgorithm,
  makePrivateFolder,
  OWN_ROOT_NAME,
  parseCertificates,
  privateKeyToPem,
  requireOwnerOnly,
  writeFileAtomically,
} from '@mizzen/identity';
import { type Authority, type KeyMaterial, parseAuthority, parseKey } from './authority.ts';
import { renewedRoot } from './root-renewal.ts';

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

/** Names of the parts in a folder or a Secret; the second is what cert-manager writes. Source: istio security/pkg/pki/ca/ca.go (1.32). */
export const FORMS = [CA_FILE, { key: 'tls.key', certificate: 'tls.crt', chain: 'cert-chain.pem', root: 'ca.crt' }] as const;

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
  if ((await hasCaFiles(folder)) || (await readIfThere(rootFile)) !== undefined) return false;
  if ((await readIfThere(keyFile)) === undefined)
    await createFileOnce(keyFile, privateKeyToPem((await generateKeys(root.algorithm)).privateKey));
  const made = await createSelfSignedRoot({ ...root, privateKey: parseKey(await readRequired(keyFile), keyFile) });
  const isFirst = await createFileOnce(rootFile, made.certificatePem, 0o644);
  await createFileOnce(certificateFile, await readRequired(rootFile), 0o644);
  return isFirst;
}

/**
 * Reads and checks the CA's files. Throws MIZZEN_IDENTITY naming the file that is missing, broken, too open or does not fit the others.
 * `isMounted`: the folder is a Secret that the kubelet mounted, whose files belong to the pod's group.
 */
export async function loadAuthority(folder: string, now: number, options: { isMounted?: boolean } = {}): Promise<Authority> {
  const material = await loadMaterial(folder);
  if (!options.isMounted) await requireOwnerOnly(material.names.key);
  return parseAuthority(material, now);
}

async function loadMaterial(folder: string): Promise<KeyMaterial> {
  const form = await formOf(folder);
  const names = {
    key: join(folder, form.key),
    certificate: join(folder, form.certificate),
    chain: join(folder, form.chain),
    root: join(folder, form.root),
  };
  return {
    names,
    key: await readRequired(names.key),
    certificate: await readRequired(names.certificate),
    root: await readRequired(names.root),
    chain: (await readIfThere(names.chain)) ?? '',
  };
}

async function formOf(folder: string): Promise<(typeof FORMS)[number]> {
  for (const form of FORMS) if ((await readIfThere(join(folder, form.certificate))) !== undefined) return form;
  return CA_FILE;
}

/** Whether the folder holds a CA in either form of names. */
export async function hasCaFiles(folder: string): Promise<boolean> {
  const found = await Promise.all(FORMS.map(({ certificate }) => readIfThere(join(folder, certificate))));
  return found.some((content) => content !== undefined);
}

/** Renews the root that this CA made itself, in the last fifth of its life. True where it did. */
export async function renewCaFiles(folder: string, options: { now: number; ttlMs: number }): Promise<boolean> {
  const material = await loadMaterial(folder);
  const [certificate] = parseCertificates(material.certificate, material.names.certificate) as [X509Certificate];
  // A root that was plugged in is its owner's to renew.
  if (!certificate.subject.includes(`CN=${OWN_ROOT_NAME}`)) return false;
  const renewed = renewedRoot(material, options);
  if (!renewed) return false;
  // The root first: the certificate leads to the new root and to the old one.
  await writeFileAtomically(material.names.root, renewed.root, 0o644);
  await writeFileAtomically(material.names.certificate, renewed.certificate, 0o644);
  return true;
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
