import { toBinary } from '@bufbuild/protobuf';
import { formatRejections, type RouteTable } from '@mizzen/matching';
import { decodePeerMetadata } from '@mizzen/telemetry';
import { unpackAny } from '@mizzen/xds-api';
import { type Filter, type FilterChain, FilterChainSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { TcpProxySchema } from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { DownstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { ConfigError, within } from '../config/config-error.ts';
import { durationMs } from '../config/values.ts';
import type { ListenerInfo, NetworkFilter, ProxyContext } from '../contract.ts';
import { createHttpConnectionManager } from '../http/connection-manager.ts';
import type { HcmStats } from '../http/hcm-stats.ts';
import type { ObserverFactory } from '../observe/stream-observers.ts';
import { createTcpProxy } from '../tcp/tcp-proxy.ts';
import { DownstreamTls } from '../tls/downstream-tls.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import { contentKey } from './listener-config.ts';

/** A filter chain, compiled: how its connections are secured and who owns them then. */
export interface LiveFilterChain {
  readonly name: string;
  /** Equal for two chains that would behave the same. */
  readonly key: string;
  readonly tls: DownstreamTls | undefined;
  readonly handshakeTimeoutMs: number;
  readonly filter: NetworkFilter;
  /** Route configuration that must have arrived by RDS, or undefined. */
  readonly routeConfigName: string | undefined;
  /** Counters of the HCM; undefined for TCP. */
  readonly httpStats: HcmStats | undefined;
}

export interface FilterChainContext {
  readonly listener: ListenerInfo;
  readonly proxy: ProxyContext;
  readonly secrets: SecretStore;
  readonly observers: ObserverFactory;
  readonly routeTables: { get(name: string): RouteTable | undefined };
}

// Istio's own default for tls handshakes is Envoy's transport_socket_connect_timeout of 15 s.
const DEFAULT_HANDSHAKE_TIMEOUT_MS = 15_000;

export function filterChainKey(message: FilterChain, envelopeKey: string): string {
  return `${envelopeKey}${contentKey([toBinary(FilterChainSchema, message)])}`;
}

/** Throws ConfigError. */
export function compileFilterChain(message: FilterChain, context: FilterChainContext & { readonly key: string }): LiveFilterChain {
  const terminal = within('filters', () => compileFilters(message.filters, context));
  return {
    name: message.name,
    key: context.key,
    tls: within('transport_socket', () =>
      compileTransport(message, context.secrets, terminal.httpStats === undefined ? () => true : speaksHttp1),
    ),
    handshakeTimeoutMs: durationMs(message.transportSocketConnectTimeout, DEFAULT_HANDSHAKE_TIMEOUT_MS),
    ...terminal,
  };
}

/** The connection manager has no HTTP/2 yet: a client that offers both must be given HTTP/1.1. */
function speaksHttp1(protocol: string): boolean {
  return protocol !== 'h2';
}

function compileTransport(message: FilterChain, secrets: SecretStore, speaks: (protocol: string) => boolean): DownstreamTls | undefined {
  const any = message.transportSocket?.configType.value;
  if (any === undefined || any.typeUrl.endsWith('/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer')) return undefined;
  const tls = within('typed_config', () => unpackAny(any, DownstreamTlsContextSchema));
  if (tls === undefined)
    throw new ConfigError('typed_config', `${any.typeUrl} is not a transport socket that this proxy has for downstream connections`);
  return within('typed_config', () => new DownstreamTls(tls, secrets, speaks));
}

const STATS_TYPES = ['stats.PluginConfig', 'envoy.extensions.filters.network.stats.v3.Stats'];

type Terminal = Pick<LiveFilterChain, 'filter' | 'routeConfigName' | 'httpStats'>;

function compileFilters(filters: readonly Filter[], context: FilterChainContext): Terminal {
  const terminal = filters.at(-1);
  if (terminal === undefined) throw new ConfigError('', 'a filter chain needs a filter');
  const hasIstioStats = filters.slice(0, -1).map((filter, index) => within(`[${index}]`, () => requireStats(filter))).length > 0;
  return within(`[${filters.length - 1}].typed_config`, () => compileTerminal(terminal, { ...context, hasIstioStats }));
}

// The only network filter beside the terminal ones.
function requireStats(filter: Filter): true {
  const typeUrl = filter.configType.value !== undefined && filter.configType.case === 'typedConfig' ? filter.configType.value.typeUrl : '';
  if (STATS_TYPES.includes(typeUrl.slice(typeUrl.lastIndexOf('/') + 1))) return true;
  throw new ConfigError(
    'typed_config',
    `${typeUrl || filter.name} is not a network filter that this proxy has, or it must be the last one`,
  );
}

function compileTerminal(filter: Filter, context: FilterChainContext & { readonly hasIstioStats: boolean }): Terminal {
  const any = filter.configType.case === 'typedConfig' ? filter.configType.value : undefined;
  const { listener, proxy, observers } = context;
  const manager = unpackAny(any, HttpConnectionManagerSchema);
  if (manager !== undefined) {
    const compiled = createHttpConnectionManager({
      message: manager,
      context: proxy,
      listener,
      observers: observers.forHttp(manager, listener),
      routeTables: context.routeTables,
      decodePeerMetadata,
    });
    if (compiled.filter === undefined) throw new ConfigError('', formatRejections(compiled.rejections));
    return { filter: compiled.filter, routeConfigName: compiled.routeConfigName, httpStats: compiled.filter.stats };
  }
  const tcp = unpackAny(any, TcpProxySchema);
  if (tcp !== undefined) {
    const observer = observers.forTcp(tcp, { listener, hasIstioStats: context.hasIstioStats });
    return { filter: createTcpProxy(tcp, { context: proxy, listener, observer }), routeConfigName: undefined, httpStats: undefined };
  }
  throw new ConfigError('', `${any?.typeUrl ?? filter.name} is not a terminal network filter that this proxy has`);
}
