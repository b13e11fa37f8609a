import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type Logger, silentLogger } from '@mizzen/core';
import { createSelfSignedRoot, type SelfSignedRoot } from '@mizzen/identity';
import type { Secret } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { FileSecrets } from './file-secrets.ts';
import { ManualClock } from './testing.ts';

const newPair = (): Promise<SelfSignedRoot> => createSelfSignedRoot({ trustDomain: 'example', now: Date.now() });

describe('FileSecrets', () => {
  let folder: string;
  let clock: ManualClock;
  let secrets: FileSecrets;
  let next: () => Promise<Secret | string>;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mizzen-secrets-'));
    clock = new ManualClock();
    const queue: (Secret | string)[] = [];
    const waiting: ((item: Secret | string) => void)[] = [];
    const put = (item: Secret | string): void => {
      const waiter = waiting.shift();
      if (waiter) waiter(item);
      else queue.push(item);
    };
    next = () => new Promise((resolve) => (queue.length > 0 ? resolve(queue.shift() as Secret | string) : void waiting.push(resolve)));
    const logger = Object.assign(Object.create(silentLogger) as Logger, { warn: (fields: { reason: string }) => put(fields.reason) });
    secrets = new FileSecrets({ deliver: (_, secret) => put(secret), onFailure: () => undefined, clock, logger });
  });
  afterEach(async () => {
    await secrets.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Lets the time come at which the files are looked at again. */
  async function lookAgain(): Promise<void> {
    while (clock.waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(2000);
  }

  it('gives a certificate with its key, and the new one when both files were replaced', async () => {
    const [first, second] = [await newPair(), await newPair()];
    const files = { chain: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
    const write = async ({ certificatePem, privateKeyPem }: SelfSignedRoot): Promise<void> => {
      await writeFile(files.chain, certificatePem);
      await writeFile(files.key, privateKeyPem);
    };
    await write(first);
    const name = `file-cert:${files.chain}~${files.key}`;
    secrets.follow([name, 'default']);
    const certificateIn = (secret: Secret | string): unknown => (secret as Secret).type.value;
    const delivered = await next();
    expect(delivered).toMatchObject({ name });
    expect(certificateIn(delivered)).toMatchObject({
      certificateChain: { specifier: { value: first.certificatePem } },
      privateKey: { specifier: { value: first.privateKeyPem } },
    });

    await writeFile(files.chain, second.certificatePem);
    await lookAgain();
    expect(await next()).toBe(`${files.key} is not the key of ${files.chain}; replace both together`);
    await write(second);
    await lookAgain();
    expect(certificateIn(await next())).toMatchObject({ certificateChain: { specifier: { value: second.certificatePem } } });
  });

  it('gives roots, also when their file appears later', async () => {
    const file = join(folder, 'ca.crt');
    secrets.follow([`file-root:${file}`]);
    expect(await next()).toMatch(/ENOENT/);
    const { certificatePem } = await newPair();
    await writeFile(file, certificatePem);
    await lookAgain();
    expect(await next()).toMatchObject({
      name: `file-root:${file}`,
      type: { case: 'validationContext', value: { trustedCa: { specifier: { value: certificatePem } } } },
    });
  });

  it('refuses a file that holds no certificate, and a name that is none', async () => {
    const file = join(folder, 'ca.crt');
    await writeFile(file, 'nothing');
    secrets.follow([`file-root:${file}`]);
    expect(await next()).toBe(`${file} holds no PEM certificate`);
    secrets.follow(['file-cert:only-one']);
    expect(await next()).toBe('"file-cert:only-one" is not file-cert:CHAIN~KEY');
  });
});
