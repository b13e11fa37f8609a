import { createPrivateKey, X509Certificate } from 'node:crypto';
import { credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock, Watchable } from '@mizzen/core';
import {
  createSelfSignedRoot,
  createServerCredentials,
  formatSpiffeId,
  generateKeys,
  issueLeaf,
  peerSpiffeId,
  privateKeyToPem,
  type SelfSignedRoot,
  type TlsIdentity,
} from '@mizzen/identity';
import { ScriptedDeltaClient } from '@mizzen/testing';
import { TYPE_URL } from '@mizzen/xds-api';
import { aCluster, aListener, MemoryGenerator } from './fixtures/memory-generator.ts';
import { createXdsServer, muteGrpcLog, type XdsServer, type XdsServerOptions } from './server.ts';

const { cluster, listener } = TYPE_URL;
const node = { id: 'sidecar~127.0.0.1~reviews.default~default.svc.cluster.local', metadata: { NAMESPACE: 'default' } };

describe('the xDS server', () => {
  let generator: MemoryGenerator;
  let server: XdsServer;
  const clients: ScriptedDeltaClient[] = [];

  function createServer(options: Partial<XdsServerOptions> = {}): XdsServer {
    generator = new MemoryGenerator();
    generator.set(cluster, [aCluster('a')]);
    server = createXdsServer({ generator, clock: systemClock, logger: silentLogger, ...options });
    return server;
  }

  function connect(options: ConstructorParameters<typeof ScriptedDeltaClient>[0]): ScriptedDeltaClient {
    const client = new ScriptedDeltaClient(options);
    clients.push(client);
    return client;
  }

  afterEach(async () => {
    for (const client of clients.splice(0)) client.drop();
    await server.close();
  });

  it('says which address is taken', async () => {
    muteGrpcLog();
    createServer();
    const port = await server.listen({ host: '127.0.0.1', port: 0 });
    await expect(server.listen({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'MIZZEN_PORT_IN_USE' });
  });

  it('ends its streams with UNAVAILABLE when it closes, so that clients go elsewhere', async () => {
    createServer();
    const client = connect({ address: `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`, node });
    client.request(cluster);
    await client.expectResponse(cluster);
    await server.close();
    expect(await client.expectEnd()).toEqual({ code: 14, details: 'the control plane is closing' });
  });

  it('ends the stream of a client that asks for type after type', async () => {
    createServer();
    const client = connect({ address: `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`, node });
    for (let index = 0; index <= 100; index++) client.request(`type.googleapis.com/made.up.Type${index}`);
    expect(await client.expectEnd()).toMatchObject({ code: 8, details: 'more than 100 resource types on one stream' });
  });

  it('keeps at most one response for a client that does not read, and serves the others meanwhile', async () => {
    const sent: number[] = [];
    createServer({ maxPushesInFlight: 1, slotLeaseMs: 20, events: { onPush: (_, { sizeBytes }) => void sent.push(sizeBytes) } });
    generator.set(cluster, [aCluster('big', 'x'.repeat(8_000_000))]);
    generator.set(listener, [aListener('l')]);
    const address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`;
    const slow = connect({ address, node });
    slow.pause();
    slow.request(cluster);
    slow.request(listener);
    await server.activity.until(() => sent.length === 1);
    const quick = connect({ address, node, timeoutMs: 10_000 });
    quick.request(listener);
    await quick.expectResponse(listener);
    for (let revision = 2; revision < 10; revision++) {
      generator.set(cluster, [aCluster('big', `${revision}`.repeat(8_000_000))]);
      server.push({ revision, typeUrls: 'all' });
    }
    await quick.expectNone(async () => {
      quick.request(cluster, { subscribe: ['nothing'] });
      await quick.expectResponse(cluster);
    });
    expect(sent.filter((sizeBytes) => sizeBytes > 1_000_000)).toHaveLength(1);
    slow.resume();
    slow.ack(await slow.expectResponse(cluster));
  });

  describe('with mutual TLS', () => {
    let root: SelfSignedRoot;
    let identity: Watchable<TlsIdentity | undefined>;
    let address: string;

    async function issue(serviceAccount: string): Promise<TlsIdentity> {
      const { publicKey, privateKey } = await generateKeys();
      const spiffeId = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount });
      const certChainPem = issueLeaf(
        { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) },
        {
          publicKey,
          names: { uris: [spiffeId], dns: ['localhost'], ips: ['127.0.0.1'] } as never,
          validity: { notBefore: Date.now() - 60_000, notAfter: Date.now() + 60_000 },
        },
      );
      return { certChainPem, privateKeyPem: privateKeyToPem(privateKey), trustBundlePem: root.certificatePem };
    }

    function clientCredentials(client: TlsIdentity): ReturnType<typeof credentials.createSsl> {
      return credentials.createSsl(Buffer.from(root.certificatePem), Buffer.from(client.privateKeyPem), Buffer.from(client.certChainPem), {
        checkServerIdentity: () => undefined,
      });
    }

    beforeEach(async () => {
      root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now: Date.now() });
      identity = new Watchable<TlsIdentity | undefined>(await issue('istiod'));
      createServer({
        identify: peerSpiffeId,
        authorize: ({ identity: proven }) =>
          proven?.endsWith('/sa/reviews') ? { isAllowed: true } : { isAllowed: false, reason: `${proven} is not reviews` },
      });
      address = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0, credentials: createServerCredentials(identity, { clientCertificate: 'required' }) })}`;
    });

    it('knows its clients by their certificate and refuses who is not allowed', async () => {
      const allowed = connect({ address, node, channelCredentials: clientCredentials(await issue('reviews')) });
      allowed.request(cluster);
      await allowed.expectResponse(cluster);
      expect(server.status()[0]).toMatchObject({ isSecure: true, identity: 'spiffe://cluster.local/ns/default/sa/reviews' });
      const refused = connect({ address, node, channelCredentials: clientCredentials(await issue('ratings')) });
      refused.request(cluster);
      expect(await refused.expectEnd()).toEqual({ code: 7, details: 'spiffe://cluster.local/ns/default/sa/ratings is not reviews' });
    });

    it('refuses who has no certificate', async () => {
      const stranger = connect({
        address,
        node,
        channelCredentials: credentials.createSsl(Buffer.from(root.certificatePem), null, null, { checkServerIdentity: () => undefined }),
      });
      stranger.request(cluster);
      expect((await stranger.expectEnd()).code).toBe(14);
    });

    it('rotates its certificate under open streams and for new ones', async () => {
      const reviews = await issue('reviews');
      const early = connect({ address, node, channelCredentials: clientCredentials(reviews) });
      early.request(cluster);
      early.ack(await early.expectResponse(cluster));
      root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now: Date.now() });
      identity.set(await issue('istiod'));
      const late = connect({ address, node, channelCredentials: clientCredentials(await issue('reviews')) });
      late.request(cluster);
      late.ack(await late.expectResponse(cluster));
      generator.set(cluster, [aCluster('b')]);
      server.push({ revision: 2, typeUrls: 'all' });
      expect((await early.expectResponse(cluster)).names).toEqual(['b']);
      expect((await late.expectResponse(cluster)).names).toEqual(['b']);
    });
  });
});
