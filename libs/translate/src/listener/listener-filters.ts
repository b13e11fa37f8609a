import type {
  ListenerFilterChainMatchPredicateSchema,
  ListenerFilterSchema,
} from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { HttpInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/http_inspector/v3/http_inspector';
import { OriginalDstSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/original_dst/v3/original_dst';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { any, type Init } from '../messages.ts';

export type ListenerFilterInit = Init<typeof ListenerFilterSchema>;

/** Reads server name and ALPN of a ClientHello. */
export const tlsInspector: ListenerFilterInit = {
  name: 'envoy.filters.listener.tls_inspector',
  configType: { case: 'typedConfig', value: any(TlsInspectorSchema, {}) },
};

/** Tells HTTP in plaintext from other bytes. */
export const httpInspector: ListenerFilterInit = {
  name: 'envoy.filters.listener.http_inspector',
  configType: { case: 'typedConfig', value: any(HttpInspectorSchema, {}) },
};

/** Gives a captured connection back the destination that the client wanted. */
export const originalDestination: ListenerFilterInit = {
  name: 'envoy.filters.listener.original_dst',
  configType: { case: 'typedConfig', value: any(OriginalDstSchema, {}) },
};

/**
 * The filter, except at ports where nothing depends on the client's first bytes: a server that speaks first would wait for ever.
 * Source: istio listener_inbound.go buildTLSInspector, buildHTTPInspector (1.32 dev).
 */
export function exceptAtPorts(filter: ListenerFilterInit, ports: readonly number[]): ListenerFilterInit {
  const [first, ...others] = [...ports].sort((a, b) => a - b).map(portPredicate);
  if (first === undefined) return filter;
  return { ...filter, filterDisabled: others.length === 0 ? first : { rule: { case: 'orMatch', value: { rules: [first, ...others] } } } };
}

function portPredicate(port: number): Init<typeof ListenerFilterChainMatchPredicateSchema> {
  return { rule: { case: 'destinationPortRange', value: { start: port, end: port + 1 } } };
}
