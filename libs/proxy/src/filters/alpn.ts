import type { Field } from '@mizzen/matching';
import {
  type FilterConfig,
  FilterConfigSchema,
  FilterConfig_Protocol as Protocol,
} from '@mizzen/xds-api/istio/envoy/config/filter/http/alpn/v2alpha1/config';
import { defineHttpFilter, type HttpFilterKind } from '../http/http-filter.ts';

/** What Istio's control plane has said since 1.6, and what connections to the mesh offer (`tls/upstream-tls.ts`). */
const MESH: ReadonlyMap<number, string> = new Map([
  [Protocol.HTTP10, 'istio-http/1.0,istio,http/1.0'],
  [Protocol.HTTP11, 'istio-http/1.1,istio,http/1.1'],
  [Protocol.HTTP2, 'istio-h2,istio,h2'],
]);

/**
 * Istio's ALPN filter. There is nothing to do for it per request: the connections of a cluster of the mesh offer these protocols as they
 * are made. Any other override is refused. Source: istio/proxy alpn filter (1.32 dev).
 */
export const alpnFilter: HttpFilterKind = defineHttpFilter({
  schema: FilterConfigSchema,
  create(message: FilterConfig, field: Field) {
    message.alpnOverride.forEach(({ upstreamProtocol, alpnOverride }, index) => {
      if (alpnOverride.join() !== MESH.get(upstreamProtocol))
        field.child('alpn_override', index).reject(`only Istio's own override is supported: ${MESH.get(upstreamProtocol) ?? 'none'}`);
    });
    return undefined;
  },
});
