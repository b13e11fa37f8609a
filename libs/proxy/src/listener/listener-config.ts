import { createHash } from 'node:crypto';
import { toBinary } from '@bufbuild/protobuf';
import { type Listener, ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { FilterChainSchema, type ListenerFilter } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileAddress, durationMs } from '../config/values.ts';
import type { ListenerInfo, SocketAddress } from '../contract.ts';

/** A listener's definition apart from its filter chains. */
export interface ListenerConfig {
  readonly info: ListenerInfo;
  readonly statPrefix: string;
  /** undefined for internal listeners and for those that are not bound (`bind_to_port: false`). */
  readonly address: SocketAddress | undefined;
  readonly isInternal: boolean;
  readonly inspectsTls: boolean;
  readonly inspectsHttp: boolean;
  readonly usesOriginalDestination: boolean;
  readonly listenerFiltersTimeoutMs: number;
  readonly continuesOnTimeout: boolean;
  readonly backlog: number | undefined;
}

const SUPPORTED = {
  [ListenerSchema.typeName]: [
    'name',
    'address',
    'stat_prefix',
    'filter_chains',
    'use_original_dst',
    'default_filter_chain',
    'per_connection_buffer_limit_bytes',
    'metadata',
    'drain_type',
    'listener_filters',
    'listener_filters_timeout',
    'continue_on_listener_filters_timeout',
    'traffic_direction',
    'tcp_backlog_size',
    'bind_to_port',
    'internal_listener',
    'enable_reuse_port',
    'reuse_port',
    'ignore_global_conn_limit',
    'bypass_overload_manager',
    'connection_balance_config',
    'max_connections_to_accept_per_socket_event',
  ],
  [FilterChainSchema.typeName]: [
    'filter_chain_match',
    'filters',
    'metadata',
    'transport_socket',
    'transport_socket_connect_timeout',
    'name',
  ],
};

const DIRECTIONS: readonly ListenerInfo['direction'][] = ['unspecified', 'inbound', 'outbound'];

/** Throws ConfigError. */
export function compileListener(message: Listener): ListenerConfig {
  refuseUnsupportedFields(ListenerSchema, message, { supported: SUPPORTED });
  const isInternal = message.listenerSpecifier.case === 'internalListener';
  if (isInternal && message.name === '') throw new ConfigError('name', 'is required for an internal listener');
  const filters = message.listenerFilters.map((filter, index) => within(`listener_filters[${index}]`, () => listenerFilterKind(filter)));
  const isBound = !isInternal && (message.bindToPort ?? true);
  const address = isInternal ? undefined : compileAddress(message.address);
  if (address?.kind === 'internal')
    throw new ConfigError('address.envoy_internal_address', 'is not an address that can be bound; use internal_listener');
  return {
    info: { name: message.name, direction: DIRECTIONS[message.trafficDirection] ?? 'unspecified' },
    statPrefix: message.statPrefix,
    address: isBound ? address : undefined,
    isInternal,
    inspectsTls: filters.includes('tls'),
    inspectsHttp: filters.includes('http'),
    usesOriginalDestination: filters.includes('originalDestination') || (message.useOriginalDst ?? false),
    listenerFiltersTimeoutMs: durationMs(message.listenerFiltersTimeout, 15_000),
    continuesOnTimeout: message.continueOnListenerFiltersTimeout,
    backlog: message.tcpBacklogSize,
  };
}

const LISTENER_FILTERS: Readonly<Record<string, 'tls' | 'http' | 'originalDestination'>> = {
  'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': 'tls',
  'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector': 'http',
  'envoy.extensions.filters.listener.original_dst.v3.OriginalDst': 'originalDestination',
};

function listenerFilterKind(filter: ListenerFilter): 'tls' | 'http' | 'originalDestination' {
  if (filter.configType.case === 'configDiscovery')
    throw new ConfigError('config_discovery', 'is not supported by this proxy; give typed_config');
  if (filter.filterDisabled !== undefined) throw new ConfigError('filter_disabled', 'is not supported by this proxy yet; remove it');
  const typeUrl = filter.configType.value?.typeUrl ?? '';
  const kind = LISTENER_FILTERS[typeUrl.slice(typeUrl.lastIndexOf('/') + 1)];
  if (kind === undefined) throw new ConfigError('typed_config', `${typeUrl || filter.name} is not a listener filter that this proxy has`);
  return kind;
}

/** Equal messages have equal keys. */
export function contentKey(parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('base64');
}

/** The part of a listener that all its chains depend on; a chain whose own bytes and this stay can be kept as it is. */
export function listenerEnvelopeKey(message: Listener): string {
  return contentKey([toBinary(ListenerSchema, { ...message, filterChains: [] })]);
}
