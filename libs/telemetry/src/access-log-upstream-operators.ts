import type { Operator, OperatorValue } from './access-log-operators.ts';
import type { AttemptedHost, CertificateFacts, MetadataSource, StreamInfo, TlsFacts, UpstreamFacts } from './stream-info.ts';

const upstream =
  (read: (facts: UpstreamFacts) => OperatorValue): Operator =>
  (info) => {
    const facts = info.upstream?.();
    return facts === undefined ? undefined : read(facts);
  };

/** A count that is 0 where nothing went upstream. */
const bytes =
  (read: (facts: UpstreamFacts) => number): Operator =>
  (info) => {
    const facts = info.upstream?.();
    return facts === undefined ? 0 : read(facts);
  };

const tls = (read: (facts: TlsFacts) => string | undefined): Operator =>
  upstream((facts) => {
    const found = facts.tls();
    return found === undefined ? undefined : read(found);
  });

const peer = (read: (facts: CertificateFacts) => string): Operator =>
  tls((facts) => (facts.peer === undefined ? undefined : read(facts.peer)));

const local = (read: (facts: CertificateFacts) => string): Operator =>
  tls((facts) => (facts.local === undefined ? undefined : read(facts.local)));

const attempted = (read: (host: AttemptedHost) => string): Operator =>
  upstream((facts) => facts.attempted.map((host) => read(host)).join(','));

/** Without `:port`, be the host a name or an address. */
export function withoutPort(address: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(address);
  return match?.[1] ?? match?.[2] ?? address;
}

// Hosts without a name are printed by their address. Source: envoy StreamInfo formatter, UPSTREAM_HOST_NAME (1.40).
const nameOf = ({ hostname, address }: AttemptedHost): string => hostname || address;

const hostName = (info: StreamInfo): string | undefined => {
  const facts = info.upstream?.();
  return facts === undefined ? undefined : facts.hostname || info.upstreamHost;
};

/** Operators that print what is known of the upstream's side. Source: envoy docs, "Access logging" (1.40). */
export const UPSTREAM_OPERATORS: Readonly<Record<string, Operator>> = {
  UPSTREAM_PROTOCOL: upstream((facts) => facts.protocol),
  UPSTREAM_WIRE_BYTES_SENT: bytes((facts) => facts.sentWireBytes),
  UPSTREAM_WIRE_BYTES_RECEIVED: bytes((facts) => facts.receivedWireBytes),
  UPSTREAM_HEADER_BYTES_SENT: bytes((facts) => facts.sentHeaderBytes),
  UPSTREAM_HEADER_BYTES_RECEIVED: bytes((facts) => facts.receivedHeaderBytes),
  UPSTREAM_HOST_NAME: hostName,
  UPSTREAM_HOST_NAME_WITHOUT_PORT: (info) => {
    const name = hostName(info);
    return name === undefined ? undefined : withoutPort(name);
  },
  UPSTREAM_HOSTS_ATTEMPTED: attempted(({ address }) => address),
  UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT: attempted(({ address }) => withoutPort(address)),
  UPSTREAM_HOST_NAMES_ATTEMPTED: attempted(nameOf),
  UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT: attempted((host) => withoutPort(nameOf(host))),
  UPSTREAM_CONNECTION_ID: (info) => info.upstream?.()?.connectionIds.at(-1) ?? 0,
  UPSTREAM_CONNECTION_IDS_ATTEMPTED: upstream((facts) => facts.connectionIds.join(',')),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: (info) => {
    const facts = info.upstream?.();
    const readyMs = info.upstreamRequestSentMs || facts?.connectedMs;
    return facts === undefined || !readyMs ? undefined : Math.max(0, Math.round(readyMs - facts.requestedMs));
  },
  UPSTREAM_SERVER_NAME: upstream((facts) => facts.serverName()),
  UPSTREAM_TLS_VERSION: tls((facts) => facts.version),
  UPSTREAM_TLS_CIPHER: tls((facts) => facts.cipher),
  UPSTREAM_TLS_SESSION_ID: tls((facts) => facts.sessionId),
  UPSTREAM_TLS_GROUP: tls((facts) => facts.group),
  UPSTREAM_PEER_SUBJECT: peer((facts) => facts.subject),
  UPSTREAM_PEER_ISSUER: peer((facts) => facts.issuer),
  UPSTREAM_PEER_CERT: peer((facts) => encodeURIComponent(facts.pem)),
  UPSTREAM_PEER_CERT_V_START: peer((facts) => new Date(facts.validFromMs).toISOString()),
  UPSTREAM_PEER_CERT_V_END: peer((facts) => new Date(facts.validToMs).toISOString()),
  UPSTREAM_PEER_DNS_SAN: peer((facts) => facts.dnsSans.join(',')),
  UPSTREAM_PEER_IP_SAN: peer((facts) => facts.ipSans.join(',')),
  UPSTREAM_LOCAL_DNS_SAN: local((facts) => facts.dnsSans.join(',')),
  UPSTREAM_LOCAL_IP_SAN: local((facts) => facts.ipSans.join(',')),
};

/** Times of the upstream's certificate, for which a format can be given. */
export const UPSTREAM_TIME_OPERATORS: Readonly<Record<string, (info: StreamInfo) => number | undefined>> = {
  UPSTREAM_PEER_CERT_V_START: (info) => info.upstream?.()?.tls()?.peer?.validFromMs,
  UPSTREAM_PEER_CERT_V_END: (info) => info.upstream?.()?.tls()?.peer?.validToMs,
};

/** Points in time of the upstream's side for COMMON_DURATION, in monotonic milliseconds. */
export const UPSTREAM_TIME_POINTS: Readonly<Record<string, (info: StreamInfo) => number>> = {
  US_CX_BEG: (info) => info.upstream?.()?.connectStartMs ?? 0,
  US_CX_END: (info) => info.upstream?.()?.connectedMs ?? 0,
  US_HS_END: (info) => info.upstream?.()?.securedMs ?? 0,
  US_TX_BEG: (info) => info.upstreamRequestSentMs,
  // The head goes when there is a connection, the rest as it comes.
  US_TX_END: (info) => (info.upstreamRequestSentMs === 0 ? 0 : Math.max(info.upstreamRequestSentMs, info.requestEndMs ?? 0)),
  US_RX_BEG: (info) => info.upstreamResponseStartMs,
  US_RX_END: (info) => info.upstream?.()?.responseEndMs ?? 0,
};

const SOURCES: Readonly<Record<string, MetadataSource>> = {
  ROUTE: 'route',
  VIRTUAL_HOST: 'virtual-host',
  CLUSTER: 'cluster',
  UPSTREAM_HOST: 'endpoint',
  LISTENER: 'listener',
};

const dynamicMetadata = metadataOperator((info, namespace) => info.dynamicMetadata?.get(namespace));

/** Operators that print metadata, by `namespace:key:key`: that of the configuration, and what filters found out. */
export const METADATA_OPERATORS: Readonly<Record<string, (argument: string) => Operator>> = {
  DYNAMIC_METADATA: dynamicMetadata,
  CLUSTER_METADATA: configured('cluster'),
  UPSTREAM_METADATA: configured('endpoint'),
  METADATA: (argument) => {
    const [kind = '', ...rest] = argument.split(':');
    const path = rest.join(':');
    if (kind === 'DYNAMIC') return dynamicMetadata(path);
    const source = SOURCES[kind];
    if (source === undefined)
      throw new Error(
        `${kind === '' ? 'needs the kind of metadata' : `${kind} metadata is not kept by this proxy`}; use DYNAMIC or one of ${Object.keys(SOURCES).join(', ')}`,
      );
    return configured(source)(path);
  },
};

function configured(source: MetadataSource): (argument: string) => Operator {
  return metadataOperator((info, namespace) => info.configuredMetadata?.(source, namespace));
}

/** `namespace:key:key`; an object is printed as JSON, and stays one in JSON logs. */
function metadataOperator(read: (info: StreamInfo, namespace: string) => object | undefined): (argument: string) => Operator {
  return (argument) => {
    const [namespace = '', ...keys] = argument.split(':');
    if (namespace === '') throw new Error('needs the namespace of the metadata');
    return (info) => {
      let value: unknown = read(info, namespace);
      for (const key of keys) {
        if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
        value = (value as Record<string, unknown>)[key];
      }
      return value === null ? undefined : (value as OperatorValue);
    };
  };
}
