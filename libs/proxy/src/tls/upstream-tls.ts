import { connect, isIP, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { type UpstreamTlsContext, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { ConnectionNeeds, SocketAddress, TlsInfo } from '../contract.ts';
import { type CertificateFacts, describePeer, peerCertificate } from './peer-certificate.ts';
import { demandsProof, type VerificationFailure, verifyPeer } from './peer-verification.ts';
import type { SecretStore } from './secret-store.ts';
import { TlsContext, type TlsMaterial } from './tls-context.ts';

const SUPPORTED = { [UpstreamTlsContextSchema.typeName]: ['common_tls_context', 'sni', 'max_session_keys', 'allow_renegotiation'] };

/**
 * What a server's proxy is told by a client of the mesh that speaks HTTP, also where the cluster's port may speak anything.
 * Source: istio pilot/pkg/xds/filters/filters.go Alpn (1.32 dev).
 */
const MESH_ALPN: Readonly<Record<string, readonly string[]>> = {
  'http/1.1': ['istio-http/1.1', 'istio', 'http/1.1'],
  h2: ['istio-h2', 'istio', 'h2'],
  'h2,http/1.1': ['istio-h2', 'istio-http/1.1', 'istio', 'h2', 'http/1.1'],
};

export interface UpstreamTlsOptions {
  readonly localAddress: string | undefined;
  /** The versions of HTTP that will be spoken, or undefined for bytes of any kind. */
  readonly alpn: readonly string[] | undefined;
  /** Sent in the clear before the handshake, a PROXY header; asked once the socket is connected. */
  readonly firstBytes?: ((socket: Socket) => Buffer) | undefined;
  /** What the request that it is made for asks of it. */
  readonly needs?: ConnectionNeeds | undefined;
}

/** Starts TLS to upstreams. */
export class UpstreamTls {
  readonly context: TlsContext;
  readonly #sni: string;
  readonly #isMesh: boolean;
  /** Certificates that were verified, until their connections are gone. */
  readonly #proven = new WeakMap<TLSSocket, CertificateFacts>();

  /** Throws ConfigError. */
  constructor(message: UpstreamTlsContext, secrets: SecretStore) {
    refuseUnsupportedFields(UpstreamTlsContextSchema, message, { supported: SUPPORTED });
    if (message.allowRenegotiation) throw new ConfigError('allow_renegotiation', 'is not supported by this proxy; remove it');
    const common = message.commonTlsContext;
    if (common === undefined) throw new ConfigError('common_tls_context', 'is required');
    this.context = within('common_tls_context', () => new TlsContext(common, secrets));
    this.#isMesh = this.context.alpnProtocols.includes('istio');
    this.#sni = message.sni;
  }

  /**
   * Starts a connection; undefined while a secret is missing. The caller listens for 'secureConnect', which comes once the server's certificate
   * is verified, and for 'error'.
   */
  connect(address: SocketAddress, { localAddress, alpn, firstBytes, needs }: UpstreamTlsOptions): TLSSocket | undefined {
    const material = this.context.material();
    if (material === undefined) return undefined;
    const alpnProtocols = needs?.alpn ?? this.#alpn(alpn);
    const target = address.kind === 'pipe' ? { path: address.path } : { host: address.host, port: address.port };
    const from = { ...target, ...(localAddress === undefined ? undefined : { localAddress }), noDelay: true };
    const clear = firstBytes === undefined ? undefined : connect({ ...from, allowHalfOpen: true });
    // Before TLS listens for the same event, and so before it begins.
    if (firstBytes !== undefined) clear?.once('connect', () => clear.write(firstBytes(clear)));
    // `tls.connect` would make an object of the whole chain and its texts for each connection, and verifies only what has roots.
    const socket = new TLSSocket(clear as Socket, {
      secureContext: material.secureContext,
      rejectUnauthorized: false,
      ...(alpnProtocols.length === 0 ? undefined : { ALPNProtocols: [...alpnProtocols] }),
      ...{ allowHalfOpen: true },
    }) as StartableSocket;
    socket._releaseControl();
    const serverName = needs?.serverName ?? this.#sni;
    if (serverName !== '' && isIP(serverName) === 0) socket.setServername(serverName);
    // With half-open connections, the end of a server that goes closes nothing by itself.
    const onEnd = (): unknown => socket.destroy(failure('the server closed the connection during the handshake', 'ECONNRESET'));
    socket.once('end', onEnd);
    socket.once('secure', () => {
      socket.removeListener('end', onEnd);
      this.#verify(socket, material, needs?.subjectAltNames);
    });
    if (clear === undefined) socket.connect(from, () => socket._start());
    else socket._start();
    return socket;
  }

  /** What the context says comes first, the versions of HTTP only where it says nothing. Source: envoy ClientContextImpl::newSsl (1.40). */
  #alpn(versions: readonly string[] | undefined): readonly string[] {
    const { alpnProtocols } = this.context;
    if (versions === undefined) return alpnProtocols;
    if (this.#isMesh) return MESH_ALPN[versions.join()] ?? alpnProtocols;
    if (alpnProtocols.length === 0) return versions;
    // A server must not choose what will not be spoken.
    return versions.includes('h2') ? alpnProtocols : alpnProtocols.filter((protocol) => protocol !== 'h2');
  }

  /** What a finished handshake told. */
  describe(socket: TLSSocket): TlsInfo {
    const certificate = this.#proven.get(socket);
    return {
      requestedServerName: this.#sni,
      alpn: typeof socket.alpnProtocol === 'string' ? socket.alpnProtocol : '',
      peer: certificate === undefined ? undefined : describePeer(certificate, socket),
      localUriSan: this.context.material()?.localUriSan ?? '',
    };
  }

  /** `names`: one of them must be in the certificate, besides what the context says. */
  #verify(socket: TLSSocket, material: TlsMaterial, names: readonly string[] | undefined): void {
    const rules = this.context.peerRules;
    // Without any of both Envoy verifies nothing: the context says so, not we.
    if (material.verifiesPeer || demandsProof(rules) || names !== undefined) {
      const certificate = peerCertificate(socket);
      const verdict =
        certificate === undefined
          ? ({ counter: 'failVerifyNoCert', reason: 'the server showed no certificate' } as const)
          : verifyPeer(socket, certificate, { rules, hasRoots: material.verifiesPeer, names });
      if (verdict === undefined && certificate !== undefined) this.#proven.set(socket, certificate);
      else if (verdict !== undefined && !rules.acceptsUntrusted) {
        // The code stands in %UPSTREAM_TRANSPORT_FAILURE_REASON%.
        socket.destroy(failure(verdict.reason, CODES[verdict.counter] ?? verdict.reason));
        return;
      }
    }
    socket.emit('secureConnect');
  }
}

/** What `tls.connect` calls on the socket that it makes. */
interface StartableSocket extends TLSSocket {
  _releaseControl(): void;
  _start(): void;
  setServername(name: string): void;
}

const CODES: Readonly<Partial<Record<VerificationFailure['counter'], string>>> = {
  failVerifySan: 'ERR_TLS_SAN',
  failVerifyCertHash: 'ERR_TLS_CERTIFICATE_HASH',
  failVerifyNoCert: 'ERR_TLS_NO_CERTIFICATE',
};

function failure(message: string, code: string): Error {
  return Object.assign(new Error(message), { code });
}

export function isTlsSocket(socket: Socket): socket is TLSSocket {
  return 'encrypted' in socket && socket.encrypted === true;
}
