import type { DataSource } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { Field } from './field.ts';

/** The bytes of a DataSource that holds them itself; empty where nothing is given. Files and the environment are refused. */
export function inlineBody(source: DataSource | undefined, field: Field): Buffer {
  const specifier = source?.specifier;
  switch (specifier?.case) {
    case undefined:
      return Buffer.alloc(0);
    case 'inlineString':
      return Buffer.from(specifier.value, 'utf8');
    case 'inlineBytes':
      return Buffer.from(specifier.value);
    default:
      field.reject('only inline_string and inline_bytes are supported');
      return Buffer.alloc(0);
  }
}
