import { type Static, type TSchema, Type } from 'typebox';

/** What a schema describes, deeply read-only: resources are shared and never changed. */
export type Spec<S extends TSchema> = DeepReadonly<Static<S>>;

export type DeepReadonly<T> = unknown extends T
  ? T
  : T extends readonly (infer Item)[]
    ? readonly DeepReadonly<Item>[]
    : T extends object
      ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
      : T;

/** An object that has these fields and no others: Istio rejects unknown fields. */
export function fields<P extends Record<string, TSchema>>(properties: P) {
  return Type.Object(properties, { additionalProperties: false });
}

export const optional = Type.Optional;
export const listOf = Type.Array;
export const oneOf = Type.Enum;

export const text = Type.String();
export const nonEmptyText = Type.String({ minLength: 1 });
export const flag = Type.Boolean();
export const textList = Type.Array(Type.String());
export const textMap = Type.Record(Type.String(), Type.String());

/** An object that is passed on as it is: Envoy configuration, a plugin's settings. */
export const opaqueObject = Type.Record(Type.String(), Type.Unknown());

export const int32 = Type.Integer({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 });
export const uint32 = Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 });
export const count = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });
/** Ring and table sizes: 64 bits in the protobuf; what a number holds exactly here. */
export const size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
export const port = Type.Integer({ minimum: 1, maximum: 65_535 });
/** A port where 0 is the same as absent, as in protobuf. */
export const portOrZero = Type.Integer({ minimum: 0, maximum: 65_535 });
export const percentage = Type.Number({ minimum: 0, maximum: 100 });
export const wholePercentage = Type.Integer({ minimum: 0, maximum: 100 });

/** `7s`, `1.5s`, `100ms`, `1h30m`; at least 1 ms. Source: the CEL rules of Istio's CRDs. */
export const duration = Type.String({ format: 'go-duration-positive' });
/** The same, zero allowed. */
export const durationOrZero = Type.String({ format: 'go-duration' });

/** Marks a field that Istio's API still accepts but no longer recommends. */
export function deprecated<S extends TSchema>(schema: S): S {
  return { ...schema, deprecated: true };
}
