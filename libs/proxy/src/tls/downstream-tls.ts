import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
import { type Clock, errorCode, errorMessage } from '@mizzen/core';
import {
  type DownstreamTlsContext,
  DownstreamTlsContextSchema,
  DownstreamTlsContext_OcspStaplePolicy as OcspStaplePolicy,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs, readDataSource } from '../config/values.ts';
import type { TlsInfo } from '../contract.ts';
import { Deadline, wheelOf } from '../http/timer-wheel.ts';
import { LISTENER_TLS_STATS } from '../observe/listener-stats.ts';
import { type Counts, zeroCounts } from '../observe/stat-registry.ts';
import { type CertificateFacts, describePeer, peerCertificate } from './peer-certificate.ts';
import { demandsProof, type VerificationFailure, verifyPeer } from './peer-verification.ts';
import type { SecretStore } from './secret-store.ts';
import { TlsContext, type TlsContextOptions, type TlsMaterial } from './tls-context.ts';

/** Counters of a listener's TLS (`listener.<address>.ssl.*`). */
export type TlsStats = Counts<typeof LISTENER_TLS_STATS> & {
  /** How often each version and suite was agreed on: `ssl.versions.TLSv1.3`. */
  readonly agreed: Map<string, number>;
};

export function createTlsStats(): TlsStats {
  return { ...zeroCounts(LISTENER_TLS_STATS), agreed: new Map() };
}

/** The reason that `onFailed` is told where a handshake took too long. */
export const HANDSHAKE_TIMEOUT = 'handshake timeout';

const SUPPORTED = {
  [DownstreamTlsContextSchema.typeName]: [
    'common_tls_context',
    'require_client_certificate',
    'session_ticket_keys',
    'disable_stateless_session_resumption',
    'disable_stateful_session_resumption',
    'session_timeout',
    'ocsp_staple_policy',
    'full_scan_certs_on_sni_mismatch',
  ],
};

/** Of a key as Envoy's: name, HMAC and cipher keys together. */
const TICKET_KEY_BYTES = 80;

/** Ends the TLS of downstream connections. */
export class DownstreamTls {
  readonly context: TlsContext;
  readonly #requiresClientCertificate: boolean;
  readonly #alpnProtocols: readonly string[];
  /** The same as a socket takes them, made once. */
  readonly #alpnWire: Buffer;

  /** Throws ConfigError. */
  constructor(message: DownstreamTlsContext, secrets: SecretStore) {
    refuseUnsupportedFields(DownstreamTlsContextSchema, message, { supported: SUPPORTED });
    if (message.ocspStaplePolicy !== OcspStaplePolicy.LENIENT_STAPLING)
      throw new ConfigError('ocsp_staple_policy', 'only LENIENT_STAPLING is supported by this proxy: it has no OCSP responses to staple');
    if (message.commonTlsContext === undefined) throw new ConfigError('common_tls_context', 'is required');
    const common = message.commonTlsContext;
    const options = { tickets: compileTickets(message), scansAllCertificates: message.fullScanCertsOnSniMismatch ?? false };
    this.context = within('common_tls_context', () => new TlsContext(common, secrets, options));
    if (common.tlsCertificates.length === 0 && common.tlsCertificateSdsSecretConfigs.length === 0) {
      throw new ConfigError('common_tls_context', 'needs a certificate: tls_certificates or tls_certificate_sds_secret_configs');
    }
    this.#alpnProtocols = this.context.alpnProtocols;
    this.#alpnWire = encodeAlpn(this.#alpnProtocols);
    this.#requiresClientCertificate = message.requireClientCertificate ?? false;
  }

  /** Whether a connection's ClientHello must be read before: what is offered depends on what the client offers or asks for. */
  get needsInspection(): boolean {
    return this.#alpnProtocols.length > 0 || this.context.hasSeveralCertificates;
  }

  /**
   * Runs the handshake on a paused socket (what was peeked is back in it). `onSecure` gets the paused TLS socket; a failure destroys the
   * connection, counts, and calls `onFailed`.
   */
  accept(socket: Socket, options: AcceptOptions): void {
    const material = this.#usableMaterial(options.serverName);
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
      deadline.cancel();
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
    const deadline = new Deadline(wheelOf(options.clock), () => settle(HANDSHAKE_TIMEOUT));
    deadline.arm(options.timeoutMs);
    // With half-open connections, the end of a client that goes closes nothing by itself.
    tlsSocket.once('end', onClose);
    tlsSocket.on('error', onError);
    tlsSocket.on('close', onClose);
    tlsSocket.once('secure', () => {
      const certificate = peerCertificate(tlsSocket);
      const verdict = this.#verify(tlsSocket, certificate, material);
      if (verdict.failure !== undefined) {
        options.stats[verdict.failure.counter]++;
        settle(`client certificate: ${verdict.failure.reason}`);
        return;
      }
      settle();
      countHandshake(options.stats, tlsSocket, certificate !== undefined);
      options.onSecure(tlsSocket, {
        requestedServerName: serverNameOf(tlsSocket),
        alpn: typeof tlsSocket.alpnProtocol === 'string' ? tlsSocket.alpnProtocol : '',
        peer: verdict.isProven && certificate !== undefined ? describePeer(certificate, tlsSocket) : undefined,
        localUriSan: material.localUriSan,
      });
    });
  }

  // A secret may have arrived broken: the listener refuses connections and others keep working.
  #usableMaterial(serverName: string): TlsMaterial | undefined {
    try {
      return this.context.material(serverName);
    } catch {
      return undefined;
    }
  }

  #socketOptions(material: TlsMaterial, clientAlpn: readonly string[]): TLSSocketOptions {
    const options: TLSSocketOptions & { allowHalfOpen?: boolean } = {
      isServer: true,
      secureContext: material.secureContext,
      requestCert: material.verifiesPeer || demandsProof(this.context.peerRules),
      // Who is let in is decided below, by what Envoy goes by.
      rejectUnauthorized: false,
      allowHalfOpen: true,
    };
    // OpenSSL ends a handshake in which nothing is common; Envoy goes on without ALPN, so that `istio` may stand for mTLS alone.
    if (this.#alpnProtocols.some((protocol) => clientAlpn.includes(protocol))) options.ALPNProtocols = this.#alpnWire;
    return options;
  }

  #verify(socket: TLSSocket, certificate: CertificateFacts | undefined, material: TlsMaterial): Verdict {
    if (certificate === undefined) {
      if (!this.#requiresClientCertificate) return { failure: undefined, isProven: false };
      return { failure: { counter: 'failVerifyNoCert', reason: 'there is none' }, isProven: false };
    }
    const rules = this.context.peerRules;
    if (!material.verifiesPeer && !demandsProof(rules)) return { failure: undefined, isProven: false };
    const failure = verifyPeer(socket, certificate, { rules, hasRoots: material.verifiesPeer });
    return failure !== undefined && rules.acceptsUntrusted
      ? { failure: undefined, isProven: false }
      : { failure, isProven: failure === undefined };
  }
}

interface Verdict {
  readonly failure: VerificationFailure | undefined;
  /** Whether the certificate is proof of who the peer is. */
  readonly isProven: boolean;
}

function compileTickets(message: DownstreamTlsContext): TlsContextOptions['tickets'] {
  const type = message.sessionTicketKeysType;
  if (type.case === 'disableStatelessSessionResumption' && type.value) return undefined;
  const lifetimeSeconds = message.sessionTimeout === undefined ? undefined : Math.floor(durationMs(message.sessionTimeout, 0) / 1000);
  if (type.case !== 'sessionTicketKeys') return { keys: undefined, lifetimeSeconds };
  const keys = type.value.keys.map((source, index) => {
    const path = `session_ticket_keys.keys[${index}]`;
    const key = readDataSource(source, path);
    if (key?.length !== TICKET_KEY_BYTES) throw new ConfigError(path, `must be ${TICKET_KEY_BYTES} bytes, not ${key?.length ?? 0}`);
    return key;
  });
  const [first] = keys;
  if (first === undefined) throw new ConfigError('session_ticket_keys.keys', 'needs a key');
  // OpenSSL's keys are shorter; proxies with the same key make the same one of it.
  return { keys: createHash('sha384').update(first).digest(), lifetimeSeconds };
}

/** Length-prefixed names. Source: RFC 7301 §3.1. */
function encodeAlpn(protocols: readonly string[]): Buffer {
  return Buffer.concat(protocols.map((protocol) => Buffer.from(`${String.fromCharCode(protocol.length)}${protocol}`, 'latin1')));
}

function countHandshake(stats: TlsStats, socket: TLSSocket, hasCertificate: boolean): void {
  stats.handshake++;
  if (!hasCertificate) stats.noCertificate++;
  if (socket.isSessionReused()) stats.sessionReused++;
  const { name, version } = socket.getCipher();
  for (const key of [`ssl.ciphers.${name}`, `ssl.versions.${version}`]) stats.agreed.set(key, (stats.agreed.get(key) ?? 0) + 1);
}

export interface AcceptOptions {
  /** SNI and ALPN of the ClientHello, as the TLS inspector read them. */
  readonly serverName: string;
  readonly clientAlpn: readonly string[];
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly stats: TlsStats;
  readonly onSecure: (socket: TLSSocket, info: TlsInfo) => void;
  readonly onFailed: (reason: string) => void;
}

function serverNameOf(socket: TLSSocket): string {
  const name = (socket as unknown as { readonly servername?: string | false | null }).servername;
  return typeof name === 'string' ? name : '';
}
