import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import type { LiveCluster } from './cluster.ts';
import { ANY, clusterOf, spread } from './testing.ts';

function endpoint(port: number, metadata: JsonObject): JsonValue {
  return {
    endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: port } } },
    metadata: { filter_metadata: { 'envoy.lb': metadata } },
  };
}

const ENDPOINTS: JsonValue = [
  {
    lb_endpoints: [
      endpoint(1, { version: 'v1', stage: 'prod' }),
      endpoint(2, { version: 'v1', stage: 'test' }),
      endpoint(3, { version: 'v2', stage: 'prod' }),
      endpoint(4, { zones: ['a', 'b'] }),
    ],
  },
];

function cluster(subsets: JsonObject, more: Record<string, JsonValue> = {}): LiveCluster {
  return clusterOf(ENDPOINTS, { lb_subset_config: subsets, ...more });
}

function ports(of: LiveCluster, metadataMatch: JsonObject | undefined): string[] {
  return Object.keys(spread(of, 40, { ...ANY, metadataMatch })).filter((port) => port !== '0');
}

const BY_VERSION = { subset_selectors: [{ keys: ['version'] }, { keys: ['stage', 'version'] }] };

describe('subsets', () => {
  it('chooses among the endpoints that carry what the route asks for', () => {
    const of = cluster(BY_VERSION);
    expect(ports(of, { version: 'v1' })).toEqual(['1', '2']);
    expect(ports(of, { version: 'v1', stage: 'prod' })).toEqual(['1']);
    expect(of.stats.lbSubsetsSelected).toBe(80);
  });

  it('has no endpoint for what no selector names, or no endpoint carries', () => {
    const of = cluster(BY_VERSION);
    expect(ports(of, { stage: 'prod' })).toEqual([]);
    expect(ports(of, { version: 'v9' })).toEqual([]);
    expect(ports(of, undefined)).toEqual([]);
  });

  it('falls back to any endpoint, or to the default subset', () => {
    expect(ports(cluster({ ...BY_VERSION, fallback_policy: 'ANY_ENDPOINT' }), { version: 'v9' })).toEqual(['1', '2', '3', '4']);
    const byDefault = cluster({ ...BY_VERSION, fallback_policy: 'DEFAULT_SUBSET', default_subset: { version: 'v2' } });
    expect(ports(byDefault, undefined)).toEqual(['3']);
    expect(byDefault.stats.lbSubsetsFallback).toBe(40);
  });

  it('lets a selector fall back in its own way', () => {
    const of = cluster({
      fallback_policy: 'ANY_ENDPOINT',
      subset_selectors: [
        { keys: ['version'], fallback_policy: 'NO_FALLBACK' },
        { keys: ['stage', 'version'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['version'] },
      ],
    });
    expect(ports(of, { version: 'v9' })).toEqual([]);
    expect(ports(of, { version: 'v2', stage: 'none' })).toEqual(['3']);
    expect(ports(of, { version: 'v9', stage: 'none' })).toEqual([]);
  });

  it('uses one endpoint of a subset where it is told to', () => {
    expect(ports(cluster({ subset_selectors: [{ keys: ['version'], single_host_per_subset: true }] }), { version: 'v1' })).toEqual(['1']);
  });

  it('takes a list for each of its values where it is told to', () => {
    const selectors = { subset_selectors: [{ keys: ['zones'] }] };
    expect(ports(cluster({ ...selectors, list_as_any: true }), { zones: 'b' })).toEqual(['4']);
    expect(ports(cluster(selectors), { zones: 'b' })).toEqual([]);
    expect(ports(cluster(selectors), { zones: ['a', 'b'] })).toEqual(['4']);
  });

  it('tries the criteria of a fallback list in their order', () => {
    const of = cluster({ ...BY_VERSION, metadata_fallback_policy: 'FALLBACK_LIST' });
    expect(ports(of, { fallback_list: [{ version: 'v9' }, { version: 'v2' }, { version: 'v1' }] })).toEqual(['3']);
  });

  it('panics to any endpoint where it is told to', () => {
    const of = cluster({ ...BY_VERSION, panic_mode_any: true });
    expect(ports(of, { version: 'v9' })).toEqual(['1', '2', '3', '4']);
    expect(of.stats.lbSubsetsFallbackPanic).toBe(40);
  });

  it.each([
    ['a single host of two keys', { subset_selectors: [{ keys: ['a', 'b'], single_host_per_subset: true }] }, 'single_host_per_subset'],
    [
      'a fallback to all of the keys',
      { subset_selectors: [{ keys: ['a'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['a'] }] },
      'fallback_keys_subset',
    ],
  ])('refuses %s, with its place', (_, subsets, field) => {
    expect(() => cluster(subsets)).toThrow(`lb_subset_config.subset_selectors[0].${field}`);
  });
});
