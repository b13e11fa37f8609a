import { createHash } from 'node:crypto';
import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import type { Diagnostic } from '@mizzen/core';
import { typeUrlOf } from '@mizzen/xds-api';

/** One xDS resource, encoded. Unchanged inputs give the same object, so that it can be cached and shared by identity. */
export interface TranslatedResource {
  readonly name: string;
  readonly body: Any;
  /** Hash of the content: equal bytes, equal versions. */
  readonly version: string;
}

export interface TranslateResult {
  readonly resources: readonly TranslatedResource[];
  readonly diagnostics: readonly Diagnostic[];
}

export function encodeResource<Desc extends DescMessage>(schema: Desc, name: string, init: MessageInitShape<Desc>): TranslatedResource {
  return resourceOfBytes(schema, name, toBinary(schema, create(schema, init)));
}

export function resourceOfBytes(schema: DescMessage, name: string, value: Uint8Array): TranslatedResource {
  const version = createHash('sha256').update(value).digest('hex').slice(0, 16);
  return { name, body: create(AnySchema, { typeUrl: typeUrlOf(schema), value }), version };
}
