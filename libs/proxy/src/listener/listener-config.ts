import { createHash } from 'node:crypto';
import { toBinary } from '@bufbuild/protobuf';
import type { Address } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { type Listener, Listener_DrainType, ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { FilterChainSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileAddress, durationMs } from '../config/values.ts';
import type { ListenerInfo, SocketAddress } from '../contract.ts';
import { compileListenerFilters, type ListenerFilterEnvironment, type ListenerFilters } from './listener-filter-config.ts';
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
  readonly filters: ListenerFilters;
  /** Asks the kernel where a connection went before it was captured; undefined without an original_dst filter. */
  readonly readOriginalDestination: OriginalDestinationReader | undefined;
  /** `use_original_dst`: connections go to the listener of their original destination, where there is one. */
  readonly handsOff: boolean;
  readonly listenerFiltersTimeoutMs: number;
  readonly continuesOnTimeout: boolean;
  readonly backlog: number | undefined;
  /** Permission bits of a socket in the file system; undefined leaves what the process's umask gives. */
  readonly pipeMode: number | undefined;
  readonly ignoresGlobalLimit: boolean;
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
    'access_log',
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
export function compileListener(message: Listener, environment: ListenerFilterEnvironment): ListenerConfig {
  refuseUnsupportedFields(ListenerSchema, message, { supported: SUPPORTED });
  const isInternal = message.listenerSpecifier.case === 'internalListener';
  if (isInternal && message.name === '') throw new ConfigError('name', 'is required for an internal listener');
  const filters = compileListenerFilters(message.listenerFilters, environment);
  const handsOff = message.useOriginalDst ?? false;
  return {
    info: {
      name: message.name,
      direction: DIRECTIONS[message.trafficDirection] ?? 'unspecified',
      ...(message.drainType === Listener_DrainType.MODIFY_ONLY && { drainsOnModifyOnly: true }),
      ...(message.metadata === undefined ? undefined : { metadata: message.metadata.filterMetadata }),
    },
    statPrefix: message.statPrefix,
    addresses: isInternal ? [] : compileAddresses(message),
    isBound: !isInternal && (message.bindToPort ?? true),
    isDualStack: message.address?.address.case === 'socketAddress' && message.address.address.value.ipv4Compat,
    isInternal,
    filters,
    readOriginalDestination: handsOff || filters.restoresDestination ? within('use_original_dst', originalDestinationReader) : undefined,
    handsOff,
    listenerFiltersTimeoutMs: durationMs(message.listenerFiltersTimeout, 15_000),
    continuesOnTimeout: message.continueOnListenerFiltersTimeout,
    backlog: message.tcpBacklogSize,
    pipeMode: message.address?.address.case === 'pipe' ? compileMode(message.address.address.value.mode) : undefined,
    ignoresGlobalLimit: message.ignoreGlobalConnLimit,
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

function compileMode(mode: number): number | undefined {
  if (mode > 0o777) throw new ConfigError('address.pipe.mode', `must be at most 0777, not 0${mode.toString(8)}`);
  return mode === 0 ? undefined : mode;
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
