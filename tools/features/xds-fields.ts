import { create, type DescField, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { reflect } from '@bufbuild/protobuf/reflect';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import { xdsRegistry } from '@mizzen/xds-api';

/** One step from a message to one below it; 'any' opens a google.protobuf.Any. */
type Step = { readonly field: DescField; readonly key?: string | number } | 'any';

/** A message somewhere in a resource. */
export interface Place {
  readonly schema: DescMessage;
  readonly steps: readonly Step[];
}

export function fieldName(field: DescField): string {
  return `${field.parent.typeName}.${field.name}`;
}

/** Every message of xDS in a resource, itself first; Google's own (Duration, wrappers, Struct) are values and no messages here. */
export function* placesIn(schema: DescMessage, message: Message, steps: readonly Step[] = []): Generator<Place> {
  if (schema.typeName === AnySchema.typeName) {
    const opened = open(message as Any);
    if (opened !== undefined) yield* placesIn(opened.schema, opened.message, [...steps, 'any']);
    return;
  }
  if (schema.typeName.startsWith('google.')) return;
  yield { schema, steps };
  const mirror = reflect(schema, message);
  for (const field of schema.fields) {
    if (!mirror.isSet(field)) continue;
    if (field.fieldKind === 'message') {
      yield* placesIn(field.message, mirror.get(field).message, [...steps, { field }]);
    } else if (field.fieldKind === 'list' && field.listKind === 'message') {
      const list = mirror.get(field);
      for (let index = 0; index < list.size; index++)
        yield* placesIn(field.message, (list.get(index) as { message: Message }).message, [...steps, { field, key: index }]);
    } else if (field.fieldKind === 'map' && field.mapKind === 'message') {
      for (const [key, value] of mirror.get(field))
        yield* placesIn(field.message, (value as { message: Message }).message, [...steps, { field, key: key as string }]);
    }
  }
}

/** The fields that are set in the message at a place. */
export function setFieldsAt(schema: DescMessage, message: Message, place: Place): readonly DescField[] {
  let found: readonly DescField[] = [];
  changeAt(schema, message, place.steps, (at) => {
    found = place.schema.fields.filter((field) => reflect(place.schema, at).isSet(field));
    return at;
  });
  return found;
}

/** A copy of a resource in which the message at a place is another. */
export function changeAt(schema: DescMessage, message: Message, steps: readonly Step[], change: (at: Message) => Message): Message {
  const [step, ...rest] = steps;
  if (step === undefined) return change(fromBinary(schema, toBinary(schema, message)));
  if (step === 'any') {
    const opened = open(message as Any);
    if (opened === undefined) return message;
    const value = toBinary(opened.schema, changeAt(opened.schema, opened.message, rest, change));
    return create(AnySchema, { typeUrl: (message as Any).typeUrl, value });
  }
  const copy = fromBinary(schema, toBinary(schema, message));
  const mirror = reflect(schema, copy);
  const { field, key } = step;
  if (field.fieldKind === 'message') {
    mirror.set(field, reflect(field.message, changeAt(field.message, mirror.get(field).message, rest, change)));
  } else if (field.fieldKind === 'list' && field.listKind === 'message') {
    const list = mirror.get(field);
    const below = (list.get(key as number) as { message: Message }).message;
    list.set(key as number, reflect(field.message, changeAt(field.message, below, rest, change)));
  } else if (field.fieldKind === 'map' && field.mapKind === 'message') {
    const map = mirror.get(field);
    const below = (map.get(key as string) as { message: Message }).message;
    map.set(key as string, reflect(field.message, changeAt(field.message, below, rest, change)));
  }
  return copy;
}

function open(any: Any): { schema: DescMessage; message: Message } | undefined {
  const schema = xdsRegistry.getMessage(any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1));
  return schema && { schema, message: fromBinary(schema, any.value) };
}

/** Sets a field to something that is not its default. */
export function setSample(schema: DescMessage, message: Message, field: DescField): Message {
  const mirror = reflect(schema, message);
  switch (field.fieldKind) {
    case 'scalar':
      mirror.set(field, sampleScalar(field.scalar, field.longAsString));
      break;
    case 'enum':
      mirror.set(field, field.enum.values.find(({ number }) => number !== 0)?.number ?? 0);
      break;
    case 'message':
      mirror.set(field, reflect(field.message, sampleMessage(field.message)));
      break;
    case 'list':
      mirror.get(field).add(sampleItem(field));
      break;
    default: {
      const value =
        field.mapKind === 'message'
          ? reflect(field.message, sampleMessage(field.message))
          : field.mapKind === 'enum'
            ? 1
            : sampleScalar(field.scalar, false);
      mirror.get(field).set('x', value as never);
    }
  }
  return message;
}

function sampleItem(field: Extract<DescField, { fieldKind: 'list' }>): never {
  if (field.listKind === 'message') return reflect(field.message, sampleMessage(field.message)) as never;
  return (field.listKind === 'enum' ? 1 : sampleScalar(field.scalar, false)) as never;
}

/** Source: protobuf ScalarType: 1 and 2 are floats, 8 bool, 9 string, 12 bytes; 3, 4, 6, 16, 18 have 64 bits. */
function sampleScalar(scalar: number, isString: boolean): never {
  if (scalar === 8) return true as never;
  if (scalar === 9) return 'x' as never;
  if (scalar === 12) return new Uint8Array([1]) as never;
  if ([3, 4, 6, 16, 18].includes(scalar)) return (isString ? '1' : 1n) as never;
  return 1 as never;
}

/** Google's wrappers hold 1 or x; a Duration is a second. */
function sampleMessage(schema: DescMessage): Message {
  const message = create(schema);
  if (!schema.typeName.startsWith('google.protobuf.') || schema.typeName === AnySchema.typeName) return message;
  const field = schema.fields.find(({ name }) => name === 'value' || name === 'seconds');
  return field === undefined ? message : setSample(schema, message, field);
}
