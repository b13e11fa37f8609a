import { InvariantError } from '@mizzen/core';
import { type CelRule, exclusiveFieldsAt, isNullable, mapListKey, rulesAt } from './rules.ts';

/** A schema as a CustomResourceDefinition may have it. Source: kubernetes.io, "Specifying a structural schema". */
export interface StructuralSchema {
  type?: string;
  description?: string;
  format?: string;
  enum?: readonly unknown[];
  nullable?: true;
  properties?: Record<string, StructuralSchema>;
  required?: readonly string[];
  items?: StructuralSchema;
  additionalProperties?: StructuralSchema;
  anyOf?: readonly StructuralSchema[];
  oneOf?: readonly StructuralSchema[];
  not?: StructuralSchema;
  'x-kubernetes-preserve-unknown-fields'?: true;
  'x-kubernetes-int-or-string'?: true;
  'x-kubernetes-list-type'?: 'map';
  'x-kubernetes-list-map-keys'?: readonly string[];
  'x-kubernetes-validations'?: readonly CelRule[];
  [limit: string]: unknown;
}

/** JSON schema as our kinds are written in (TypeBox). */
export interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly enum?: readonly (string | number)[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly patternProperties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly [keyword: string]: unknown;
}

// A pattern is free where a rule in CEL would count against the CRD's budget. Source: Go, time.ParseDuration, without signs.
const DURATION_PATTERN = '^(0|([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|ms|s|m|h))+$';
const LIMITS = ['minimum', 'maximum', 'minLength', 'maxLength', 'minItems', 'maxItems', 'maxProperties', 'pattern'];

/**
 * A kind's schema in the form that the API server takes. Unknown fields are not forbidden by it but pruned, as in Istio: strict validation
 * (kubectl's default) and the webhook tell of them.
 * `path`: where in the kind the schema stands, `spec.http[].match[].headers{}` for the values of a map in lists.
 */
export function structuralSchema(kind: string, schema: JsonSchema, path = 'spec'): StructuralSchema {
  const rules = rulesAt(kind, path, schema.format);
  return {
    ...base(kind, schema, path),
    ...limitsOf(schema),
    ...(isNullable(path) ? { nullable: true as const } : {}),
    ...(rules.length > 0 ? { 'x-kubernetes-validations': rules } : {}),
  };
}

function limitsOf(schema: JsonSchema): Record<string, unknown> {
  // Text that must be empty is explained by a rule, which is not evaluated where a limit is broken already.
  const given = LIMITS.filter((limit) => schema[limit] !== undefined && !(limit === 'maxLength' && schema[limit] === 0));
  return Object.fromEntries(given.map((limit) => [limit, schema[limit]]));
}

function base(kind: string, schema: JsonSchema, path: string): StructuralSchema {
  if (schema.enum) return { type: typeof schema.enum[0] === 'number' ? 'integer' : 'string', enum: schema.enum };
  switch (schema.type) {
    case 'object':
      return objectSchema(kind, schema, path);
    case 'array':
      return listSchema(kind, schema, path);
    case 'string':
      if (schema.format === 'go-duration') return { type: 'string', pattern: DURATION_PATTERN };
      return { type: 'string', ...(schema.format === 'byte' ? { format: 'byte' } : {}) };
    case 'number':
      return { type: 'number', format: 'double' };
    case 'integer':
    case 'boolean':
      return { type: schema.type };
    default:
      throw new InvariantError(`${kind} ${path}: a CRD has no form for the type ${JSON.stringify(schema.type)}`);
  }
}

function objectSchema(kind: string, schema: JsonSchema, path: string): StructuralSchema {
  const [values] = Object.values(schema.patternProperties ?? {});
  if (values) {
    // Values of any type: Envoy's configuration, a plugin's settings.
    if (Object.keys(values).length === 0) return { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    return { type: 'object', additionalProperties: structuralSchema(kind, values, `${path}{}`) };
  }
  const exclusive = exclusiveFieldsAt(path)?.map((field) => ({ required: [field] }));
  const properties = Object.entries(schema.properties ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    type: 'object',
    properties: Object.fromEntries(properties.map(([name, property]) => [name, structuralSchema(kind, property, `${path}.${name}`)])),
    ...(schema.required && schema.required.length > 0 ? { required: [...schema.required].sort() } : {}),
    ...(exclusive ? { oneOf: [{ not: { anyOf: exclusive } }, ...exclusive] } : {}),
  };
}

function listSchema(kind: string, schema: JsonSchema, path: string): StructuralSchema {
  if (!schema.items) throw new InvariantError(`${kind} ${path}: a list needs the schema of its items`);
  const key = mapListKey(path);
  return {
    type: 'array',
    items: structuralSchema(kind, schema.items, `${path}[]`),
    ...(key === undefined ? {} : { 'x-kubernetes-list-type': 'map' as const, 'x-kubernetes-list-map-keys': [key] }),
  };
}
