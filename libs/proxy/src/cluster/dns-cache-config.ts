import { isIP } from 'node:net';
import { joinHostPort } from '@mizzen/core';
import { unpackAny } from '@mizzen/xds-api';
import {
  DnsCacheConfigSchema,
  type DnsCacheConfig as Message,
} from '@mizzen/xds-api/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache';
import { CaresDnsResolverConfigSchema } from '@mizzen/xds-api/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver';
import { GetAddrInfoDnsResolverConfigSchema } from '@mizzen/xds-api/envoy/extensions/network/dns_resolver/getaddrinfo/v3/getaddrinfo_dns_resolver';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileAddress, durationMs } from '../config/values.ts';
import { DNS_LOOKUP, type DnsLookup } from './discovery-config.ts';

/** How names that only requests bring are resolved and remembered. */
export interface DnsCacheConfig {
  readonly name: string;
  readonly lookup: DnsLookup;
  /** No times to live are looked at: this is dns_refresh_rate, and no less than dns_min_refresh_rate. */
  readonly refreshMs: number;
  /** In the place of `refreshMs` after a failure; grows while failures go on. */
  readonly failureRefresh: { readonly baseMs: number; readonly maxMs: number };
  /** A name that nobody asked for in this time is forgotten. */
  readonly hostTtlMs: number;
  readonly maxHosts: number;
  /** Requests that may wait for answers at once. */
  readonly maxPendingRequests: number;
  readonly queryTimeoutMs: number;
  /** `host:port` that are resolved before anybody asks. */
  readonly preresolved: readonly string[];
  /** `host:port` of the name servers to ask; none: as the system does. */
  readonly nameServers: readonly string[];
}

const SUPPORTED = {
  [DnsCacheConfigSchema.typeName]: [
    'name',
    'dns_lookup_family',
    'dns_refresh_rate',
    'dns_min_refresh_rate',
    'host_ttl',
    'max_hosts',
    'dns_failure_refresh_rate',
    'dns_cache_circuit_breaker',
    'typed_dns_resolver_config',
    'preresolve_hostnames',
    'dns_query_timeout',
  ],
  [CaresDnsResolverConfigSchema.typeName]: ['resolvers'],
  [GetAddrInfoDnsResolverConfigSchema.typeName]: [],
};

// Envoy's defaults. Source: envoy docs, DnsCacheConfig (1.40).
const DEFAULT_REFRESH_MS = 60_000;
const DEFAULT_MIN_REFRESH_MS = 5000;
const DEFAULT_HOST_TTL_MS = 300_000;
const DEFAULT_MAX_HOSTS = 1024;
const DEFAULT_MAX_PENDING = 1024;
const DEFAULT_QUERY_TIMEOUT_MS = 5000;

/** Throws ConfigError. */
export function compileDnsCache(message: Message): DnsCacheConfig {
  refuseUnsupportedFields(DnsCacheConfigSchema, message, { supported: SUPPORTED });
  if (message.name === '') throw new ConfigError('name', 'is required');
  const lookup = DNS_LOOKUP[message.dnsLookupFamily];
  if (lookup === undefined) throw new ConfigError('dns_lookup_family', `${message.dnsLookupFamily} is not known`);
  const refreshMs = durationMs(message.dnsRefreshRate, DEFAULT_REFRESH_MS);
  if (refreshMs < 1) throw new ConfigError('dns_refresh_rate', 'must be at least 1 ms');
  const minRefreshMs = durationMs(message.dnsMinRefreshRate, DEFAULT_MIN_REFRESH_MS);
  if (minRefreshMs < 1000) throw new ConfigError('dns_min_refresh_rate', 'must be at least 1 s');
  const failure = message.dnsFailureRefreshRate;
  const baseMs = durationMs(failure?.baseInterval, refreshMs);
  const hostTtlMs = durationMs(message.hostTtl, DEFAULT_HOST_TTL_MS);
  if (hostTtlMs < 1) throw new ConfigError('host_ttl', 'must be above 0');
  return {
    name: message.name,
    lookup,
    refreshMs: Math.max(refreshMs, minRefreshMs),
    failureRefresh: { baseMs, maxMs: durationMs(failure?.maxInterval, baseMs * 10) },
    hostTtlMs,
    maxHosts: message.maxHosts ?? DEFAULT_MAX_HOSTS,
    maxPendingRequests: message.dnsCacheCircuitBreaker?.maxPendingRequests ?? DEFAULT_MAX_PENDING,
    queryTimeoutMs: durationMs(message.dnsQueryTimeout, DEFAULT_QUERY_TIMEOUT_MS),
    preresolved: message.preresolveHostnames.map(({ address, portSpecifier }, index) => {
      if (portSpecifier.case !== 'portValue') throw new ConfigError(`preresolve_hostnames[${index}].port_value`, 'is required');
      return joinHostPort(address, portSpecifier.value);
    }),
    nameServers: within('typed_dns_resolver_config', () => compileResolver(message.typedDnsResolverConfig)),
  };
}

function compileResolver(config: Message['typedDnsResolverConfig']): readonly string[] {
  if (config === undefined) return [];
  return within('typed_config', () => {
    const cares = unpackAny(config.typedConfig, CaresDnsResolverConfigSchema);
    if (cares === undefined) {
      const system = unpackAny(config.typedConfig, GetAddrInfoDnsResolverConfigSchema);
      if (system === undefined)
        throw new ConfigError('', `${config.name} is not a resolver that this proxy has; c-ares and getaddrinfo are`);
      refuseUnsupportedFields(GetAddrInfoDnsResolverConfigSchema, system, { supported: SUPPORTED });
      return [];
    }
    refuseUnsupportedFields(CaresDnsResolverConfigSchema, cares, { supported: SUPPORTED });
    return cares.resolvers.map((resolver, index) => {
      const address = within(`resolvers[${index}]`, () => compileAddress(resolver));
      if (address.kind !== 'ip' || isIP(address.host) === 0)
        throw new ConfigError(`resolvers[${index}]`, 'must be an IP address with a port');
      return joinHostPort(address.host, address.port);
    });
  });
}
