import { fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { ValueSchema } from '@bufbuild/protobuf/wkt';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { HttpStreamInfo } from '../http/stream-info.ts';
import { ROUTER, TestProxy } from '../http/testing.ts';

type Json = { readonly [field: string]: JsonValue };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const HTTP = 'type.googleapis.com/envoy.extensions.filters.http';

/** The dynamic metadata of a request with these headers, once these filters have seen it. */
async function metadataOf(
  filters: readonly Json[],
  headers: Record<string, string> = {},
  answer: Json = {},
): Promise<Record<string, unknown>> {
  const direct = { match: { prefix: '/' }, direct_response: { status: 200 }, ...answer };
  const proxy = new TestProxy({
    clusters: [],
    hcm: {
      httpFilters: [...filters.map((typedConfig, index) => ({ name: `f${index}`, typedConfig })), ROUTER],
      routeConfig: { name: 'r', virtualHosts: [{ name: 'all', domains: ['*'], routes: [direct] }] },
    },
  });
  const port = await proxy.listen();
  closers.push(() => proxy.close());
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers });
  await response.arrayBuffer();
  await proxy.untilEnded(1);
  return Object.fromEntries((proxy.ended[0] as HttpStreamInfo).dynamicMetadata ?? []);
}

function rules(...requestRules: Json[]): Json {
  return { '@type': `${HTTP}.header_to_metadata.v3.Config`, requestRules };
}

describe('header_to_metadata', () => {
  const present = (entry: Json): Json => ({ header: 'x', onHeaderPresent: { metadataNamespace: 'ns', key: 'k', ...entry } });

  it.each<[string, Json, string, unknown]>([
    ['text', {}, 'v', 'v'],
    ['a fixed value', { value: 'fixed' }, 'v', 'fixed'],
    ['a number', { type: 'NUMBER' }, '-1.5', -1.5],
    ['no number', { type: 'NUMBER' }, 'v', undefined],
    ['base64', { encode: 'BASE64' }, Buffer.from('plain').toString('base64'), 'plain'],
    ['no base64', { encode: 'BASE64' }, '!', undefined],
    [
      'a value of protobuf',
      { type: 'PROTOBUF_VALUE', encode: 'BASE64' },
      Buffer.from(toBinary(ValueSchema, fromJson(ValueSchema, { deep: [1] }))).toString('base64'),
      { deep: [1] },
    ],
    ['what is no value of protobuf', { type: 'PROTOBUF_VALUE', encode: 'BASE64' }, Buffer.from([255]).toString('base64'), undefined],
    ['what is too long', {}, 'x'.repeat(8193), undefined],
  ])('reads %s', async (_name, entry, value, expected) => {
    const metadata = await metadataOf([rules(present(entry))], { x: value });
    expect((metadata['ns'] as Record<string, unknown> | undefined)?.['k']).toEqual(expected);
  });

  it('says what is missing, in its own namespace by default', async () => {
    const rule = { header: 'x', onHeaderMissing: { key: 'k', value: 'none' } };
    expect(await metadataOf([rules(rule)])).toEqual({ 'envoy.filters.http.header_to_metadata': { k: 'none' } });
  });

  it('reads answers too, by rules of the route', async () => {
    const config = { '@type': `${HTTP}.header_to_metadata.v3.Config`, responseRules: [{ header: 'y', onHeaderPresent: { key: 'k' } }] };
    const metadata = await metadataOf(
      [rules()],
      {},
      {
        response_headers_to_add: [{ header: { key: 'y', value: 'answer' } }],
        typed_per_filter_config: { f0: config },
      },
    );
    expect(metadata).toEqual({ 'envoy.filters.http.header_to_metadata': { k: 'answer' } });
  });
});

describe('set_metadata', () => {
  const set = (...metadata: Json[]): Json => ({ '@type': `${HTTP}.set_metadata.v3.Config`, metadata });

  it('joins lists and merges objects where it may change what is there, and leaves it alone where it may not', async () => {
    const first = set({ metadata_namespace: 'ns', value: { list: [1], deep: { a: 1 }, text: 'old' } });
    const merged = set({ metadata_namespace: 'ns', allow_overwrite: true, value: { list: [2], deep: { b: 2 }, text: 'new' } });
    const denied = set({ metadata_namespace: 'ns', value: { text: 'denied' } });
    expect(await metadataOf([first, merged, denied])).toEqual({ ns: { list: [1, 2], deep: { a: 1, b: 2 }, text: 'new' } });
  });

  it('takes the older form', async () => {
    const config = { '@type': `${HTTP}.set_metadata.v3.Config`, metadata_namespace: 'ns', value: { a: 'b' } };
    expect(await metadataOf([config])).toEqual({ ns: { a: 'b' } });
  });
});

describe('fault', () => {
  it('tells of itself in the metadata', async () => {
    const fault = {
      '@type': `${HTTP}.fault.v3.HTTPFault`,
      abort: { http_status: 500, percentage: { numerator: 0 } },
      filter_metadata: { reason: 'drill' },
    };
    expect(await metadataOf([fault])).toEqual({ 'envoy.filters.http.fault': { reason: 'drill' } });
  });
});
