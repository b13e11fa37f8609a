import { create, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from '@jest/globals';
import { packAny } from '@mizzen/xds-api';
import { FilterConfigSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { BufferPerRouteSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/buffer/v3/buffer';
import { TypedStructSchema } from '@mizzen/xds-api/xds/type/v3/typed_struct';
import { Field } from './field.ts';
import { type FilterConfigCompilers, filterConfigKey, NO_FILTER_CONFIG, type PerFilterConfig } from './filter-configs.ts';

const TYPE = BufferPerRouteSchema.typeName;
const COMPILERS: FilterConfigCompilers = new Map([[TYPE, (any) => any.value.length]]);

const message = (bytes: number): Any =>
  packAny(BufferPerRouteSchema, create(BufferPerRouteSchema, { override: { case: 'buffer', value: { maxRequestBytes: bytes } } }));
const wrapped = (config: { config?: Any; disabled?: boolean; isOptional?: boolean }): Any =>
  packAny(FilterConfigSchema, create(FilterConfigSchema, config));
const unknown: Any = create(AnySchema, { typeUrl: 'type.googleapis.com/some.Thing', value: new Uint8Array() });

function extend(parent: PerFilterConfig, configs: Record<string, Any>): { readonly config: PerFilterConfig; readonly field: Field } {
  const field = new Field('', []);
  return { config: parent.extend(configs, COMPILERS, field), field };
}

describe('PerFilterConfig', () => {
  it('gives what the most specific level says, and what all of them say', () => {
    const outer = extend(NO_FILTER_CONFIG, { buffer: message(1) }).config;
    const { config } = extend(outer, { buffer: message(300) });
    const [first, second] = [message(1).value.length, message(300).value.length];
    expect(config.get(TYPE)).toBe(second);
    expect(config.all(TYPE)).toEqual([first, second]);
    expect(outer.all(TYPE)).toEqual([first]);
    expect(extend(outer, {}).config).toBe(outer);
  });

  it('tells two filters of one kind apart by their names', () => {
    const { config } = extend(NO_FILTER_CONFIG, { a: message(1), b: message(300) });
    expect(config.get(filterConfigKey('a', TYPE))).toBe(message(1).value.length);
    expect(config.get(filterConfigKey('b', TYPE))).toBe(message(300).value.length);
    expect(config.get(filterConfigKey('c', TYPE))).toBeUndefined();
  });

  it('switches filters off and on by name', () => {
    const off = extend(NO_FILTER_CONFIG, { a: wrapped({ disabled: true }) }).config;
    expect([off.isDisabled('a'), off.isDisabled('b'), off.disablesAny]).toEqual([true, undefined, true]);
    const on = extend(off, { a: wrapped({ config: message(1) }) }).config;
    expect([on.isDisabled('a'), on.disablesAny, on.get(TYPE)]).toEqual([false, false, message(1).value.length]);
  });

  it('rejects what no filter reads, unless it is optional', () => {
    const { field } = extend(NO_FILTER_CONFIG, { thing: unknown });
    expect(field.rejections).toEqual([
      { path: 'typed_per_filter_config["thing"]', reason: 'is for a filter that this proxy does not have (some.Thing)' },
    ]);
    expect(extend(NO_FILTER_CONFIG, { thing: wrapped({ config: unknown, isOptional: true }) }).field.rejections).toEqual([]);
  });

  it('reads messages that come as a TypedStruct, and rejects those that do not fit', () => {
    const struct = (value: JsonObject): Any => {
      const typed = create(TypedStructSchema, { typeUrl: `type.googleapis.com/${TYPE}`, value });
      return create(AnySchema, { typeUrl: 'type.googleapis.com/xds.type.v3.TypedStruct', value: toBinary(TypedStructSchema, typed) });
    };
    const good = extend(NO_FILTER_CONFIG, { buffer: struct({ buffer: { max_request_bytes: 300 } }) });
    expect(good.config.get(TYPE)).toBe(message(300).value.length);
    const bad = extend(NO_FILTER_CONFIG, { buffer: struct({ buffer: { max_request_bites: 300 } }) });
    expect(bad.field.rejections[0]?.reason).toContain('max_request_bites');
  });
});
