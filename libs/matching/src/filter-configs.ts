import type { Any } from '@bufbuild/protobuf/wkt';
import { unpackAny } from '@mizzen/xds-api';
import { CorsPolicySchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { type CompiledCors, compileCors } from './cors.ts';
import { type CompiledFault, compileFault } from './fault.ts';
import type { Field } from './field.ts';

/** What a route, virtual host or weighted cluster says to the HTTP filters. The most specific one that says something counts. */
export interface PerFilterConfig {
  readonly fault: CompiledFault | undefined;
  readonly cors: CompiledCors | undefined;
}

export const NO_FILTER_CONFIG: PerFilterConfig = { fault: undefined, cors: undefined };

/** By the message's type, as Envoy does; the key only names the filter. */
export function compilePerFilterConfig(configs: Readonly<Record<string, Any>>, parent: PerFilterConfig, field: Field): PerFilterConfig {
  let { fault, cors } = parent;
  for (const [name, any] of Object.entries(configs)) {
    const at = field.child(`typed_per_filter_config["${name}"]`);
    try {
      const faultMessage = unpackAny(any, HTTPFaultSchema);
      const corsMessage = faultMessage === undefined ? unpackAny(any, CorsPolicySchema) : undefined;
      if (faultMessage !== undefined) fault = compileFault(faultMessage, at);
      else if (corsMessage !== undefined) cors = compileCors(corsMessage, at);
      else at.reject(`is for a filter that this proxy does not have (${any.typeUrl})`);
    } catch (thrown) {
      at.reject(`does not decode: ${String(thrown)}`);
    }
  }
  return { fault, cors };
}
