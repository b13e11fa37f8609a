import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { type RateLimit, RateLimitSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { Field } from './field.ts';
import { compileRateLimits, type RateLimitSource } from './rate-limits.ts';

function source(
  options: { headers?: Record<string, string>; path?: string; clientHost?: string; metadata?: object } = {},
): RateLimitSource {
  const { headers = {}, path = '/', clientHost = '10.1.2.3', metadata } = options;
  return {
    request: {
      authority: 'a',
      path,
      method: 'GET',
      scheme: 'http',
      random: 0,
      header: (name: string) => headers[name],
    } as RateLimitSource['request'],
    sourceCluster: 'us',
    destinationCluster: 'them',
    clientHost,
    dynamicMetadata: (namespace) => (namespace === 'ns' ? (metadata as Record<string, unknown> | undefined) : undefined),
  };
}

function describeBy(action: JsonValue | readonly JsonValue[], from: RateLimitSource = source()): readonly string[] | undefined {
  const actions = (Array.isArray(action) ? action : [action]) as JsonValue[];
  const field = new Field('', []);
  const [limit] = compileRateLimits([fromJson(RateLimitSchema, { actions })], field);
  expect(field.rejections).toEqual([]);
  return limit?.describe(from)?.map(({ key, value }) => `${key}=${value}`);
}

const METADATA = { metadata: { descriptor_key: 'k', metadata_key: { key: 'ns', path: [{ key: 'a' }, { key: 'b' }] } } };

describe('compileRateLimits', () => {
  it.each<[string, JsonValue, RateLimitSource, readonly string[] | undefined]>([
    ['source_cluster', { source_cluster: {} }, source(), ['source_cluster=us']],
    ['destination_cluster', { destination_cluster: {} }, source(), ['destination_cluster=them']],
    ['remote_address', { remote_address: {} }, source(), ['remote_address=10.1.2.3']],
    ['remote_address of a pipe', { remote_address: {} }, source({ clientHost: '' }), undefined],
    [
      'masked_remote_address',
      { masked_remote_address: { v4_prefix_mask_len: 12 } },
      source({ clientHost: '10.31.2.3' }),
      ['masked_remote_address=10.16.0.0/12'],
    ],
    [
      'masked_remote_address of IPv6',
      { masked_remote_address: { v6_prefix_mask_len: 36 } },
      source({ clientHost: '2001:db8:ffff::1' }),
      ['masked_remote_address=2001:db8:f000::/36'],
    ],
    ['generic_key', { generic_key: { descriptor_value: 'v' } }, source(), ['generic_key=v']],
    ['generic_key with a key', { generic_key: { descriptor_value: 'v', descriptor_key: 'k' } }, source(), ['k=v']],
    [
      'request_headers',
      { request_headers: { header_name: 'X-User', descriptor_key: 'user' } },
      source({ headers: { 'x-user': 'a' } }),
      ['user=a'],
    ],
    ['request_headers that are missing', { request_headers: { header_name: 'x-user', descriptor_key: 'user' } }, source(), undefined],
    [
      'header_value_match',
      { header_value_match: { descriptor_value: 'v', headers: [{ name: 'x', present_match: true }] } },
      source({ headers: { x: '' } }),
      ['header_match=v'],
    ],
    [
      'header_value_match that expects none',
      { header_value_match: { descriptor_value: 'v', expect_match: false, headers: [{ name: 'x', present_match: true }] } },
      source(),
      ['header_match=v'],
    ],
    [
      'query_parameter_value_match',
      { query_parameter_value_match: { descriptor_value: 'v', query_parameters: [{ name: 'q', string_match: { exact: '1' } }] } },
      source({ path: '/?q=1' }),
      ['query_match=v'],
    ],
    ['metadata', METADATA, source({ metadata: { a: { b: 'deep' } } }), ['k=deep']],
    ['metadata that is missing', METADATA, source({ metadata: { a: 1 } }), undefined],
    ['metadata with a default', { metadata: { ...METADATA.metadata, default_value: 'd' } }, source(), ['k=d']],
  ])('describes by %s', (_name, action, from, expected) => {
    expect(describeBy(action, from)).toEqual(expected);
  });

  it('leaves an entry out where it may, and makes no descriptor without entries', () => {
    const optional = { request_headers: { header_name: 'x', descriptor_key: 'x', skip_if_absent: true } };
    expect(describeBy([optional, { source_cluster: {} }])).toEqual(['source_cluster=us']);
    expect(describeBy([optional])).toBeUndefined();
  });

  it('rejects what it does not know by its place', () => {
    const field = new Field('rate_limits', []);
    const messages: RateLimit[] = [
      create(RateLimitSchema, { actions: [{ actionSpecifier: { case: 'extension', value: { name: 'x' } } }] }),
      create(RateLimitSchema, { stage: 11, actions: [{ actionSpecifier: { case: 'genericKey', value: {} } }] }),
    ];
    compileRateLimits(messages, field);
    expect(field.rejections.map(({ path }) => path)).toEqual([
      'rate_limits[0].actions[0]',
      'rate_limits[1].stage',
      'rate_limits[1].actions[0].generic_key.descriptor_value',
    ]);
  });
});
