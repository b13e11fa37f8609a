import { setImmediate as nextTurn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { type CommonTlsContext, CommonTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { collectGarbage } from '../system/release-memory.ts';
import { createAuthority, keyPairSecret, rootSecret, type TestAuthority } from '../testing/harness.ts';
import { compileSecret, SecretStore } from './secret-store.ts';
import { TlsContext } from './tls-context.ts';

const ORIGIN = { version: '', nowMs: 0 };
const ROTATIONS = 20;

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createAuthority();
});

const message = (): CommonTlsContext =>
  create(CommonTlsContextSchema, {
    tlsCertificateSdsSecretConfigs: [{ name: 'default' }],
    validationContextType: { case: 'validationContextSdsSecretConfig', value: { name: 'ROOTCA' } },
  });

async function rotate(secrets: SecretStore): Promise<void> {
  const identity = await authority.issue('spiffe://cluster.local/ns/default/sa/a');
  secrets.set('default', compileSecret(keyPairSecret('default', identity)), ORIGIN);
}

async function startedStore(): Promise<SecretStore> {
  const secrets = new SecretStore();
  secrets.set('ROOTCA', compileSecret(rootSecret('ROOTCA', authority.root)), ORIGIN);
  await rotate(secrets);
  return secrets;
}

describe('TlsContext', () => {
  it('shares what it makes of equal secrets and parameters', async () => {
    const secrets = await startedStore();
    const [one, two] = [new TlsContext(message(), secrets), new TlsContext(message(), secrets)];
    expect(one.material()).toBeDefined();
    expect(one.material()).toBe(two.material());
  });

  it('makes nothing anew of a secret that came again as it was', async () => {
    const secrets = await startedStore();
    const context = new TlsContext(message(), secrets);
    const before = context.material();
    const changed: string[] = [];
    secrets.watch((name) => changed.push(name));
    secrets.set('ROOTCA', compileSecret(rootSecret('ROOTCA', authority.root)), { version: '2', nowMs: 5 });
    expect(context.material()).toBe(before);
    expect(changed).toEqual([]);
    expect(secrets.entries().find(({ name }) => name === 'ROOTCA')).toMatchObject({ version: '2', updatedMs: 5 });
    await rotate(secrets);
    expect(context.material()).not.toBe(before);
    expect(changed).toEqual(['default']);
  });

  it('keeps nothing of certificates that were replaced, also where no connection is made any more', async () => {
    const secrets = await startedStore();
    const used = new TlsContext(message(), secrets);
    const idle: TlsContext[] = [];
    const made: WeakRef<object>[] = [];
    for (let turn = 0; turn < ROTATIONS; turn++) {
      // Each of them makes a connection once.
      idle.push(new TlsContext(message(), secrets));
      idle.at(-1)?.material();
      await rotate(secrets);
      made.push(new WeakRef(used.material()?.secureContext.context as object));
    }
    await nextTurn();
    collectGarbage();
    expect(idle).toHaveLength(ROTATIONS);
    const left = made.filter((context) => context.deref() !== undefined).length;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(2);
  });
});
