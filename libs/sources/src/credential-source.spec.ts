import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import { createSelfSignedRoot } from '@mizzen/identity';
import { createCredentialSource } from './credential-source.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const makeCertificate = async (trustDomain: string): Promise<{ certificate: string; key: string }> => {
  const { certificatePem, privateKeyPem } = await createSelfSignedRoot({ trustDomain, now: Date.now() });
  return { certificate: certificatePem, key: privateKeyPem };
};
const one = await makeCertificate('one.example');
const two = await makeCertificate('two.example');

describe('createCredentialSource', () => {
  it('reads both ways of naming the files, and the CA of a folder of its own', async () => {
    await using directory = await temporaryDirectory();
    const put = async (folder: string, files: Record<string, string>): Promise<void> => {
      await mkdir(join(directory.path, folder));
      for (const [name, text] of Object.entries(files)) await writeFile(join(directory.path, folder, name), text);
    };
    await put('a', { 'tls.crt': one.certificate, 'tls.key': one.key, 'ca.crt': two.certificate });
    await put('b', { cert: two.certificate, key: two.key });
    await put('b-cacert', { cacert: one.certificate });
    await put('half', { 'tls.crt': one.certificate });
    const source = createCredentialSource({ directory: directory.path, clock: systemClock, logger: silentLogger, rescanMs: 60_000 });
    await source.start();
    try {
      const { credentials, diagnostics } = source.snapshot.value;
      expect([...credentials.keys()]).toEqual(['a', 'b']);
      expect(credentials.get('a')).toMatchObject({ certChainPem: one.certificate, caPem: two.certificate });
      expect(credentials.get('b')).toMatchObject({ certChainPem: two.certificate, caPem: one.certificate });
      expect(credentials.get('a')?.privateKey?.reveal()).toBe(one.key);
      expect(JSON.stringify([...credentials.values()])).not.toContain('PRIVATE KEY');
      expect(diagnostics.map(({ message }) => message)).toEqual(['credential half: tls.key is missing']);
    } finally {
      await source.close();
    }
  });

  it('keeps the last good pair while a renewal is half written', async () => {
    await using directory = await temporaryDirectory();
    const folder = join(directory.path, 'later', 'a');
    const source = createCredentialSource({
      directory: join(directory.path, 'later'),
      clock: systemClock,
      logger: silentLogger,
      rescanMs: 60_000,
    });
    await source.start();
    try {
      await mkdir(folder);
      await writeFile(join(folder, 'tls.crt'), one.certificate);
      await writeFile(join(folder, 'tls.key'), one.key);
      await source.snapshot.until(({ credentials }) => credentials.has('a'));

      await writeFile(join(folder, 'tls.crt'), two.certificate);
      const half = await source.snapshot.until(({ diagnostics }) => diagnostics.length > 0);
      expect(half.diagnostics[0]?.message).toBe('credential a: the key does not belong to the certificate');
      expect(half.credentials.get('a')?.certChainPem).toBe(one.certificate);

      await writeFile(join(folder, 'tls.key'), two.key);
      const renewed = await source.snapshot.until(({ diagnostics }) => diagnostics.length === 0);
      expect(renewed.credentials.get('a')?.certChainPem).toBe(two.certificate);

      await rm(folder, { recursive: true });
      await source.snapshot.until(({ credentials }) => credentials.size === 0);
    } finally {
      await source.close();
    }
  });
});
