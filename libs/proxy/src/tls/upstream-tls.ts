import { isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect, type PeerCertificate as NodePeerCertificate, type TLSSocket } from 'node:tls';
import { type UpstreamTlsContext, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { SocketAddress, TlsInfo } from '../contract.ts';
import { tlsInfoOf } from './downstream-tls.ts';
import type { SecretStore } from './secret-store.ts';
import { TlsContext } from './tls-context.ts';

const SUPPORTED = { [UpstreamTlsContextSchema.typeName]: ['common_tls_context', 'sni', 'max_session_keys', 'allow_renegotiation'] };

/**
 * What a server's proxy is told by a client of the mesh that speaks HTTP/1.1, also where the cluster's port may speak anything.
 * Source: istio pilot/pkg/xds/filters/filters.go Alpn (1.32 dev).
 */
const MESH_HTTP_ALPN: readonly string[] = ['istio-http/1.1', 'istio', 'http/1.1'];

export interface UpstreamTlsOptions {
  readonly localAddress: string | undefined;
  readonly isHttp: boolean;
}

/** Starts TLS to upstreams. */
export class UpstreamTls {
  readonly context: TlsContext;
  readonly #sni: string;
  readonly #alpnProtocols: readonly string[];
  readonly #isMesh: boolean;

  /** Throws ConfigError. */
  constructor(message: UpstreamTlsContext, secrets: SecretStore) {
    refuseUnsupportedFields(UpstreamTlsContextSchema, message, { supported: SUPPORTED });
    if (message.allowRenegotiation) throw new ConfigError('allow_renegotiation', 'is not supported by this proxy; remove it');
    const common = message.commonTlsContext;
    if (common === undefined) throw new ConfigError('common_tls_context', 'is required');
    this.context = within('common_tls_context', () => new TlsContext(common, secrets));
    // The HTTP client has no HTTP/2 yet: a server must not choose it.
    this.#alpnProtocols = this.context.alpnProtocols.filter((protocol) => protocol !== 'h2' && protocol !== 'istio-h2');
    this.#isMesh = this.#alpnProtocols.includes('istio');
    this.#sni = message.sni;
  }

  /** Starts a connection; undefined while a secret is missing. The caller listens for 'secureConnect' and 'error'. */
  connect(address: SocketAddress, { localAddress, isHttp }: UpstreamTlsOptions): TLSSocket | undefined {
    const material = this.context.material();
    if (material === undefined) return undefined;
    const options: ConnectionOptions & { allowHalfOpen: boolean } = {
      ...(address.kind === 'pipe' ? { path: address.path } : { host: address.host, port: address.port, localAddress }),
      secureContext: material.secureContext,
      // Without roots Envoy verifies nothing: the context says so, not we.
      rejectUnauthorized: material.verifiesPeer,
      checkServerIdentity: (_host, certificate) => this.#checkNames(certificate),
      allowHalfOpen: true,
    };
    if (this.#sni !== '' && isIP(this.#sni) === 0) options.servername = this.#sni;
    const alpnProtocols = isHttp && this.#isMesh ? MESH_HTTP_ALPN : this.#alpnProtocols;
    if (alpnProtocols.length > 0) options.ALPNProtocols = [...alpnProtocols];
    return connect(options);
  }

  /** What a finished handshake told. */
  describe(socket: TLSSocket): TlsInfo {
    const material = this.context.material();
    return tlsInfoOf(socket, {
      localUriSan: material?.localUriSan ?? '',
      requestedServerName: this.#sni,
      isPeerVerified: material?.verifiesPeer ?? false,
    });
  }

  #checkNames(certificate: NodePeerCertificate): Error | undefined {
    if (this.context.acceptsNames({ subjectAltName: certificate.subjectaltname })) return undefined;
    // As Envoy's %UPSTREAM_TRANSPORT_FAILURE_REASON%.
    return Object.assign(new Error('verify SAN list'), { code: 'ERR_TLS_SAN' });
  }
}

export function isTlsSocket(socket: Socket): socket is TLSSocket {
  return 'encrypted' in socket && socket.encrypted === true;
}
