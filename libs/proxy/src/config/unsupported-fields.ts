import { type DescField, type DescMessage, isFieldSet, type Message } from '@bufbuild/protobuf';
import { ConfigError } from './config-error.ts';

/**
 * Which fields of which messages this proxy implements, by proto type name and proto field name. A message type that is not listed is
 * taken as a whole: whoever compiles it checks it.
 */
export type SupportedFields = Readonly<Record<string, readonly string[]>>;

/**
 * Throws a ConfigError for the first field that is set and not supported: what cannot be honoured is refused, never ignored.
 * `path` is where the message stands.
 */
export function refuseUnsupportedFields(
  schema: DescMessage,
  message: Message,
  options: { supported: SupportedFields; path?: string },
): void {
  const { supported, path = '' } = options;
  const names = supported[schema.typeName];
  if (names === undefined) return;
  for (const field of schema.fields) {
    if (!isFieldSet(message, field)) continue;
    const here = path === '' ? field.name : `${path}.${field.name}`;
    if (!names.includes(field.name)) throw new ConfigError(here, 'is not supported by this proxy; remove it');
    for (const [step, child] of childMessages(message, field)) {
      refuseUnsupportedFields(field.message as DescMessage, child, { supported, path: here + step });
    }
  }
}

function childMessages(message: Message, field: DescField): readonly (readonly [step: string, child: Message])[] {
  if (field.message === undefined) return [];
  const value = fieldValue(message, field);
  if (field.fieldKind === 'message') return isMessage(value) ? [['', value]] : [];
  if (field.fieldKind === 'list')
    return (value as readonly unknown[]).flatMap((item, index) => (isMessage(item) ? [[`[${index}]`, item] as const] : []));
  return Object.entries(value as Record<string, unknown>).flatMap(([key, item]) =>
    isMessage(item) ? [[`["${key}"]`, item] as const] : [],
  );
}

function fieldValue(message: Message, field: DescField): unknown {
  const record = message as unknown as Record<string, unknown>;
  if (field.oneof === undefined) return record[field.localName];
  return (record[field.oneof.localName] as { readonly value?: unknown }).value;
}

// Wrapper types and Struct are plain values in protobuf-es.
function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && '$typeName' in value;
}
