import { createHash } from 'node:crypto';
import { toBinary } from '@bufbuild/protobuf';
import type { Address } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { type Listener, ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { FilterChainSchema, type ListenerFilter } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileAddress, durationMs } from '../config/values.ts';
import type { ListenerInfo, SocketAddress } from '../contract.ts';
import { compileFilterDisabled } from './filter-disabled.ts';
import { type OriginalDestinationReader, originalDestinationReader } from './original-destination.ts';

/** A listener's definition apart from its filter chains. */
export interface ListenerConfig {
  readonly info: ListenerInfo;
  readonly statPrefix: string;
  /** Empty for internal listeners; more than one with `additional_addresses`. */
  readonly addresses: readonly SocketAddress[];
  /** False for internal listeners, and for those (`bind_to_port: false`) that only get what others hand off by its original destination. */
  readonly isBound: boolean;
  /** An IPv6 wildcard takes IPv4 as well. */
  readonly isDualStack: boolean;
  readonly isInternal: boolean;
  /** By the port that the client wanted; undefined without the filter. */
  readonly inspectsTls: ((port: number) => boolean) | undefined;
  readonly inspectsHttp: ((port: number) => boolean) | undefined;
  /** Asks the kernel where a connection went before it was captured; undefined without an original_dst filter. */
  readonly readOriginalDestination: OriginalDestinationReader | undefined;
  /** `use_original_dst`: connections go to the listener of their original destination, where there is one. */
  readonly handsOff: boolean;
  readonly listenerFiltersTimeoutMs: number;
  readonly continuesOnTimeout: boolean;
  readonly backlog: number | undefined;
}

const SUPPORTED = {
  [ListenerSchema.typeName]: [
    'name',
    'address',
    'additional_addresses',
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
  const handsOff = message.useOriginalDst ?? false;
  return {
    info: { name: message.name, direction: DIRECTIONS[message.trafficDirection] ?? 'unspecified' },
    statPrefix: message.statPrefix,
    addresses: isInternal ? [] : compileAddresses(message),
    isBound: !isInternal && (message.bindToPort ?? true),
    isDualStack: message.address?.address.case === 'socketAddress' && message.address.address.value.ipv4Compat,
    isInternal,
    inspectsTls: inspectedPorts(message, filters, 'tls'),
    inspectsHttp: inspectedPorts(message, filters, 'http'),
    readOriginalDestination:
      handsOff || filters.includes('originalDestination') ? within('use_original_dst', originalDestinationReader) : undefined,
    handsOff,
    listenerFiltersTimeoutMs: durationMs(message.listenerFiltersTimeout, 15_000),
    continuesOnTimeout: message.continueOnListenerFiltersTimeout,
    backlog: message.tcpBacklogSize,
  };
}

function compileAddresses(message: Listener): readonly SocketAddress[] {
  const additional = message.additionalAddresses.map(({ address, socketOptions }, index) => {
    const path = `additional_addresses[${index}]`;
    if (socketOptions !== undefined) throw new ConfigError(`${path}.socket_options`, 'is not supported by this proxy; remove it');
    return within(path, () => compileBindAddress(address));
  });
  return [compileBindAddress(message.address), ...additional];
}

function compileBindAddress(message: Address | undefined): SocketAddress {
  const address = compileAddress(message);
  if (address.kind !== 'internal') return address;
  throw new ConfigError('address.envoy_internal_address', 'is not an address that can be bound; use internal_listener');
}

type FilterKind = 'tls' | 'http' | 'originalDestination';

function inspectedPorts(message: Listener, filters: readonly FilterKind[], kind: FilterKind): ((port: number) => boolean) | undefined {
  const index = filters.indexOf(kind);
  if (index < 0) return undefined;
  const isDisabledAt = within(`listener_filters[${index}]`, () => compileFilterDisabled(message.listenerFilters[index]?.filterDisabled));
  return (port) => !isDisabledAt(port);
}

const LISTENER_FILTERS: Readonly<Record<string, FilterKind>> = {
  'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': 'tls',
  'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector': 'http',
  'envoy.extensions.filters.listener.original_dst.v3.OriginalDst': 'originalDestination',
};

function listenerFilterKind(filter: ListenerFilter): FilterKind {
  if (filter.configType.case === 'configDiscovery')
    throw new ConfigError('config_discovery', 'is not supported by this proxy; give typed_config');
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
