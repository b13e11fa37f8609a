import { unpackAny } from '@mizzen/xds-api';
import { CorsPolicySchema } from '@mizzen/xds-api/envoy/extensions/filters/http/cors/v3/cors';
import { HTTPFaultSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/fault/v3/fault';
import { compileCors } from './cors.ts';
import { type CompiledFault, compileFault } from './fault.ts';
import type { Field } from './field.ts';
import type { FilterConfigCompiler, PerFilterConfig } from './filter-configs.ts';

/** What the routes of a mesh say to HTTP filters: faults and CORS policies of virtual services. Proxies add those of their other filters. */
export const MESH_FILTER_CONFIGS: ReadonlyMap<string, FilterConfigCompiler> = new Map<string, FilterConfigCompiler>([
  [
    HTTPFaultSchema.typeName,
    (any, field: Field) => {
      const message = unpackAny(any, HTTPFaultSchema);
      return message === undefined ? undefined : compileFault(message, field);
    },
  ],
  [
    CorsPolicySchema.typeName,
    (any, field: Field) => {
      const message = unpackAny(any, CorsPolicySchema);
      return message === undefined ? undefined : compileCors(message, field);
    },
  ],
]);

/** The fault of the most specific level, or undefined. */
export function faultOf(config: PerFilterConfig): CompiledFault | undefined {
  return config.get(HTTPFaultSchema.typeName) as CompiledFault | undefined;
}
