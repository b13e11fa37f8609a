import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { xdsRegistry } from '@mizzen/xds-api';
import { DnsCacheConfigSchema } from '@mizzen/xds-api/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache';
import { compileDnsCache, type DnsCacheConfig } from './dns-cache-config.ts';

function compiled(more: Record<string, JsonValue>): DnsCacheConfig {
  return compileDnsCache(fromJson(DnsCacheConfigSchema, { name: 'names', ...more }, { registry: xdsRegistry }));
}

function cares(fields: Record<string, JsonValue>): Record<string, JsonValue> {
  const type = 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig';
  return { typed_dns_resolver_config: { name: 'envoy.network.dns_resolver.cares', typed_config: { '@type': type, ...fields } } };
}

describe('a DNS cache', () => {
  it('has defaults of Envoy', () => {
    expect(compiled({})).toMatchObject({
      refreshMs: 60_000,
      hostTtlMs: 300_000,
      maxHosts: 1024,
      maxPendingRequests: 1024,
      queryTimeoutMs: 5000,
    });
  });

  it('asks no sooner again than it may', () => {
    expect(compiled({ dns_refresh_rate: '1s' }).refreshMs).toBe(5000);
    expect(compiled({ dns_refresh_rate: '1s', dns_min_refresh_rate: '2s' }).refreshMs).toBe(2000);
    expect(compiled({ dns_refresh_rate: '90s', dns_min_refresh_rate: '2s' }).refreshMs).toBe(90_000);
  });

  it('asks the name servers that it is told, as Istio tells of its own', () => {
    const resolvers = [{ socket_address: { address: '127.0.0.1', port_value: 15053 } }];
    expect(compiled(cares({ resolvers })).nameServers).toEqual(['127.0.0.1:15053']);
  });

  it.each([
    ['no name', { name: '' }, 'name'],
    ['a file of addresses', { key_value_config: { config: { name: 'x' } } }, 'key_value_config'],
    ['less than a second between answers', { dns_min_refresh_rate: '0.5s' }, 'dns_min_refresh_rate'],
    ['no time to live', { host_ttl: '0s' }, 'host_ttl'],
    ['options of c-ares', cares({ use_resolvers_as_fallback: true }), 'typed_dns_resolver_config.typed_config.use_resolvers_as_fallback'],
    ['another resolver', { typed_dns_resolver_config: { name: 'mine' } }, 'typed_dns_resolver_config.typed_config'],
  ])('is refused with %s, by the place', (_, fields, path) => {
    expect(() => compiled(fields)).toThrow(path);
  });
});
