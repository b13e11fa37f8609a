import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls';
import { ChannelCredentials, credentials } from '@grpc/grpc-js';
import { splitHostPort } from '@mizzen/core';
import type { SpiffeId } from './spiffe-id.ts';
import { spiffeIdOf } from './subject-alt-names.ts';
import type { Svid } from './svid.ts';

/** gRPC channel credentials that present an SVID and accept only the server of identity `serverSpiffeId`, whatever its host name. */
export function createMtlsChannelCredentials(svid: Svid, serverSpiffeId: SpiffeId): ChannelCredentials {
  const context = createSecureContext({
    cert: svid.certChainPem,
    key: svid.privateKeyPem.reveal(),
    ca: svid.trustBundlePem,
    minVersion: 'TLSv1.2',
  });
  return createTlsChannelCredentials(context, (peer) => {
    const proven = peer.raw ? spiffeIdOf(new X509Certificate(peer.raw)) : undefined;
    return proven === serverSpiffeId ? undefined : new Error(`the server proved to be ${proven ?? 'nobody'}, not ${serverSpiffeId}`);
  });
}

/** Credentials of which `checkPeer` alone decides, after the chain was verified, whether the server is the right one. */
export function createTlsChannelCredentials(
  context: SecureContext,
  checkPeer: (peer: PeerCertificate) => Error | undefined,
): ChannelCredentials {
  return new NamedTlsCredentials(credentials.createFromSecureContext(context, { checkServerIdentity: (_, peer) => checkPeer(peer) }));
}

// RFC 6066 §3 forbids an IP address as server name and Node warns of it, but grpc-js sends the host of the address, whatever it is.
const NAME_INSTEAD_OF_IP = 'mizzen.invalid';
type SecureConnectorArguments = Parameters<ChannelCredentials['_createSecureConnector']>;

class NamedTlsCredentials extends ChannelCredentials {
  readonly #inner: ChannelCredentials;

  constructor(inner: ChannelCredentials) {
    super();
    this.#inner = inner;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    ...[target, options, callCredentials]: SecureConnectorArguments
  ): ReturnType<ChannelCredentials['_createSecureConnector']> {
    const { host } = splitHostPort(target.path) ?? { host: target.path };
    const named = isIP(host) === 0 ? options : { ...options, 'grpc.ssl_target_name_override': NAME_INSTEAD_OF_IP };
    return this.#inner._createSecureConnector(target, named, callCredentials);
  }
}
