import { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import {
  chainViolation,
  createSvidManager,
  formatSpiffeId,
  joinTokenFromFile,
  parseCertificates,
  type Svid,
  type SvidManager,
  type SvidManagerOptions,
} from '@mizzen/identity';
import { freePort } from '@mizzen/testing';
import type { RunningCa } from './ca-app.ts';
import { type CaHome, createCaHome, REVIEWS } from './testing.ts';

const serialOf = (svid: Svid | undefined): string => new X509Certificate(svid?.certChainPem ?? '').serialNumber;

describe('an SVID manager with a real CA', () => {
  let home: CaHome;
  let ca: RunningCa;
  const managers: SvidManager[] = [];
  beforeEach(async () => {
    home = await createCaHome();
    // One that another CA can have later: no connection of this machine is given it meanwhile.
    ca = await home.start(['--ca-port', String(await freePort())]);
  });
  afterEach(async () => {
    await Promise.all(managers.splice(0).map((manager) => manager.close()));
    await home.remove();
  });

  function manage(options: Partial<SvidManagerOptions> = {}): SvidManager {
    const manager = createSvidManager({
      caAddress: `127.0.0.1:${ca.ports.grpc}`,
      caRootFile: home.rootFile,
      joinToken: () => home.token(),
      spiffeId: REVIEWS,
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
      ...options,
    });
    managers.push(manager);
    return manager;
  }

  /** Another CA at the same address, which knows nothing of the one before. */
  async function replaceCa(): Promise<void> {
    await ca.close();
    for (const name of await readdir(home.folder)) await rm(join(home.folder, name));
    ca = await home.start(['--ca-port', String(ca.ports.grpc)]);
  }

  const nextSvid = (manager: SvidManager, than: Svid): Promise<Svid> =>
    manager.svid.until((svid) => svid !== undefined && svid !== than) as Promise<Svid>;

  it('renews a certificate that lives six seconds three times, with a new key each time and never without one', async () => {
    let tokens = 0;
    const manager = manage({
      ttlMs: 6000,
      joinToken: () => {
        tokens++;
        return home.token();
      },
    });
    const svids = [await manager.start()];
    for (let rotation = 0; rotation < 3; rotation++) svids.push(await nextSvid(manager, svids.at(-1) as Svid));
    for (const [index, { notAfter }] of svids.slice(0, -1).entries()) expect(svids[index + 1]?.issuedAt).toBeLessThan(notAfter);
    expect(new Set(svids.map(serialOf)).size).toBe(4);
    expect(new Set(svids.map((svid) => svid.privateKeyPem.reveal())).size).toBe(4);
    for (const svid of svids) {
      expect(svid.spiffeId).toBe(REVIEWS);
      const roots = parseCertificates(svid.trustBundlePem, 'bundle');
      expect(chainViolation(parseCertificates(svid.certChainPem, 'chain'), roots, svid.issuedAt)).toBeUndefined();
    }
    // Only the first needed a token; from then on the certificate itself was the proof.
    expect(tokens).toBe(1);
  });

  it('keeps its certificate while the CA is away, and renews it once the CA is back', async () => {
    const manager = manage({ ttlMs: 10_000, rotationRatio: 0.05 });
    const first = await manager.start();
    await ca.close();
    await manager.state.until((state) => state.kind === 'retrying' && state.attempt >= 2);
    const kept = manager.svid.value as Svid;
    expect(kept.notAfter).toBeGreaterThan(Date.now());
    expect(kept.issuedAt).toBeGreaterThanOrEqual(first.issuedAt);
    ca = await home.start(['--ca-port', String(ca.ports.grpc)]);
    const renewed = await nextSvid(manager, kept);
    expect(renewed.notAfter).toBeGreaterThanOrEqual(kept.notAfter);
    await manager.state.until((state) => state.kind === 'valid');
  });

  it('proves itself by a fresh join token when its certificate has expired', async () => {
    const tokenFile = join(home.folder, 'token');
    await writeFile(tokenFile, `${await home.token()}\n`);
    const manager = manage({ ttlMs: 2000, joinToken: joinTokenFromFile(tokenFile) });
    const first = await manager.start();
    await ca.close();
    await manager.state.until(
      (state) =>
        state.kind === 'retrying' &&
        first.notAfter < Date.now() &&
        manager.svid.value?.notAfter !== undefined &&
        manager.svid.value.notAfter < Date.now(),
    );
    const expired = manager.svid.value as Svid;
    ca = await home.start(['--ca-port', String(ca.ports.grpc)]);
    await manager.state.until((state) => state.kind === 'retrying' && state.reason.includes('used before'));
    await writeFile(tokenFile, await home.token());
    const renewed = await nextSvid(manager, expired);
    expect(renewed.spiffeId).toBe(REVIEWS);
  });

  it('does not wait for half of a life when its root file names another CA', async () => {
    const manager = manage({ checkMs: 50 });
    const first = await manager.start();
    await replaceCa();
    const renewed = await nextSvid(manager, first);
    expect(renewed.trustBundlePem).not.toBe(first.trustBundlePem);
    expect(first.notAfter - Date.now()).toBeGreaterThan(3_600_000);
  });

  it('joins again by a token when the CA no longer knows its certificate', async () => {
    const manager = manage({ ttlMs: 6000 });
    const first = await manager.start();
    await replaceCa();
    const renewed = await nextSvid(manager, first);
    expect(renewed.trustBundlePem).not.toBe(first.trustBundlePem);
  });

  it('refuses a certificate for another identity than its own', async () => {
    const other = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'ratings' });
    const manager = manage({ joinToken: () => home.token({ spiffeId: other }) });
    const started = expect(manager.start()).rejects.toThrow(/closed/);
    const state = await manager.state.until(({ kind }) => kind === 'retrying');
    expect(state).toMatchObject({ reason: `the CA certified ${other}, not ${REVIEWS}: the join token is another workload's` });
    await manager.close();
    await started;
  });

  it('trusts no CA but the one of its root file', async () => {
    const stranger = await createCaHome();
    try {
      const { ports } = await stranger.start();
      const manager = manage({ caAddress: `127.0.0.1:${ports.grpc}` });
      const started = expect(manager.start()).rejects.toThrow(/closed/);
      const state = await manager.state.until(({ kind }) => kind === 'retrying');
      expect(state).toMatchObject({ reason: expect.stringContaining('does not answer') });
      await manager.close();
      await started;
    } finally {
      await stranger.remove();
    }
  });

  it('waits for a CA that starts later and for its root file', async () => {
    const { ports } = ca;
    await ca.close();
    await rm(home.rootFile);
    const manager = manage();
    const svid = manager.start();
    await manager.state.until((state) => state.kind === 'retrying' && state.reason.includes('cannot be read'));
    for (const name of ['ca-key.pem', 'ca-cert.pem']) await rm(join(home.folder, name));
    ca = await home.start(['--ca-port', String(ports.grpc)]);
    expect((await svid).spiffeId).toBe(REVIEWS);
  });

  it('keeps its SVID over a restart where it has a folder for it, in a file that only its owner can read', async () => {
    const stateFolder = await mkdtemp(join(tmpdir(), 'mizzen-svid-'));
    try {
      const before = manage({ stateFolder });
      const first = await before.start();
      await before.close();
      await ca.close();
      expect((await stat(join(stateFolder, 'svid.pem'))).mode & 0o777).toBe(0o600);
      const again = await manage({ stateFolder }).start();
      expect(serialOf(again)).toBe(serialOf(first));
      expect(again.issuedAt).toBe(first.issuedAt);
      await expect(
        manage({ stateFolder, spiffeId: formatSpiffeId({ trustDomain: 'td', namespace: 'a', serviceAccount: 'b' }) }).start({
          signal: AbortSignal.timeout(200),
        }),
      ).rejects.toThrow();
    } finally {
      await rm(stateFolder, { recursive: true, force: true });
    }
  });

  it('gives a start up when told to', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => void sockets.push(socket));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const manager = manage({ caAddress: `127.0.0.1:${port}` });
    await expect(manager.start({ signal: AbortSignal.timeout(100) })).rejects.toThrow(/timeout/i);
    await manager.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });

  it('prints no key', async () => {
    const svid = await manage().start();
    expect(`${JSON.stringify(svid)}${String(svid.privateKeyPem)}`).not.toContain('PRIVATE KEY');
  });
});
