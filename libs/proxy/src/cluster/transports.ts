import { isIP } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { unpackAny } from '@mizzen/xds-api';
import type { Cluster } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { BindConfig } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { TransportSocket } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ProxyProtocolConfig_Version } from '@mizzen/xds-api/envoy/config/core/v3/proxy_protocol';
import { ProxyProtocolUpstreamTransportSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol';
import { UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { ProxyTlv } from '../contract.ts';
import type { ProxyProtocolVersion } from '../listener/proxy-protocol.ts';
import { passThroughTlvs } from '../listener/proxy-protocol-filter.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import { UpstreamTls } from '../tls/upstream-tls.ts';

/** What goes over a new connection before the request does. */
export interface Transport {
  /** undefined for plaintext. */
  readonly tls: UpstreamTls | undefined;
  /** A PROXY header is sent first; undefined for none. */
  readonly proxyHeader: ProxyHeaderRules | undefined;
}

export interface ProxyHeaderRules {
  readonly version: ProxyProtocolVersion;
  /** Which TLVs of the client's own header are passed on. */
  readonly passesTlv: (tlv: ProxyTlv) => boolean;
}

export const PLAINTEXT: Transport = { tls: undefined, proxyHeader: undefined };

/** How connections of an endpoint are made: the first whose labels the endpoint's metadata carries. */
export interface TransportMatch extends Transport {
  readonly name: string;
  readonly labels: Readonly<Record<string, unknown>>;
}

export interface Transports {
  readonly transportMatches: readonly TransportMatch[];
  readonly defaultTransport: Transport;
  readonly secretNames: readonly string[];
}

const NO_SECRETS: readonly string[] = [];
const NO_MATCHES: readonly TransportMatch[] = [];

export function compileTransports(message: Cluster, secrets: SecretStore): Transports {
  const transportMatches = message.transportSocketMatches.map(
    (match, index): TransportMatch => ({
      name: match.name,
      labels: (match.match ?? {}) as JsonObject,
      ...within(`transport_socket_matches[${index}].transport_socket`, () => compileTransportSocket(match.transportSocket, secrets)),
    }),
  );
  const defaultTransport = within('transport_socket', () => compileTransportSocket(message.transportSocket, secrets));
  const contexts = [defaultTransport, ...transportMatches].flatMap(({ tls }) => tls ?? []);
  return {
    transportMatches: transportMatches.length === 0 ? NO_MATCHES : transportMatches,
    defaultTransport,
    secretNames: contexts.length === 0 ? NO_SECRETS : [...new Set(contexts.flatMap((tls) => tls.context.secretNames))],
  };
}

const PLAIN_TRANSPORTS = [
  'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer',
  // Its only content is metadata to pass on; the connection stays inside the process.
  'envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport',
];

function compileTransportSocket(socket: TransportSocket | undefined, secrets: SecretStore): Transport {
  if (socket === undefined) return PLAINTEXT;
  const any = socket.configType.value;
  if (any === undefined) {
    if (socket.name === 'envoy.transport_sockets.raw_buffer') return PLAINTEXT;
    throw new ConfigError('typed_config', 'is required');
  }
  const typeName = any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
  if (PLAIN_TRANSPORTS.includes(typeName)) return PLAINTEXT;
  return within('typed_config', () => {
    const tls = unpackAny(any, UpstreamTlsContextSchema);
    if (tls !== undefined) return { tls: new UpstreamTls(tls, secrets), proxyHeader: undefined };
    const proxied = unpackAny(any, ProxyProtocolUpstreamTransportSchema);
    if (proxied === undefined) throw new ConfigError('', `${typeName} is not a transport socket that this proxy has`);
    refuseUnsupportedFields(ProxyProtocolUpstreamTransportSchema, proxied, { supported: PROXY_PROTOCOL_FIELDS });
    if (proxied.transportSocket === undefined) throw new ConfigError('transport_socket', 'is required');
    const inner = within('transport_socket', () => compileTransportSocket(proxied.transportSocket, secrets));
    if (inner.proxyHeader !== undefined) throw new ConfigError('transport_socket', 'a connection can have one PROXY header only');
    const version = proxied.config?.version === ProxyProtocolConfig_Version.V2 ? 'v2' : 'v1';
    return { ...inner, proxyHeader: { version, passesTlv: passThroughTlvs(proxied.config?.passThroughTlvs) } };
  });
}

const PROXY_PROTOCOL_FIELDS = {
  [ProxyProtocolUpstreamTransportSchema.typeName]: ['config', 'transport_socket'],
  'envoy.config.core.v3.ProxyProtocolConfig': ['version', 'pass_through_tlvs'],
};

/** Of several addresses the first of the upstream's family, as Envoy's DefaultUpstreamLocalAddressSelector chooses. */
export function compileSourceAddress(config: BindConfig | undefined): ((host: string) => string) | undefined {
  if (config === undefined) return undefined;
  const given = [config.sourceAddress, ...config.extraSourceAddresses.map(({ address }) => address)];
  const hosts = given.flatMap((address, index) => {
    const path = index === 0 ? 'upstream_bind_config.source_address' : `upstream_bind_config.extra_source_addresses[${index - 1}].address`;
    if (address === undefined) return [];
    if (isIP(address.address) === 0) throw new ConfigError(`${path}.address`, `"${address.address}" is not an IP address`);
    if (address.portSpecifier.case === 'portValue' && address.portSpecifier.value !== 0)
      throw new ConfigError(`${path}.port_value`, 'must be 0: all connections of the cluster would share one port');
    return [address.address];
  });
  const [first] = hosts;
  if (first === undefined) return undefined;
  return (host) => hosts.find((source) => source.includes(':') === host.includes(':')) ?? first;
}
