import { constants } from 'node:crypto';
import { DEFAULT_CIPHERS, type SecureContextOptions, type SecureVersion } from 'node:tls';
import {
  type TlsParameters,
  TlsParameters_TlsProtocol as TlsProtocol,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { ConfigError } from '../config/config-error.ts';

const VERSIONS: Readonly<Record<number, SecureVersion>> = {
  [TlsProtocol.TLSv1_0]: 'TLSv1',
  [TlsProtocol.TLSv1_1]: 'TLSv1.1',
  [TlsProtocol.TLSv1_2]: 'TLSv1.2',
  [TlsProtocol.TLSv1_3]: 'TLSv1.3',
};

// TLS 1.3's suites are not configurable in Envoy; OpenSSL wants them in the same list. In the order in which Envoy offers them: what a client
// names first is taken, and the shorter key and hash cost less.
const SUITES_1_3 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
const DEFAULT_SUITES_1_2 = DEFAULT_CIPHERS.split(':').filter((suite) => !suite.startsWith('TLS_'));

// Envoy's. OpenSSL's own list begins with a hybrid of ML-KEM, which costs a server several times as much.
const DEFAULT_CURVES = 'X25519:P-256';

/** Versions, suites, curves and signatures as OpenSSL takes them. Throws ConfigError with a path below `tls_params`. */
export function compileTlsParameters(given: TlsParameters | undefined): SecureContextOptions {
  // Envoy's defaults for both directions: 1.2 to 1.3. Source: envoy docs, TlsParameters (1.40).
  const minVersion = VERSIONS[given?.tlsMinimumProtocolVersion ?? 0] ?? 'TLSv1.2';
  const maxVersion = VERSIONS[given?.tlsMaximumProtocolVersion ?? 0] ?? 'TLSv1.3';
  if (minVersion > maxVersion)
    throw new ConfigError('tls_maximum_protocol_version', `${maxVersion} is below tls_minimum_protocol_version ${minVersion}`);
  const suites = given?.cipherSuites.flatMap((suite) => suite.replace(/^\[|\]$/g, '').split('|')) ?? [];
  return {
    // No renegotiation, as in Envoy: one client could ask a TLS 1.2 connection for handshake after handshake.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    minVersion,
    maxVersion,
    ciphers: [...SUITES_1_3, ...(suites.length === 0 ? DEFAULT_SUITES_1_2 : suites)].join(':'),
    ecdhCurve: given === undefined || given.ecdhCurves.length === 0 ? DEFAULT_CURVES : given.ecdhCurves.join(':'),
    ...(given === undefined || given.signatureAlgorithms.length === 0 ? undefined : { sigalgs: given.signatureAlgorithms.join(':') }),
  };
}
