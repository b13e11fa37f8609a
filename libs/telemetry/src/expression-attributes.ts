import { formatFlags } from './response-flags.ts';
import type { PeerMetadata, StreamInfo } from './stream-info.ts';

export type ExpressionValue = string | number | boolean | undefined;

type Attribute = (info: StreamInfo) => ExpressionValue;

const present = (value: string): string | undefined => (value === '' ? undefined : value);
const pathOf = (info: StreamInfo): string => info.originalPath || info.path;
const hostOf = (address: string): string | undefined =>
  present(/^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(address)?.slice(1).join('') ?? address);
const portOf = (address: string): number | undefined => {
  const [, port] = /:(\d+)$/.exec(address) ?? [];
  return port === undefined ? undefined : Number(port);
};

// Source: envoy docs, "Attributes" (1.40).
const ATTRIBUTES: Readonly<Record<string, Attribute>> = {
  'request.path': (info) => present(pathOf(info)),
  'request.url_path': (info) => present(pathOf(info).split('?', 1)[0] as string),
  'request.query': (info) => pathOf(info).split('?')[1] ?? '',
  'request.host': (info) => present(info.authority),
  'request.scheme': (info) => present(info.scheme),
  'request.method': (info) => present(info.method),
  'request.referer': (info) => info.requestHeader('referer'),
  'request.useragent': (info) => info.requestHeader('user-agent'),
  'request.id': (info) => present(info.requestId) ?? info.requestHeader('x-request-id'),
  'request.protocol': (info) => present(info.protocol),
  'request.size': (info) => info.bytesReceived,
  'request.total_size': (info) => info.wireBytesReceived,
  'request.duration': (info) => Math.round(info.endMonotonicMs - info.startMonotonicMs),
  'response.code': (info) => (info.responseCode === 0 ? undefined : info.responseCode),
  'response.code_details': (info) => present(info.responseCodeDetails),
  'response.flags': (info) => formatFlags(info),
  'response.grpc_status': (info) => (info.grpcStatus === '' ? undefined : Number(info.grpcStatus)),
  'response.size': (info) => info.bytesSent,
  'response.total_size': (info) => info.wireBytesSent,
  'source.address': (info) => present(info.downstreamRemoteAddress),
  'source.ip': (info) => hostOf(info.downstreamRemoteAddress),
  'source.port': (info) => portOf(info.downstreamRemoteAddress),
  'destination.address': (info) => present(info.downstreamLocalAddress),
  'destination.ip': (info) => hostOf(info.downstreamLocalAddress),
  'destination.port': (info) => portOf(info.downstreamLocalAddress),
  'connection.id': (info) => info.connectionId,
  'connection.mtls': (info) => info.isDownstreamMtls,
  'connection.requested_server_name': (info) => present(info.requestedServerName),
  'connection.tls_version': (info) => info.downstreamTls?.()?.version,
  'connection.uri_san_peer_certificate': (info) => present(info.downstreamPeerUriSan),
  'connection.uri_san_local_certificate': (info) => present(info.downstreamLocalUriSan),
  'connection.subject_peer_certificate': (info) => info.downstreamTls?.()?.peer?.subject,
  'connection.termination_details': (info) => present(info.connectionTerminationDetails),
  'upstream.address': (info) => present(info.upstreamHost),
  'upstream.port': (info) => portOf(info.upstreamHost),
  'upstream.local_address': (info) => present(info.upstreamLocalAddress),
  'upstream.uri_san_peer_certificate': (info) => present(info.upstreamPeerUriSan),
  'upstream.uri_san_local_certificate': (info) => present(info.upstreamLocalUriSan),
  'upstream.transport_failure_reason': (info) => present(info.upstreamTransportFailureReason),
  'upstream.request_attempt_count': (info) => info.upstreamAttempts,
  'xds.cluster_name': (info) => present(info.upstreamCluster),
  'xds.route_name': (info) => present(info.routeName),
  'xds.virtual_host_name': (info) => present(info.virtualHostName),
};

// What Istio's proxies say of the other side. Source: istio/proxy extensions/common/metadata_object.cc (1.32).
const PEER_FIELDS: Readonly<Record<string, keyof PeerMetadata>> = {
  workload: 'workload',
  name: 'workload',
  namespace: 'namespace',
  cluster: 'clusterId',
  service: 'canonicalService',
  revision: 'canonicalRevision',
  app: 'app',
  version: 'version',
};

/** Reads an attribute by its path. Throws for one that this proxy does not know. */
export function attributeOf(path: readonly string[]): Attribute {
  const name = path.join('.');
  const plain = ATTRIBUTES[name];
  if (plain !== undefined) return plain;
  const [first = '', second = '', third = ''] = path;
  if (path.length === 3 && second === 'headers') {
    const header = third.toLowerCase();
    if (first === 'request') return (info) => info.requestHeader(header);
    if (first === 'response') return (info) => info.responseHeader(header);
  }
  if (path.length === 3 && first === 'response' && second === 'trailers') return (info) => info.responseTrailer(third.toLowerCase());
  if (first === 'metadata' && second === 'filter_metadata' && path.length >= 4) return metadata(path.slice(2));
  const field = PEER_FIELDS[path.at(-1) ?? ''];
  const isPeer = ['upstream_peer', 'downstream_peer'].includes(first === 'filter_state' ? second : first);
  if (isPeer && field !== undefined && path.length === (first === 'filter_state' ? 3 : 2)) return (info) => info.peer?.[field];
  throw new Error(`${name} is not an attribute that this proxy knows`);
}

function metadata([namespace = '', ...keys]: readonly string[]): Attribute {
  return (info) => {
    let value: unknown = info.dynamicMetadata?.get(namespace);
    for (const key of keys) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
      value = (value as Record<string, unknown>)[key];
    }
    if (value === undefined || value === null) return undefined;
    return typeof value === 'object' ? JSON.stringify(value) : (value as ExpressionValue);
  };
}
