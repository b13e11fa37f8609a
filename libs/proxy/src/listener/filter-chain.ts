import { toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { formatRejections, type RouteTable } from '@mizzen/matching';
import { decodePeerMetadata } from '@mizzen/telemetry';
import { resolveTypedStruct, unpackAny } from '@mizzen/xds-api';
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
import type { NetworkGate } from './network-gate.ts';
import { compileGate } from './network-gates.ts';

/** A filter chain, compiled: how its connections are secured and who owns them then. */
export interface LiveFilterChain {
  readonly name: string;
  /** Equal for two chains that would behave the same. */
  readonly key: string;
  readonly tls: DownstreamTls | undefined;
  readonly handshakeTimeoutMs: number;
  /** Asked one after the other before `filter` gets a connection. */
  readonly gates: readonly NetworkGate[];
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
    tls: within('transport_socket', () => compileTransport(message, context.secrets)),
    handshakeTimeoutMs: durationMs(message.transportSocketConnectTimeout, DEFAULT_HANDSHAKE_TIMEOUT_MS),
    ...terminal,
  };
}

function compileTransport(message: FilterChain, secrets: SecretStore): DownstreamTls | undefined {
  const any = message.transportSocket?.configType.value;
  if (any === undefined || any.typeUrl.endsWith('/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer')) return undefined;
  const tls = within('typed_config', () => unpackAny(any, DownstreamTlsContextSchema));
  if (tls === undefined)
    throw new ConfigError('typed_config', `${any.typeUrl} is not a transport socket that this proxy has for downstream connections`);
  return within('typed_config', () => new DownstreamTls(tls, secrets));
}

// Istio's statistics of TCP: the observers of the terminal filter count them.
const STATS_TYPES = ['stats.PluginConfig', 'envoy.extensions.filters.network.stats.v3.Stats'];

type Terminal = Pick<LiveFilterChain, 'filter' | 'routeConfigName' | 'httpStats'>;

function compileFilters(filters: readonly Filter[], context: FilterChainContext): Terminal & Pick<LiveFilterChain, 'gates'> {
  const resolved = filters.map(({ name, configType }, index) => ({
    name,
    any: configType.case === 'typedConfig' ? within(`[${index}].typed_config`, () => resolveTypedStruct(configType.value)) : undefined,
  }));
  const terminal = resolved.at(-1);
  if (terminal === undefined) throw new ConfigError('', 'a filter chain needs a filter');
  const before = resolved.slice(0, -1);
  const gates = before.map((filter, index) =>
    isStats(filter) ? undefined : within(`[${index}].typed_config`, () => requireGate(filter, context)),
  );
  const istioStats = before.find(isStats)?.any;
  return {
    gates: gates.filter((gate) => gate !== undefined),
    ...within(`[${filters.length - 1}].typed_config`, () => compileTerminal(terminal, { ...context, istioStats })),
  };
}

/** A filter with its message; Istio sends its own as a TypedStruct. */
interface ResolvedFilter {
  readonly name: string;
  readonly any: Any | undefined;
}

function isStats({ any }: ResolvedFilter): boolean {
  const typeUrl = any?.typeUrl ?? '';
  return STATS_TYPES.includes(typeUrl.slice(typeUrl.lastIndexOf('/') + 1));
}

function requireGate({ name, any }: ResolvedFilter, { proxy, listener }: FilterChainContext): NetworkGate {
  const gate = any === undefined ? undefined : compileGate(any, { proxy, listener });
  if (gate !== undefined) return gate;
  throw new ConfigError('', `${any?.typeUrl || name} is not a network filter that this proxy has, or it must be the last one`);
}

function compileTerminal({ name, any }: ResolvedFilter, context: FilterChainContext & { readonly istioStats: Any | undefined }): Terminal {
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
    const observer = observers.forTcp(tcp, { listener, istioStats: context.istioStats });
    return { filter: createTcpProxy(tcp, { context: proxy, listener, observer }), routeConfigName: undefined, httpStats: undefined };
  }
  throw new ConfigError('', `${any?.typeUrl ?? name} is not a terminal network filter that this proxy has`);
}
