import type { CertificateFacts, StreamInfo, TlsFacts } from './stream-info.ts';

type TextOperator = (info: StreamInfo) => string | undefined;

const tls =
  (read: (facts: TlsFacts) => string): TextOperator =>
  (info) => {
    const facts = info.downstreamTls?.();
    return facts === undefined ? undefined : read(facts);
  };

const certificate =
  (side: 'peer' | 'local', read: (facts: CertificateFacts) => string): TextOperator =>
  (info) => {
    const facts = info.downstreamTls?.()?.[side];
    return facts === undefined ? undefined : read(facts);
  };

const peer = (read: (facts: CertificateFacts) => string): TextOperator => certificate('peer', read);
const local = (read: (facts: CertificateFacts) => string): TextOperator => certificate('local', read);

/** Operators that print what is known of the downstream's TLS. Source: envoy docs, "Access logging" (1.40). */
export const TLS_OPERATORS: Readonly<Record<string, TextOperator>> = {
  DOWNSTREAM_TLS_VERSION: tls((facts) => facts.version),
  DOWNSTREAM_TLS_CIPHER: tls((facts) => facts.cipher),
  DOWNSTREAM_TLS_SESSION_ID: tls((facts) => facts.sessionId),
  DOWNSTREAM_PEER_SUBJECT: peer((facts) => facts.subject),
  DOWNSTREAM_PEER_ISSUER: peer((facts) => facts.issuer),
  DOWNSTREAM_PEER_SERIAL: peer((facts) => facts.serial),
  DOWNSTREAM_PEER_FINGERPRINT_256: peer((facts) => facts.sha256),
  DOWNSTREAM_PEER_FINGERPRINT_1: peer((facts) => facts.sha1),
  DOWNSTREAM_PEER_DNS_SAN: peer((facts) => facts.dnsSans.join(',')),
  DOWNSTREAM_PEER_IP_SAN: peer((facts) => facts.ipSans.join(',')),
  DOWNSTREAM_PEER_EMAIL_SAN: peer((facts) => facts.emailSans.join(',')),
  DOWNSTREAM_PEER_CERT: peer((facts) => encodeURIComponent(facts.pem)),
  DOWNSTREAM_PEER_CERT_V_START: peer((facts) => new Date(facts.validFromMs).toISOString()),
  DOWNSTREAM_PEER_CERT_V_END: peer((facts) => new Date(facts.validToMs).toISOString()),
  DOWNSTREAM_LOCAL_SUBJECT: local((facts) => facts.subject),
  DOWNSTREAM_LOCAL_DNS_SAN: local((facts) => facts.dnsSans.join(',')),
  DOWNSTREAM_LOCAL_IP_SAN: local((facts) => facts.ipSans.join(',')),
  DOWNSTREAM_LOCAL_EMAIL_SAN: local((facts) => facts.emailSans.join(',')),
};

/** Times of certificates, for which a format can be given. */
export const TLS_TIME_OPERATORS: Readonly<Record<string, (info: StreamInfo) => number | undefined>> = {
  DOWNSTREAM_PEER_CERT_V_START: (info) => info.downstreamTls?.()?.peer?.validFromMs,
  DOWNSTREAM_PEER_CERT_V_END: (info) => info.downstreamTls?.()?.peer?.validToMs,
};
