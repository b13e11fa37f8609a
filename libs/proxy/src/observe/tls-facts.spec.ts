import { constants } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type SecureVersion, type TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { TlsFacts } from '@mizzen/telemetry';
import type { DownstreamConnection } from '../contract.ts';
import { Cleanup, createAuthority } from '../testing/harness.ts';
import { tlsFactsOf } from './tls-facts.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** What the server of a connection with client certificates knows of it. */
async function factsOf(version: SecureVersion): Promise<TlsFacts | undefined> {
  const authority = await createAuthority();
  const [server, client] = await Promise.all([
    authority.issue('spiffe://cluster.local/server'),
    authority.issue('spiffe://cluster.local/client'),
  ]);
  const options = { minVersion: version, maxVersion: version, ca: authority.root };
  const listener = createServer({
    ...options,
    cert: server.chain,
    key: server.key,
    requestCert: true,
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  cleanup.add(() => listener.close());
  const secured = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const socket = connect({
    ...options,
    port: (listener.address() as AddressInfo).port,
    host: '127.0.0.1',
    cert: client.chain,
    key: client.key,
    checkServerIdentity: () => undefined,
  });
  cleanup.add(() => socket.destroy());
  const [accepted] = await secured;
  cleanup.add(() => accepted.destroy());
  const connection = { tls: {}, socket: accepted } as unknown as DownstreamConnection;
  return tlsFactsOf(connection);
}

describe('what is known of a TLS connection', () => {
  it('has the version, the cipher and both certificates', async () => {
    const facts = await factsOf('TLSv1.3');
    expect(facts).toMatchObject({ version: 'TLSv1.3', cipher: expect.stringMatching(/^TLS_AES_/) });
    expect(facts?.peer?.uriSans[0]).toMatch(/^spiffe:\/\/.*client/);
    expect(facts?.local?.uriSans[0]).toMatch(/^spiffe:\/\/.*server/);
    expect(facts?.peer?.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(facts?.peer?.serial).toMatch(/^[0-9a-f]+$/);
    expect(facts?.peer?.validToMs).toBeGreaterThan(Date.now());
    expect(facts?.peer?.pem).toMatch(/^-----BEGIN CERTIFICATE-----/);
  });

  it('has the session id where TLS has one', async () => {
    const facts = await factsOf('TLSv1.2');
    expect(facts?.version).toBe('TLSv1.2');
    expect(facts?.sessionId).toMatch(/^[0-9a-f]{64}$/);
  });

  it('is nothing without TLS', () => {
    expect(tlsFactsOf({ tls: undefined } as DownstreamConnection)).toBeUndefined();
  });
});
