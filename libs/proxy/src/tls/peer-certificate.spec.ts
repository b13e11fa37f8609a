import { once } from 'node:events';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { connect, createServer, TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { createHostCertificate } from '@mizzen/testing';
import fc from 'fast-check';
import { certificateOfSession, describePeer, peerCertificate, peerX509Certificate } from './peer-certificate.ts';

let pair: Awaited<ReturnType<typeof createHostCertificate>>;

beforeAll(async () => {
  pair = await createHostCertificate('a.example');
});

afterEach(() => {
  jest.restoreAllMocks();
});

/** Both ends of a finished handshake. */
async function shakeHands(
  maxVersion: 'TLSv1.2' | 'TLSv1.3',
  showsClient: boolean,
): Promise<{ server: TLSSocket; client: TLSSocket } & AsyncDisposable> {
  const own = { cert: pair.certChainPem, key: pair.privateKeyPem, ca: pair.caPem };
  const listening = createServer({ ...own, requestCert: true, rejectUnauthorized: false, maxVersion });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>;
  const socket = connectTcp((listening.address() as AddressInfo).port, '127.0.0.1');
  const client = connect({ socket, ca: pair.caPem, servername: 'a.example', ...(showsClient && own) });
  await once(client, 'secureConnect');
  const [server] = await accepted;
  return {
    server,
    client,
    async [Symbol.asyncDispose]() {
      client.destroy();
      server.destroy();
      listening.close();
      await once(listening, 'close');
    },
  };
}

describe('peerCertificate', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)('reads what either side showed with %s, without the way that loses memory', async (version) => {
    await using hands = await shakeHands(version, true);
    // Behind the handshake: `tls.connect` uses it itself.
    const leaky = jest.spyOn(TLSSocket.prototype, 'getPeerX509Certificate');
    const facts = peerCertificate(hands.client);
    expect(facts?.names.dns).toEqual(['a.example']);
    // Parsed once for all connections.
    expect(peerCertificate(hands.server)).toBe(facts);
    expect(peerX509Certificate(hands.server)?.fingerprint256.replaceAll(':', '').toLowerCase()).toBe(facts?.sha256);
    expect(leaky).not.toHaveBeenCalled();
    const legacy = hands.client.getPeerX509Certificate();
    expect(facts?.sha256).toBe(legacy?.fingerprint256.replaceAll(':', '').toLowerCase());
    expect(facts?.pem).toBe(legacy?.toString());
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('finds none of a client that showed none with %s', async (version) => {
    await using hands = await shakeHands(version, false);
    expect(peerCertificate(hands.server)).toBeUndefined();
    expect(peerX509Certificate(hands.server)).toBeUndefined();
  });

  it('tells the chain of a peer as often as it is asked', async () => {
    await using hands = await shakeHands('TLSv1.3', true);
    const facts = peerCertificate(hands.client);
    const peer = facts && describePeer(facts, hands.client);
    const chain = peer?.chainPem?.();
    expect(chain?.startsWith(facts?.pem ?? 'none')).toBe(true);
    expect(peer?.chainPem?.()).toBe(chain);
  });

  it('finds nothing of a connection that is closed', async () => {
    await using hands = await shakeHands('TLSv1.3', true);
    hands.client.destroy();
    await once(hands.client, 'close');
    expect(peerCertificate(hands.client)).toBeUndefined();
  });
});

describe('certificateOfSession', () => {
  it.each([
    ['no bytes', []],
    ['another type', [0x31, 0x00]],
    ['a length that does not fit', [0x30, 0x05, 0x02, 0x01]],
    ['bytes behind the end', [0x30, 0x00, 0x00]],
    ['an indefinite length', [0x30, 0x80, 0x00, 0x00]],
    ['an element that does not fit', [0x30, 0x03, 0xa3, 0x05, 0x00]],
  ])('does not take %s for a session', (_name, bytes) => {
    expect(certificateOfSession(Buffer.from(bytes))).toBeUndefined();
  });

  it('is empty for a session without a certificate', () => {
    expect(certificateOfSession(Buffer.from([0x30, 0x03, 0x02, 0x01, 0x01]))).toEqual(Buffer.alloc(0));
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        certificateOfSession(Buffer.from([0x30, bytes.length, ...bytes]));
      }),
    );
  });
});
