import { fromJson } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { TypedStructSchema as UdpaTypedStructSchema } from '@mizzen/xds-api/udpa/type/v1/typed_struct';
import { TypedStructSchema } from '@mizzen/xds-api/xds/type/v3/typed_struct';
import { packAny, unpackAny } from './any.ts';
import { xdsRegistry } from './registry.ts';

/**
 * The message that a TypedStruct stands for, which is how a control plane sends what it does not know; any other Any as it is. The
 * type that it names is kept also where nothing is known of it. Throws where the values do not fit the message.
 */
export function resolveTypedStruct(any: Any): Any {
  const struct = unpackAny(any, TypedStructSchema) ?? unpackAny(any, UdpaTypedStructSchema);
  if (struct === undefined) return any;
  const schema = xdsRegistry.getMessage(struct.typeUrl.slice(struct.typeUrl.lastIndexOf('/') + 1));
  if (schema === undefined) return { ...any, typeUrl: struct.typeUrl, value: new Uint8Array() };
  return packAny(schema, fromJson(schema, struct.value ?? {}, { registry: xdsRegistry }));
}
