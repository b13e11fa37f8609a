import { createPrivateKey, X509Certificate } from 'node:crypto';
import { Client, type ClientDuplexStream, Server, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Watchable } from '@mizzen/core';
import { type Issuer, issueLeaf } from './certificate.ts';
import { createMtlsChannelCredentials } from './channel-credentials.ts';
import { generateKeys, privateKeyToPem } from './keys.ts';
import { createSelfSignedRoot } from './root.ts';
import { createServerCredentials, peerSpiffeId, type TlsIdentity, tlsIdentityOf } from './server-credentials.ts';
import { formatSpiffeId, type SpiffeId } from './spiffe-id.ts';
import { assembleSvid, type Svid } from './svid.ts';

const ISTIOD = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'istio-system', serviceAccount: 'istiod' });
const REVIEWS = formatSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'reviews' });

// A service that answers every message with the identity that its caller proved.
const identity = (bytes: Buffer): Buffer => bytes;
const WHO_AM_I = {
  path: '/test.WhoAmI/Ask',
  requestStream: true,
  responseStream: true,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
} as const;

async function newIssuer(): Promise<Issuer> {
  const root = await createSelfSignedRoot({ trustDomain: 'cluster.local', now: Date.now() });
  return { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
}

async function svidFrom(issuer: Issuer, spiffeId: SpiffeId, lifeMs = 3_600_000): Promise<Svid> {
  const { publicKey, privateKey } = await generateKeys();
  const now = Date.now();
  const leaf = issueLeaf(issuer, { publicKey, names: { uris: [spiffeId] }, validity: { notBefore: now - 60_000, notAfter: now + lifeMs } });
  return assembleSvid({
    chainPem: leaf + issuer.certificate.toString(),
    privateKeyPem: privateKeyToPem(privateKey),
    issuedAt: now,
    now: now - 30_000,
  });
}

describe('gRPC with SVIDs', () => {
  let issuer: Issuer;
  let serverIdentity: Watchable<TlsIdentity | undefined>;
  const closers: (() => void)[] = [];
  beforeEach(async () => {
    issuer = await newIssuer();
    serverIdentity = new Watchable<TlsIdentity | undefined>(tlsIdentityOf(await svidFrom(issuer, ISTIOD)));
  });
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  async function serve(clientCertificate: 'required' | 'optional'): Promise<number> {
    const server = new Server();
    const answer = (call: ServerDuplexStream<Buffer, Buffer>): void => {
      call.on('data', () => call.write(Buffer.from(peerSpiffeId(call) ?? 'nobody')));
      call.on('end', () => call.end());
    };
    server.addService({ ask: WHO_AM_I }, { ask: answer });
    const credentials = createServerCredentials(serverIdentity, { clientCertificate });
    closers.push(() => {
      credentials.stop();
      server.forceShutdown();
    });
    return new Promise((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error ? reject(error) : resolve(port))),
    );
  }

  function open(port: number, svid: Svid, expected = ISTIOD): ClientDuplexStream<Buffer, Buffer> {
    const client = new Client(`127.0.0.1:${port}`, createMtlsChannelCredentials(svid, expected), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
    });
    closers.push(() => client.close());
    const stream = client.makeBidiStreamRequest(WHO_AM_I.path, identity, identity);
    stream.on('error', () => {});
    return stream;
  }

  function ask(stream: ClientDuplexStream<Buffer, Buffer>): Promise<string> {
    return new Promise((resolve, reject) => {
      stream.once('data', (answer: Buffer) => resolve(answer.toString()));
      stream.once('status', ({ code, details }) => reject(new Error(`${status[code]}: ${details}`)));
      stream.write(Buffer.from('?'));
    });
  }

  it('proves both sides to each other', async () => {
    const port = await serve('required');
    expect(await ask(open(port, await svidFrom(issuer, REVIEWS)))).toBe(REVIEWS);
  });

  it('keeps open streams over a rotation and shows new connections the new certificate', async () => {
    const port = await serve('required');
    const svid = await svidFrom(issuer, REVIEWS);
    const before = open(port, svid);
    expect(await ask(before)).toBe(REVIEWS);

    const nextIssuer = await newIssuer();
    serverIdentity.set(tlsIdentityOf(await svidFrom(nextIssuer, ISTIOD)));
    expect(await ask(before)).toBe(REVIEWS);
    expect(await ask(open(port, await svidFrom(nextIssuer, REVIEWS)))).toBe(REVIEWS);
    await expect(ask(open(port, svid))).rejects.toThrow(/UNAVAILABLE/);
  });

  it('refuses a server that proves another identity', async () => {
    const port = await serve('required');
    await expect(ask(open(port, await svidFrom(issuer, REVIEWS), REVIEWS))).rejects.toThrow(
      `the server proved to be ${ISTIOD}, not ${REVIEWS}`,
    );
  });

  it('refuses a client of another CA where a certificate is required', async () => {
    const port = await serve('required');
    const stranger = { ...(await svidFrom(await newIssuer(), REVIEWS)), trustBundlePem: issuer.certificate.toString() };
    await expect(ask(open(port, stranger))).rejects.toThrow(/UNAVAILABLE/);
  });

  it('knows a client of another CA as nobody where a certificate is optional', async () => {
    const port = await serve('optional');
    const stranger = { ...(await svidFrom(await newIssuer(), REVIEWS)), trustBundlePem: issuer.certificate.toString() };
    expect(await ask(open(port, stranger))).toBe('nobody');
  });

  it('knows a client whose certificate expired as nobody', async () => {
    const port = await serve('optional');
    expect(await ask(open(port, await svidFrom(issuer, REVIEWS, -5000)))).toBe('nobody');
  });

  it('takes no connection before it has an identity', async () => {
    const first = serverIdentity.value;
    serverIdentity.set(undefined);
    const port = await serve('required');
    await expect(ask(open(port, await svidFrom(issuer, REVIEWS)))).rejects.toThrow(/UNAVAILABLE/);
    serverIdentity.set(first);
    expect(await ask(open(port, await svidFrom(issuer, REVIEWS)))).toBe(REVIEWS);
  });
});
