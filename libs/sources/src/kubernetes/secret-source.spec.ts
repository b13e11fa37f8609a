import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Watchable } from '@mizzen/core';
import { createSelfSignedRoot } from '@mizzen/identity';
import { KINDS_OF_KUBERNETES } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer } from '@mizzen/kube/testing';
import type { CredentialSource } from '../credential-source.ts';
import { createKubernetesCredentialSource } from './secret-source.ts';
import { optionsOf } from './testing.ts';

const make = async (trustDomain: string) => createSelfSignedRoot({ trustDomain, now: Date.now() });
const one = await make('one.example');
const two = await make('two.example');

let server: FakeApiServer;
let source: CredentialSource;
let wanted: Watchable<ReadonlySet<string>>;
beforeEach(async () => {
  server = await createFakeApiServer();
  wanted = new Watchable<ReadonlySet<string>>(new Set(['cert']));
  source = createKubernetesCredentialSource({ ...optionsOf(server), wanted });
});
afterEach(async () => {
  await source.close();
  await server.close();
});

function put(namespace: string, name: string, data: Record<string, string>): void {
  const encoded = Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]));
  server.put(KINDS_OF_KUBERNETES.Secret, { metadata: { namespace, name }, data: encoded });
}
const tls = { 'tls.crt': one.certificatePem, 'tls.key': one.privateKeyPem };
const keys = (): string[] => [...source.snapshot.value.credentials.keys()].sort();
const readOf = (name: string): number => server.requests.filter(({ path }) => path.endsWith(`/secrets/${name}`)).length;

describe('createKubernetesCredentialSource', () => {
  it('reads what is wanted, in every namespace, and nothing else', async () => {
    put('a', 'cert', tls);
    put('b', 'cert', { cert: two.certificatePem, key: two.privateKeyPem });
    put('b', 'cert-cacert', { cacert: one.certificatePem });
    put('a', 'other', tls);
    await source.start();
    expect(keys()).toEqual(['a/cert', 'b/cert']);
    expect(source.snapshot.value.credentials.get('b/cert')).toMatchObject({ certChainPem: two.certificatePem, caPem: one.certificatePem });
    expect(readOf('other')).toBe(0);
    expect(JSON.stringify([...source.snapshot.value.credentials])).not.toContain('PRIVATE KEY');
  });

  it('takes up what is wanted later, follows it, and forgets it', async () => {
    put('a', 'other', tls);
    await source.start();
    expect(keys()).toEqual([]);
    wanted.set(new Set(['other']));
    await source.snapshot.until(() => keys().includes('a/other'));
    put('a', 'other', { 'tls.crt': two.certificatePem, 'tls.key': two.privateKeyPem });
    await source.snapshot.until(({ credentials }) => credentials.get('a/other')?.certChainPem === two.certificatePem);
    server.remove(KINDS_OF_KUBERNETES.Secret, { namespace: 'a', name: 'other' });
    await source.snapshot.until(() => keys().length === 0);
  });

  it('keeps the last good pair of what does not belong together any more, and says so', async () => {
    put('a', 'cert', tls);
    await source.start();
    put('a', 'cert', { 'tls.crt': two.certificatePem, 'tls.key': one.privateKeyPem });
    const { credentials, diagnostics } = await source.snapshot.until((snapshot) => snapshot.diagnostics.length > 0);
    expect(credentials.get('a/cert')?.certChainPem).toBe(one.certificatePem);
    expect(diagnostics).toMatchObject([
      { resource: { kind: 'Secret', namespace: 'a', name: 'cert' }, message: expect.stringContaining('does not belong') },
    ]);
  });

  it('tries again what it could not read', async () => {
    put('a', 'cert', tls);
    server.failNext(1, { status: 500, path: /secrets\/cert$/ });
    await source.start();
    await source.snapshot.until(() => keys().length === 1);
    expect(readOf('cert')).toBe(2);
  });

  it('takes a Secret with a CA alone', async () => {
    put('a', 'cert', { 'ca.crt': one.certificatePem });
    await source.start();
    expect(source.snapshot.value.credentials.get('a/cert')).toEqual({ caPem: one.certificatePem });
  });
});
