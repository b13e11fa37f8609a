import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';

const PREFIX = 'type.googleapis.com/';

export function typeUrlOf(schema: DescMessage): string {
  return PREFIX + schema.typeName;
}

/** Packs a message, deterministically: the same message gives the same bytes. */
export function packAny<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Any {
  return create(AnySchema, { typeUrl: typeUrlOf(schema), value: toBinary(schema, message) });
}

/** The message inside, or undefined where it is of another type. Throws on bytes that do not decode. */
export function unpackAny<Desc extends DescMessage>(any: Any | undefined, schema: Desc): MessageShape<Desc> | undefined {
  if (any === undefined || any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1) !== schema.typeName) return undefined;
  return fromBinary(schema, any.value);
}
