import { fields, int32, listOf, oneOf, opaqueObject, optional, portOrZero, type Spec, text, textMap } from './schema.ts';
import { labelSelectorSchema, targetRefsSchema } from './shared.ts';

const filterMatch = fields({ name: optional(text), subFilter: optional(fields({ name: optional(text) })) });

const listenerMatch = fields({
  portNumber: optional(portOrZero),
  portName: optional(text),
  filterChain: optional(
    fields({
      name: optional(text),
      sni: optional(text),
      transportProtocol: optional(text),
      transportSocket: optional(text),
      applicationProtocols: optional(text),
      filter: optional(filterMatch),
      destinationPort: optional(portOrZero),
    }),
  ),
  listenerFilter: optional(text),
  name: optional(text),
});

const routeConfigurationMatch = fields({
  portNumber: optional(portOrZero),
  portName: optional(text),
  gateway: optional(text),
  vhost: optional(
    fields({
      name: optional(text),
      domainName: optional(text),
      route: optional(fields({ name: optional(text), action: optional(oneOf(['ANY', 'ROUTE', 'REDIRECT', 'DIRECT_RESPONSE'])) })),
    }),
  ),
  name: optional(text),
});

const configPatchSchema = fields({
  applyTo: optional(
    oneOf([
      'INVALID',
      'LISTENER',
      'FILTER_CHAIN',
      'NETWORK_FILTER',
      'HTTP_FILTER',
      'ROUTE_CONFIGURATION',
      'VIRTUAL_HOST',
      'HTTP_ROUTE',
      'CLUSTER',
      'EXTENSION_CONFIG',
      'BOOTSTRAP',
      'LISTENER_FILTER',
    ]),
  ),
  match: optional(
    fields({
      context: optional(oneOf(['ANY', 'SIDECAR_INBOUND', 'SIDECAR_OUTBOUND', 'GATEWAY', 'WAYPOINT'])),
      proxy: optional(fields({ proxyVersion: optional(text), metadata: optional(textMap) })),
      listener: optional(listenerMatch),
      routeConfiguration: optional(routeConfigurationMatch),
      cluster: optional(
        fields({ portNumber: optional(portOrZero), service: optional(text), subset: optional(text), name: optional(text) }),
      ),
      waypoint: optional(
        fields({ portNumber: optional(portOrZero), filter: optional(filterMatch), route: optional(fields({ name: optional(text) })) }),
      ),
    }),
  ),
  patch: optional(
    fields({
      operation: optional(
        oneOf(['INVALID', 'MERGE', 'ADD', 'REMOVE', 'INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST', 'REPLACE', 'MERGE_AND_REPLACE_LIST']),
      ),
      value: optional(opaqueObject),
      filterClass: optional(oneOf(['UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS'])),
    }),
  ),
});

export const envoyFilterSchema = fields({
  workloadSelector: optional(labelSelectorSchema),
  targetRefs: optional(targetRefsSchema),
  configPatches: optional(listOf(configPatchSchema)),
  priority: optional(int32),
});

export type EnvoyFilterSpec = Spec<typeof envoyFilterSchema>;
export type EnvoyConfigPatch = Spec<typeof configPatchSchema>;
