import { readFileSync } from 'node:fs';
import type { Duration } from '@bufbuild/protobuf/wkt';
import { errorCode } from '@mizzen/core';
import type { Address } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { DataSource } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { SocketAddress } from '../contract.ts';
import { ConfigError } from './config-error.ts';

/** Milliseconds of a Duration, or the default where it is absent. */
export function durationMs<T extends number | undefined>(duration: Duration | undefined, fallback: T): number | T {
  return duration === undefined ? fallback : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

/** A socket or pipe address; an internal listener's name comes back as `internal`. */
export function compileAddress(address: Address | undefined): SocketAddress | { readonly kind: 'internal'; readonly name: string } {
  const specifier = address?.address;
  if (specifier?.case === 'pipe') return { kind: 'pipe', path: specifier.value.path };
  if (specifier?.case === 'envoyInternalAddress') {
    if (specifier.value.addressNameSpecifier.case !== 'serverListenerName')
      throw new ConfigError('address.envoy_internal_address', 'needs server_listener_name');
    return { kind: 'internal', name: specifier.value.addressNameSpecifier.value };
  }
  if (specifier?.case !== 'socketAddress') throw new ConfigError('address', 'is required: socket_address, pipe or envoy_internal_address');
  const { address: host, portSpecifier, protocol, resolverName } = specifier.value;
  if (protocol !== 0) throw new ConfigError('address.socket_address.protocol', 'UDP is not supported; use TCP');
  if (resolverName !== '') throw new ConfigError('address.socket_address.resolver_name', 'is not supported by this proxy; remove it');
  if (portSpecifier.case === 'namedPort') throw new ConfigError('address.socket_address.named_port', 'is not supported; use port_value');
  const port = portSpecifier.value ?? 0;
  if (port > 65_535) throw new ConfigError('address.socket_address.port_value', `must be at most 65535, not ${port}`);
  return { kind: 'ip', host, port };
}

/** As Envoy prints it: `127.0.0.1:80`, `[::1]:80`, a pipe's path. */
export function addressText(address: SocketAddress): string {
  if (address.kind === 'pipe') return address.path;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The bytes of a DataSource; files are read now, once. undefined where there is none. */
export function readDataSource(source: DataSource | undefined, path: string): Buffer | undefined {
  const specifier = source?.specifier;
  if (specifier === undefined || specifier.case === undefined) return undefined;
  if (specifier.case === 'inlineBytes') return Buffer.from(specifier.value);
  if (specifier.case === 'inlineString') return Buffer.from(specifier.value);
  if (specifier.case === 'environmentVariable') {
    const value = process.env[specifier.value];
    if (value === undefined) throw new ConfigError(`${path}.environment_variable`, `${specifier.value} is not set`);
    return Buffer.from(value);
  }
  try {
    return readFileSync(specifier.value);
  } catch (thrown) {
    throw new ConfigError(`${path}.filename`, `${specifier.value} cannot be read (${errorCode(thrown)})`);
  }
}
