import type { TSchema } from 'typebox';

/** The few things that our schemas are made of. */
export type Shape =
  | { readonly type: 'object'; readonly fields: Readonly<Record<string, TSchema>> }
  | { readonly type: 'map'; readonly values: TSchema }
  | { readonly type: 'list'; readonly items: TSchema }
  | { readonly type: 'opaque' }
  | { readonly type: 'scalar'; readonly name: string; readonly values: readonly string[] };

interface JsonSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly patternProperties?: Readonly<Record<string, TSchema>>;
  readonly items?: TSchema;
  readonly enum?: readonly unknown[];
  readonly deprecated?: boolean;
}

export function shapeOf(schema: TSchema): Shape {
  const json = schema as JsonSchema;
  if (json.properties) return { type: 'object', fields: json.properties };
  if (json.items) return { type: 'list', items: json.items };
  const values = Object.values(json.patternProperties ?? {})[0] as JsonSchema | undefined;
  if (values)
    return values.type === undefined && values.enum === undefined ? { type: 'opaque' } : { type: 'map', values: values as TSchema };
  if (json.enum) return { type: 'scalar', name: typeof json.enum[0] === 'number' ? 'integer' : 'string', values: json.enum.map(String) };
  return { type: 'scalar', name: json.type ?? 'object', values: [] };
}

export function isDeprecated(schema: TSchema): boolean {
  return (schema as JsonSchema).deprecated === true;
}

/**
 * The value without the fields that are null: in protobuf's JSON form null is the same as absent.
 * Opaque objects keep theirs. The value itself is not changed.
 */
export function withoutNulls(value: unknown, schema: TSchema): unknown {
  const shape = shapeOf(schema);
  if (shape.type === 'list') return Array.isArray(value) ? value.map((item) => withoutNulls(item, shape.items)) : value;
  if (shape.type !== 'object' && shape.type !== 'map') return value;
  if (!isRecord(value)) return value;
  const kept: [string, unknown][] = [];
  for (const [name, field] of Object.entries(value)) {
    if (field === null) continue;
    const inner = shape.type === 'map' ? shape.values : Object.hasOwn(shape.fields, name) ? shape.fields[name] : undefined;
    kept.push([name, inner ? withoutNulls(field, inner) : field]);
  }
  return Object.fromEntries(kept);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
