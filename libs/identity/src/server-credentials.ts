import { X509Certificate } from 'node:crypto';
import type { PeerCertificate, SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import type { Watchable } from '@mizzen/core';
import type { SpiffeId } from './spiffe-id.ts';
import { spiffeIdOf } from './subject-alt-names.ts';
import type { Svid } from './svid.ts';

/** What a server presents and whom it trusts. An `Svid` is made into one by `tlsIdentityOf`. */
export interface TlsIdentity {
  readonly certChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
}

export function tlsIdentityOf(svid: Svid): TlsIdentity {
  return { certChainPem: svid.certChainPem, privateKeyPem: svid.privateKeyPem.reveal(), trustBundlePem: svid.trustBundlePem };
}

/**
 * gRPC server credentials that follow an identity: new connections see the newest, streams that are open go on undisturbed.
 * `clientCertificate`: `required` refuses the handshake without a valid one; `optional` leaves it to `peerSpiffeId`, which is undefined then.
 * Connections are dropped while the identity is undefined. Ask for a new object per server; `stop` ends the watching.
 */
export function createServerCredentials(
  identity: Watchable<TlsIdentity | undefined>,
  options: { clientCertificate: 'required' | 'optional' },
): ServerCredentials & { stop(): void } {
  return new WatchingServerCredentials(identity, options.clientCertificate === 'required');
}

// grpc-js passes the first argument to http2.createSecureServer and every update to its setSecureContext.
class WatchingServerCredentials extends ServerCredentials {
  readonly stop: () => void;

  constructor(identity: Watchable<TlsIdentity | undefined>, isClientCertificateRequired: boolean) {
    super({ requestCert: true, rejectUnauthorized: isClientCertificateRequired, minVersion: 'TLSv1.2' }, contextOf(identity.value));
    this.stop = identity.watch((next) => this.updateSecureContextOptions(contextOf(next) ?? null));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function contextOf(identity: TlsIdentity | undefined): SecureContextOptions | undefined {
  return identity && { cert: identity.certChainPem, key: identity.privateKeyPem, ca: identity.trustBundlePem };
}

/**
 * The identity that the peer of a gRPC call proved, or undefined where it presented no certificate, one of another mesh, or an expired one.
 * A connection outlives its certificate; a call does not.
 */
export function peerSpiffeId(call: { getAuthContext(): { sslPeerCertificate?: PeerCertificate } }, now = Date.now()): SpiffeId | undefined {
  // grpc-js leaves the certificate out unless the handshake verified it against the trust bundle.
  const peer = call.getAuthContext().sslPeerCertificate;
  if (!peer?.raw) return undefined;
  const certificate = new X509Certificate(peer.raw);
  return now > Date.parse(certificate.validTo) ? undefined : spiffeIdOf(certificate);
}
