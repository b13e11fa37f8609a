import type { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import {
  createJoinToken,
  createSvidManager,
  ensureJoinTokenKey,
  formatSpiffeId,
  type SpiffeId,
  type SvidManager,
  spiffeIdOf,
} from '@mizzen/identity';
import { type AppProcess, type MtlsControlPlane, startApp, startMtlsControlPlane, strictInbound } from './testing.ts';

const idOf = (namespace: string, serviceAccount: string): SpiffeId =>
  formatSpiffeId({ trustDomain: 'cluster.local', namespace, serviceAccount });
const REVIEWS = idOf('default', 'bookinfo-reviews');

// One mesh for all: a CA and a sidecar as processes, a scripted control plane and a program in this one. The last case ends the sidecar.
describe('a sidecar process with a real CA', () => {
  let folder: string;
  let ca: AppProcess;
  let controlPlane: MtlsControlPlane;
  let sidecar: AppProcess;
  let program: Server;
  let client: SvidManager;
  const managers: SvidManager[] = [];
  let answer: (incoming: IncomingMessage, response: ServerResponse) => void = (_, response) => void response.end('reviews');

  const caFolder = (): string => join(folder, 'ca');
  const tokenFor = async (spiffeId: SpiffeId): Promise<string> =>
    createJoinToken((await ensureJoinTokenKey(join(caFolder(), 'join-token-key.pem'))).privateKey, { spiffeId });

  function manage(spiffeId: SpiffeId): SvidManager {
    const manager = createSvidManager({
      caAddress: `127.0.0.1:${ca.ports.grpc}`,
      caRootFile: join(caFolder(), 'root-cert.pem'),
      joinToken: () => tokenFor(spiffeId),
      spiffeId,
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
    });
    managers.push(manager);
    return manager;
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mizzen-sidecar-'));
    ca = await startApp('ca', ['--home', folder, '--ca-port', '0', '--http-port', '0', '--log-level', 'silent']);
    controlPlane = await startMtlsControlPlane(manage(idOf('istio-system', 'istiod')), strictInbound);
    program = createServer((incoming, response) => answer(incoming, response));
    const socket = join(folder, 'app.sock');
    program.listen(socket);
    await once(program, 'listening');
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, await tokenFor(REVIEWS), { mode: 0o600 });
    client = manage(idOf('default', 'bookinfo-productpage'));
    const [started] = await Promise.all([
      startApp('sidecar', [
        ...[
          '--service-account',
          'bookinfo-reviews',
          '--workload-group',
          'reviews-v1',
          '--instance',
          'reviews-v1',
          '--labels',
          'app=reviews',
          '--labels',
          'version=v1',
        ],
        ...['--inbound', `9080=unix:${socket}`, '--xds-address', controlPlane.address, '--ca-address', `127.0.0.1:${ca.ports.grpc}`],
        ...['--ca-root', join(caFolder(), 'root-cert.pem'), '--join-token-file', tokenFile, '--svid-ttl', '4s', '--drain-delay', '100ms'],
      ]),
      client.start(),
    ]);
    sidecar = started;
  });

  afterAll(async () => {
    for (const app of [sidecar, ca]) app?.child.kill('SIGKILL');
    await Promise.all(managers.map((manager) => manager.close()));
    controlPlane?.close();
    await new Promise((resolve) => program?.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });

  const inboundPort = (): number => sidecar.ports.inbound?.['9080'] as number;

  async function connectWithSvid(): Promise<TLSSocket> {
    const svid = client.svid.value;
    const socket = connect({
      host: '127.0.0.1',
      port: inboundPort(),
      ca: svid?.trustBundlePem,
      cert: svid?.certChainPem,
      key: svid?.privateKeyPem.reveal(),
      ALPNProtocols: ['http/1.1'],
      checkServerIdentity: () => undefined,
    });
    await once(socket, 'secureConnect');
    return socket;
  }

  const certificateOf = (socket: TLSSocket): X509Certificate => socket.getPeerX509Certificate() as X509Certificate;

  async function get(socket: TLSSocket): Promise<{ status: number | undefined; body: string }> {
    const sent = request({ createConnection: () => socket, path: '/reviews/0', headers: { host: 'reviews:9080' } }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const chunks: Buffer[] = await response.toArray();
    return { status: response.statusCode, body: Buffer.concat(chunks).toString() };
  }

  it('proves its identity to the control plane and announces where it listens', () => {
    expect(controlPlane.rejections).toEqual([]);
    expect(controlPlane.streams.value).toHaveLength(1);
    const [{ node, spiffeId }] = controlPlane.streams.value as [(typeof controlPlane.streams.value)[number]];
    expect(spiffeId).toBe(REVIEWS);
    expect(node.metadata).toMatchObject({
      NAMESPACE: 'default',
      SERVICE_ACCOUNT: 'bookinfo-reviews',
      AUTO_REGISTER_GROUP: 'reviews-v1',
      LABELS: { app: 'reviews', version: 'v1' },
    });
    expect(node.metadata?.['INBOUND']).toMatchObject([{ port: 9080, listenPort: inboundPort() }]);
  });

  it('lets in who has an SVID, and proves its own', async () => {
    const socket = await connectWithSvid();
    expect(spiffeIdOf(certificateOf(socket))).toBe(REVIEWS);
    expect(await get(socket)).toEqual({ status: 200, body: 'reviews' });
  });

  it('is closed to plaintext and to TLS without an SVID', async () => {
    const plain = createConnection(inboundPort(), '127.0.0.1');
    plain.write('GET / HTTP/1.1\r\nhost: reviews\r\n\r\n');
    const received: Buffer[] = await plain.toArray().catch(() => []);
    expect(Buffer.concat(received).toString()).toBe('');

    const anonymous = connect({ host: '127.0.0.1', port: inboundPort(), rejectUnauthorized: false });
    anonymous.on('secureConnect', () => anonymous.write('GET / HTTP/1.1\r\nhost: reviews\r\n\r\n'));
    const answered: Buffer[] = await anonymous.toArray().catch(() => []);
    expect(Buffer.concat(answered).toString()).toBe('');
  });

  it('tells readiness and the metrics of both halves on its status port', async () => {
    const url = `http://127.0.0.1:${sidecar.ports.status}`;
    expect((await fetch(`${url}/healthz/ready`)).status).toBe(200);
    const metrics = await (await fetch(`${url}/stats/prometheus`)).text();
    expect(metrics).toMatch(/^istio_agent_cert_expiry_seconds\{resource_name="default"\} \d/m);
    expect(metrics).toMatch(/^envoy_cluster_upstream_rq_total\{cluster_name="inbound\|9080\|\|"\} \d/m);
    expect(await (await fetch(`http://127.0.0.1:${sidecar.ports.admin}/ready`)).text()).toBe('LIVE\n');
  });

  it('shows one new certificate after the other, without one failed request', async () => {
    const kept = await connectWithSvid();
    const serials = new Set([certificateOf(kept).serialNumber]);
    let requests = 0;
    while (serials.size < 4) {
      const socket = await connectWithSvid();
      const certificate = certificateOf(socket);
      expect(spiffeIdOf(certificate)).toBe(REVIEWS);
      serials.add(certificate.serialNumber);
      expect(await get(socket)).toEqual({ status: 200, body: 'reviews' });
      requests++;
    }
    expect(requests).toBeGreaterThan(10);
    // A connection lives on under the certificate that it began with.
    expect(await get(kept)).toEqual({ status: 200, body: 'reviews' });
  }, 60_000);

  it('ends on SIGTERM after it has left the mesh and the request under way is answered', async () => {
    let respond: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      answer = (_, response) => {
        respond = () => void response.end('late');
        resolve();
      };
    });
    const pending = get(await connectWithSvid());
    await arrived;
    sidecar.child.kill('SIGTERM');
    await controlPlane.gracefulEnds.until((ends) => ends === 1);
    expect(sidecar.child.exitCode).toBeNull();
    respond();
    expect(await pending).toEqual({ status: 200, body: 'late' });
    expect(await sidecar.exited).toEqual([0, null]);
  });
});
