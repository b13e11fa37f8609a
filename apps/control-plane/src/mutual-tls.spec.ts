import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import {
  createJoinToken,
  createMtlsChannelCredentials,
  createSvidManager,
  ensureJoinTokenKey,
  formatSpiffeId,
  type Svid,
  type SvidManager,
} from '@mizzen/identity';
import { ScriptedDeltaClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import { aNode, ControlPlaneFixture, REVIEWS, subscribe } from './fixtures/running-control-plane.ts';

const CA_MAIN = join(import.meta.dirname, '../../ca/src/main.ts');
const ISTIOD = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'istio-system', serviceAccount: 'istiod' });
const { cluster } = TYPE_URL;

/** With certificates of four seconds, renewed after two. */
describe('the control plane with a CA', () => {
  let mesh: ControlPlaneFixture;
  let ca: ChildProcess;
  let caAddress: string;
  let caRoot: string;
  const managers: SvidManager[] = [];
  const clients: ScriptedDeltaClient[] = [];

  async function startCa(): Promise<void> {
    const flags = ['--home', mesh.directory, '--ca-port', '0', '--http-port', '0', '--max-workload-ttl', '4s', '--workload-ttl', '4s'];
    ca = spawn(process.execPath, ['--no-warnings', CA_MAIN, ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, MIZZEN_LOG_LEVEL: 'error' },
    });
    for await (const line of createInterface({ input: ca.stdout as NodeJS.ReadableStream })) {
      caAddress = `127.0.0.1:${(JSON.parse(line) as { ports: { grpc: number } }).ports.grpc}`;
      return;
    }
    throw new Error('the CA ended before it was ready');
  }

  async function tokenFor(namespace: string, serviceAccount: string): Promise<string> {
    const { privateKey } = await ensureJoinTokenKey(join(mesh.directory, 'ca', 'join-token-key.pem'));
    return createJoinToken(privateKey, { spiffeId: formatSpiffeId({ trustDomain: 'cluster.local', namespace, serviceAccount }) });
  }

  async function joinMesh(serviceAccount: string): Promise<SvidManager> {
    const token = await tokenFor('default', serviceAccount);
    const manager = createSvidManager({
      caAddress,
      caRootFile: caRoot,
      joinToken: async () => token,
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
    });
    managers.push(manager);
    await manager.start();
    return manager;
  }

  function connect(svid: Svid, serviceAccount: string): ScriptedDeltaClient {
    const address = `127.0.0.1:${mesh.running.ports.xdsMtls}`;
    const client = new ScriptedDeltaClient({
      address,
      node: aNode('reviews', { serviceAccount }),
      channelCredentials: createMtlsChannelCredentials(svid, ISTIOD),
    });
    clients.push(client);
    return client;
  }

  beforeEach(async () => {
    mesh = await ControlPlaneFixture.create();
    await startCa();
    caRoot = join(mesh.directory, 'ca', 'root-cert.pem');
    const tokenFile = join(mesh.directory, 'token');
    await writeFile(tokenFile, await tokenFor('istio-system', 'istiod'));
    await mesh.start(['--ca-address', caAddress, '--ca-root', caRoot, '--join-token-file', tokenFile]);
    await mesh.running.identity?.until((identity) => identity !== undefined);
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.drop();
    for (const manager of managers.splice(0)) await manager.close();
    ca.kill('SIGKILL');
    await once(ca, 'exit');
    await mesh.remove();
  });

  it('serves whom the certificate proves, and nobody under another name', async () => {
    const svid = (await joinMesh('reviews')).svid.value as Svid;
    await subscribe(connect(svid, 'reviews'), cluster);
    expect(mesh.running.controlPlane.server.status()[0]).toMatchObject({
      isSecure: true,
      identity: 'spiffe://cluster.local/ns/default/sa/reviews',
    });
    const impostor = connect(svid, 'ratings');
    impostor.request(cluster);
    const end = await impostor.expectEnd();
    expect(end.code).toBe(7);
    expect(end.details).toContain('default/ratings, its certificate says spiffe://cluster.local/ns/default/sa/reviews');
  });

  it('rotates its certificate while a stream stays open and others come', async () => {
    const manager = await joinMesh('reviews');
    const early = connect(manager.svid.value as Svid, 'reviews');
    await subscribe(early, cluster);
    const before = [mesh.running.identity?.value, manager.svid.value];
    await mesh.running.identity?.until((identity) => identity !== before[0]);
    await manager.svid.until((svid) => svid !== before[1]);
    await subscribe(connect(manager.svid.value as Svid, 'reviews'), cluster);
    await mesh.write('reviews.yaml', REVIEWS);
    expect((await early.expectResponse(cluster)).names).toContain('outbound|9080||reviews.default.svc.cluster.local');
  });
});
