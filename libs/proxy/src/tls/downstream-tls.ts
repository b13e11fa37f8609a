import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
import { type Clock, errorCode, errorMessage } from '@mizzen/core';
import { type DownstreamTlsContext, DownstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { TlsInfo } from '../contract.ts';
import type { SecretStore } from './secret-store.ts';
import { describePeer } from './subject-alt-names.ts';
import { TlsContext, type TlsMaterial } from './tls-context.ts';

/** Counters of a listener's TLS, under Envoy's names (`listener.<address>.ssl.*`). */
export interface TlsStats {
  handshake: number;
  connectionError: number;
  failVerifyNoCert: number;
  failVerifyError: number;
  failVerifySan: number;
}

const SUPPORTED = {
  [DownstreamTlsContextSchema.typeName]: [
    'common_tls_context',
    'require_client_certificate',
    'disable_stateless_session_resumption',
    'disable_stateful_session_resumption',
    'session_timeout',
    'ocsp_staple_policy',
  ],
};

/** Ends the TLS of downstream connections. */
export class DownstreamTls {
  readonly context: TlsContext;
  readonly #requiresClientCertificate: boolean;
  readonly #alpnProtocols: readonly string[];

  /** `speaks` tells which of the ALPN protocols whoever owns the connections understands. Throws ConfigError. */
  constructor(message: DownstreamTlsContext, secrets: SecretStore, speaks: (protocol: string) => boolean = () => true) {
    refuseUnsupportedFields(DownstreamTlsContextSchema, message, { supported: SUPPORTED });
    if (message.commonTlsContext === undefined) throw new ConfigError('common_tls_context', 'is required');
    const common = message.commonTlsContext;
    this.context = within('common_tls_context', () => new TlsContext(common, secrets));
    if (common.tlsCertificates.length === 0 && common.tlsCertificateSdsSecretConfigs.length === 0) {
      throw new ConfigError('common_tls_context', 'needs a certificate: tls_certificates or tls_certificate_sds_secret_configs');
    }
    this.#alpnProtocols = this.context.alpnProtocols.filter(speaks);
    this.#requiresClientCertificate = message.requireClientCertificate ?? false;
  }

  /**
   * Runs the handshake on a paused socket (what was peeked is back in it). `onSecure` gets the paused TLS socket; a failure destroys the
   * connection, counts, and calls `onFailed`.
   */
  accept(socket: Socket, options: AcceptOptions): void {
    const material = this.#usableMaterial();
    if (material === undefined) {
      options.stats.connectionError++;
      socket.destroy();
      options.onFailed('no certificate has arrived yet');
      return;
    }
    const tlsSocket = new TLSSocket(socket, this.#socketOptions(material, options.clientAlpn));
    // Keeps what comes right behind the handshake in the socket until the owner reads.
    tlsSocket.pause();
    let isSettled = false;
    const settle = (failure?: string): void => {
      if (isSettled) return;
      isSettled = true;
      timer.cancel();
      tlsSocket.removeListener('end', onClose);
      tlsSocket.removeListener('error', onError);
      tlsSocket.removeListener('close', onClose);
      if (failure === undefined) return;
      tlsSocket.on('error', () => {});
      tlsSocket.destroy();
      options.onFailed(failure);
    };
    const onError = (thrown: unknown): void => {
      options.stats.connectionError++;
      settle(errorCode(thrown) || errorMessage(thrown));
    };
    const onClose = (): void => settle('closed during the handshake');
    const timer = options.clock.after(options.timeoutMs, () => settle('handshake timeout'));
    // With half-open connections, the end of a client that goes closes nothing by itself.
    tlsSocket.once('end', onClose);
    tlsSocket.on('error', onError);
    tlsSocket.on('close', onClose);
    tlsSocket.once('secure', () => {
      const failure = this.#verify(tlsSocket, material, options.stats);
      settle(failure);
      if (failure !== undefined) return;
      options.stats.handshake++;
      options.onSecure(
        tlsSocket,
        tlsInfoOf(tlsSocket, {
          localUriSan: material.localUriSan,
          requestedServerName: serverNameOf(tlsSocket),
          isPeerVerified: material.verifiesPeer,
        }),
      );
    });
  }

  // A secret may have arrived broken: the listener refuses connections and others keep working.
  #usableMaterial(): TlsMaterial | undefined {
    try {
      return this.context.material();
    } catch {
      return undefined;
    }
  }

  #socketOptions(material: TlsMaterial, clientAlpn: readonly string[]): TLSSocketOptions {
    const options: TLSSocketOptions & { allowHalfOpen?: boolean } = {
      isServer: true,
      secureContext: material.secureContext,
      requestCert: material.verifiesPeer,
      rejectUnauthorized: this.#requiresClientCertificate,
      allowHalfOpen: true,
    };
    // OpenSSL ends a handshake in which nothing is common; Envoy goes on without ALPN, so that `istio` may stand for mTLS alone.
    const isCommon = this.#alpnProtocols.some((protocol) => clientAlpn.includes(protocol));
    if (isCommon) options.ALPNProtocols = [...this.#alpnProtocols];
    return options;
  }

  #verify(socket: TLSSocket, material: TlsMaterial, stats: TlsStats): string | undefined {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) {
      if (!this.#requiresClientCertificate) return undefined;
      stats.failVerifyNoCert++;
      return 'no client certificate';
    }
    if (!material.verifiesPeer) return undefined;
    const chainError = verifyError(socket);
    if (chainError !== undefined) {
      stats.failVerifyError++;
      return `client certificate: ${chainError}`;
    }
    if (this.context.acceptsNames(certificate)) return undefined;
    stats.failVerifySan++;
    return 'client certificate: no subject alternative name matches';
  }
}

export interface AcceptOptions {
  /** ALPN of the ClientHello, as the TLS inspector read it. */
  readonly clientAlpn: readonly string[];
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly stats: TlsStats;
  readonly onSecure: (socket: TLSSocket, info: TlsInfo) => void;
  readonly onFailed: (reason: string) => void;
}

/**
 * What OpenSSL found when it verified the peer's chain, or undefined when it is fine. `tls.Server` asks the same handle; a TLSSocket of one's
 * own has no public way. Fails closed where Node no longer has it.
 */
function verifyError(socket: TLSSocket): string | undefined {
  const handle = (
    socket as unknown as {
      readonly _handle?: { verifyError?: () => { readonly code?: string; readonly message: string } | null | undefined };
    }
  )._handle;
  if (handle?.verifyError === undefined) return 'cannot be verified';
  const error = handle.verifyError();
  return error ? (error.code ?? error.message) : undefined;
}

function serverNameOf(socket: TLSSocket): string {
  const name = (socket as unknown as { readonly servername?: string | false | null }).servername;
  return typeof name === 'string' ? name : '';
}

/** `peer` is what was proven: without a verification there is none, whatever certificate was shown. */
export function tlsInfoOf(
  socket: TLSSocket,
  own: { readonly localUriSan: string; readonly requestedServerName: string; readonly isPeerVerified: boolean },
): TlsInfo {
  const certificate = own.isPeerVerified ? socket.getPeerX509Certificate() : undefined;
  return {
    requestedServerName: own.requestedServerName,
    alpn: typeof socket.alpnProtocol === 'string' ? socket.alpnProtocol : '',
    peer: certificate === undefined ? undefined : describePeer(certificate),
    localUriSan: own.localUriSan,
  };
}
